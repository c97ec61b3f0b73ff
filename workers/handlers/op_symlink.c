/* SYMLINK and READLINK. A symbolic link is an object as s3fs writes it: its content is the target,
 * byte for byte, and its metadata have the mode S_IFLNK. It is created like a file by MKNOD: a
 * session with the target in its spool is published before the reply.
 *
 * A LIST reports no more than the size of a regular file: a link that is only known from LISTs
 * becomes one with its first GET (op_lookup.c, op_open.c). */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_error.h"
#include "workers/handlers/create.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/names/room.h"
#include "workers/op/spool.h"
#include "workers/read/fetch.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_change.h"
#include "workers/write/session_pids.h"

#define TARGET_MAX (PATH_MAX - 1)

/* ---- SYMLINK ---- */

/* Under shm->meta. Creates the link, with a session that is marked as being changed: it is not
 * published before the target is in it. */
static int make_link(struct op *op, uint32_t *ret_session)
{
    struct worker *w = op->w;
    struct newcomer nc = {
        .name = fuse_req(op)->name, .len = fuse_req(op)->name_len, .type = S_IFLNK, .excl = true};
    int64_t node;

    if (create_taken_by(op) != SHM_NIL)
        return -EEXIST;
    node = create_file(op, &nc, ret_session);
    if (node < 0)
        return (int)node;
    if (!spool_reserve(w, *ret_session, fuse_req(op)->name2_len)) {
        if (w->env->spool[*ret_session].file_fd < 0)
            return -ENOSPC;
        shm_session_edit(w->shm, *ret_session)->flags |= SHM_SESSION_ON_DISK;
    }
    if (!session_change_begin(op, *ret_session, (struct session_range){0, fuse_req(op)->name2_len}))
        return -EIO; /* cannot happen: it is new */
    op_edit(op)->session = *ret_session;
    return 0;
}

/* The request is still in the read area, so the target need not be parked. */
static int write_target(struct op *op, uint32_t session)
{
    struct worker *w = op->w;
    int r = spool_write(w, session, fuse_req(op)->name2, fuse_req(op)->name2_len, 0);
    uint32_t mask;

    if (r < 0)
        return r; /* the change ends with the op: a replacement must not find it done */
    worker_lock(w);
    session_written(w, session, SESSION_ALL, fuse_req(op)->name2_len);
    mask = session_change_end(op, session);
    worker_unlock(w);
    worker_wake(w, mask);
    return 0;
}

static int symlink_prepare(struct op *op)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session;
    int r = 0;

    if (session == SHM_NIL) {
        worker_lock(w);
        r = make_link(op, &session);
        if (r < 0)
            shm_rollback(w->shm, w->shm->meta);
        worker_unlock(w);
    }
    /* (If there is a session and this step is not due: a predecessor has done it.) */
    if (r == 0 && op->rec->change == SHM_CHANGE_BEGUN)
        r = write_target(op, session);
    return r;
}

static int symlink_check(struct op *op)
{
    int r = create_check(op);

    if (r == 0 && op->w->conf->metadata == CONF_METADATA_IGNORE)
        r = -EPERM; /* like a file system without symbolic links */
    if (r == 0 && op_is_current(op) && fuse_req(op)->name2_len > TARGET_MAX)
        r = -ENAMETOOLONG;
    if (r == 0 && op_is_current(op) && op_next_record(op->w) == SHM_NIL)
        r = -ENOMEM;
    return r;
}

void op_symlink(struct op *op)
{
    int r = symlink_check(op);

    if (r == 0 && op_is_current(op))
        r = symlink_prepare(op);
    if (r < 0) {
        session_detach_fail(op, r);
        return;
    }
    room_keep(op->w);
    if (op_keep(op) < 0) /* cannot happen: a record was free */
        return;
    op->stays = true;
    session_note_pid(op->w, op->rec->session, op->caller.pid, SHM_PID_OPENED); /* its owner */
    session_publish(op, op->rec->session, create_published);
}

/* ---- READLINK ---- */

struct readlink {
    struct op *op;
    struct fetch_source src;
    size_t len;
    char target[PATH_MAX];
};

/* Replies with the target up to a NUL, which no path contains. */
static void symlink_answer(struct op *op, const char *target, size_t len)
{
    len = strnlen(target, len);
    if (len)
        op_answer(op, target, len);
    else
        op_fail(op, -EIO);
}

static int symlink_on_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct readlink *rl = arg;

    if (off != rl->len || len > TARGET_MAX - rl->len)
        return -EPROTO;
    memcpy(rl->target + off, data, len);
    rl->len += len;
    return 0;
}

static void on_restart(void *arg)
{
    struct readlink *rl = arg;

    rl->len = 0;
}

static void on_got(void *arg, const struct s3_result *res)
{
    struct readlink *rl = arg;
    struct op *op = rl->op;
    char target[PATH_MAX];
    size_t len = rl->len;

    op->s3 = NULL;
    if (res->error) {
        /* Removed, or replaced: the kernel looks the name up again. */
        op_fail(op, res->error == -ENOENT ? -ESTALE : res->error);
        return;
    }
    fetch_put(op->w, rl->src.node, rl->src.content, (const uint8_t *)rl->target, (uint32_t)rl->len);
    memcpy(target, rl->target, len);
    symlink_answer(op, target, len);
}

static void get(struct op *op, const struct fetch_source *src)
{
    struct readlink *rl;
    struct s3_get get = {.on_data = symlink_on_data, .on_restart = on_restart};
    int r = -ENOMEM;

    if (op_keep(op) < 0)
        return;
    rl = calloc(1, sizeof(*rl));
    if (rl) {
        rl->op = op;
        rl->src = *src;
        op_set_state(op, rl, free);
        get.key = rl->src.key;
        get.if_match = *rl->src.etag ? rl->src.etag : NULL;
        r = s3_get(op->w->s3, &get, on_got, rl, &op->s3);
    }
    if (r < 0)
        op_fail(op, r);
}

/* Replies from the block that came with the LOOKUP. False if it is not in the pool. */
static bool read_cached(struct op *op, const struct fetch_source *src)
{
    struct shm_block_key key = {src->node, src->content, 0};
    struct worker *w = op->w;
    char target[PATH_MAX];
    size_t len = 0;
    uint32_t idx;

    if (shm_block_get(w->shm, key, w->slot, &idx) != SHM_BLOCK_HIT)
        return false;
    if (shm_block_len(w->shm, idx) >= src->size) {
        len = (size_t)src->size;
        memcpy(target, shm_block_data(w->shm, idx), len);
    }
    shm_block_unpin(w->shm, idx, w->slot);
    if (len)
        symlink_answer(op, target, len);
    return len;
}

/* Reads a link that is being published, or whose session is still in use. False: the session has
 * ended, look again. */
static bool read_spool(struct op *op, uint32_t session, uint32_t generation, size_t size)
{
    const struct shm_session *s = shm_session_at(op->w->shm, session);
    struct worker *w = op->w;
    char target[PATH_MAX];
    int n = spool_read(w, session, target, size, 0);
    bool same;

    worker_lock(w);
    same = s->state == SHM_SESSION_LIVE && s->generation == generation;
    worker_unlock(w);
    if (!same)
        return false;
    if (n < 0)
        op_fail(op, n);
    else
        symlink_answer(op, target, (size_t)n);
    return true;
}

enum look { LOOK_FAILED, LOOK_WAIT, LOOK_SPOOL, LOOK_S3 };

struct source {
    enum look kind;
    int error;
    uint32_t session, generation;
    size_t size;
    struct fetch_source s3;
};

/* Under shm->meta. */
static void symlink_look(struct op *op, struct source *ret)
{
    struct shm *shm = op->w->shm;
    uint32_t node = op_node(op);
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(shm, node);

    *ret = (struct source){.kind = LOOK_FAILED, .error = n ? -EINVAL : -ESTALE};
    if (!n || shm_node_type(n) != S_IFLNK)
        return;
    if (n->session == SHM_NIL) {
        ret->error = fetch_source(op->w, node, &ret->s3);
        if (ret->error == 0)
            ret->kind = LOOK_S3;
        return;
    }
    ret->session = n->session;
    ret->generation = shm_session_at(shm, n->session)->generation;
    ret->size = (size_t)shm_session_at(shm, n->session)->size;
    ret->kind = LOOK_SPOOL;
    if (shm_session_at(shm, n->session)->writing) {
        worker_awaits_session(op->w, n->session);
        ret->kind = LOOK_WAIT;
    }
}

void op_readlink(struct op *op)
{
    struct source from;

    worker_lock(op->w);
    symlink_look(op, &from);
    worker_unlock(op->w);
    if (!op_is_current(op))
        op_stop_waiting(op);
    switch (from.kind) {
    case LOOK_FAILED:
        op_fail(op, from.error);
        break;
    case LOOK_WAIT:
        if (op_keep(op) == 0)
            op_wait(op, op_readlink);
        break;
    case LOOK_SPOOL:
        if (from.size > TARGET_MAX)
            op_fail(op, -EIO);
        else if (!read_spool(op, from.session, from.generation, from.size))
            op_readlink(op);
        break;
    case LOOK_S3:
        if (!read_cached(op, &from.s3))
            get(op, &from.s3);
        break;
    }
}
