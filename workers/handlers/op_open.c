/* OPEN of a file. Close-to-open: each open asks S3 whether the name still has the version of the
 * node, unless the LOOKUP just before did. If it has not, ESTALE makes the kernel look the name up
 * again, once, and it gets the node of the newer version. op_open_write.c: what else opening for
 * writing needs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_handle.h"
#include "shm/shm_reopen.h"
#include "workers/attr/meta_ask.h"
#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/handlers/op_open_write.h"
#include "workers/names/resolve.h"
#include "workers/names/room.h"
#include "workers/op/key.h"
#include "workers/op/validity.h"
#include "workers/read/fetch.h"
#include "workers/write/orphan.h"

#define AGAIN_MAX 4 /* maximum number of S3 replies that changes made here overtake */

struct open_job {
    struct op *op;
    struct resolve *resolve;
    struct resolve_known known;
    uint64_t since_ns; /* when S3 was first asked */
    uint64_t other_id; /* id of the node of another version that was found, 0 = none */
    unsigned again;
    char key[KEY_CAP];
};

static void open_attempt(struct op *op);
static void open_again(struct op *op);

static bool for_write(const struct op *op)
{
    uint32_t flags = fuse_req(op)->open->flags;

    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* ---- opening ---- */

/* Under shm->meta. Notes the version that the caller reads: the published one, or, if the node has
 * a session without changes, the one that this session is built on. */
static void note_read(struct op *op, uint32_t node)
{
    const struct shm_node *n = shm_node_at(op->w->shm, node);
    const struct shm_session *s =
        n->session == SHM_NIL ? NULL : shm_session_at(op->w->shm, n->session);

    if (!s)
        op->w->variant->has_read(op, node, n->etag);
    else if (!shm_session_dirty(s) && !(s->flags & SHM_SESSION_ORPHAN))
        op->w->variant->has_read(op, node, s->expect.etag);
}

/* Under shm->meta. Creates a handle for reading, and stores the reply. (FOPEN_NOFLUSH would save a
 * FLUSH at each close, but the kernel releases POSIX locks through FLUSH.) */
static int apply_read(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    struct fuse_open_out out = {.open_flags = fuse_entry_open_flags(w, node)};
    int64_t handle = shm_handle_new(w->shm, SHM_HANDLE_FILE, node, fuse_req(op)->open->flags);

    if (handle < 0)
        return (int)handle;
    out.fh = shm_handle_fh(w->shm, (uint32_t)handle);
    note_read(op, node);
    op_applied(op, 0, &out, sizeof(out));
    return 0;
}

enum look { LOOK_FAILED, LOOK_OPENED, LOOK_WRITE, LOOK_ASK, LOOK_WAIT };

/* Under shm->meta. True if the version is being replaced just now: what its readers lack can no
 * longer be kept. Waits once, as others may fail to replace it all the time. (An OPEN that repeats
 * one does not wait: it might get ESTALE again, and the kernel would not repeat it.) */
static bool comes_too_late(struct op *op, uint32_t node)
{
    struct worker *w = op->w;

    return !op->waited &&
           !shm_reopen_is_again(w->shm, op->caller.pid, shm_node_name_id(w->shm, node),
                                shm_reopen_request(op->rec->unique)) &&
           orphan_is_too_late(w, node);
}

/* Under shm->meta. The node's version is valid: makes a handle for reading, or continues with the
 * session. */
static enum look open_now(struct op *op, uint32_t node, int *ret_error)
{
    if (for_write(op))
        return LOOK_WRITE;
    if (comes_too_late(op, node))
        return LOOK_WAIT;
    *ret_error = apply_read(op, node);
    return *ret_error < 0 ? LOOK_FAILED : LOOK_OPENED;
}

/* Under shm->meta. True if S3 was asked for this version for this very open: by its own LOOKUP, or,
 * if this OPEN repeats one that got ESTALE, by any LOOKUP since that one came in. */
static bool asked_for(struct op *op, uint32_t node, uint64_t now)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    bool again =
        shm_reopen_take(w->shm, op->caller.pid, shm_node_name_id(w->shm, node),
                        shm_reopen_request(op->rec->unique), n->checked_ns, now, VALIDITY_NEXT_NS);

    return validity_take(w, node, SHM_NODE_FRESH, now) ||
           (again && !meta_may_be_typed(w, n) && fetch_has_start(w, n));
}

/* Under shm->meta. True if the name got another version after the LOOKUP for this open, and all
 * bytes of the version that the LOOKUP found are here. Then that version is opened, as on a local
 * disk. (The kernel repeats an open that gets ESTALE only once, which is not enough if a program
 * replaces the file all the time.) */
static bool just_replaced(struct op *op, uint32_t node, uint64_t now)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);

    return !for_write(op) && n->size <= SHM_BLOCK_SIZE && !(n->flags & SHM_NODE_LOCAL) &&
           fetch_has_start(w, n) && asked_for(op, node, now);
}

/* An empty file that is only known from a listing: only its write-id would show which process
 * created it. */
static bool may_be_anybodys(const struct shm_node *n)
{
    return n->size == 0 && !(n->flags & SHM_NODE_META);
}

/* Under shm->meta, compare-and-set. The node is the caller's own, whatever version the name has
 * now. (Or it belonged to another thread of its process, which has closed it since the LOOKUP.) */
static enum look look_private(struct op *op, uint32_t node, uint64_t now, int *ret_error)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);

    if ((n->flags & SHM_NODE_LOCAL) || n->parent == SHM_NIL)
        return LOOK_FAILED;
    if (((fuse_req(op)->open->flags & O_TRUNC) && !meta_may_be_typed(w, n)) ||
        (!may_be_anybodys(n) && (asked_for(op, node, now) ||
                                 validity_holds(n->checked_ns, w->conf->cache.open_ttl_ns, now))))
        return open_now(op, node, ret_error);
    return LOOK_ASK;
}

/* Under shm->meta. The result as far as it is known without asking S3. */
static enum look open_look(struct op *op, int *ret_error)
{
    struct worker *w = op->w;
    uint32_t node = op_node(op);
    uint64_t now = clock_mono_ns();
    const struct shm_node *n;

    *ret_error = -ESTALE;
    if (node == SHM_NIL)
        return LOOK_FAILED;
    validity_used(w, node, op->caller.pid);
    n = shm_node_at(w->shm, node);
    if (n->flags & SHM_NODE_DIR) {
        *ret_error = -EISDIR;
        return LOOK_FAILED;
    }
    if (n->flags & SHM_NODE_TYPED) { /* the kernel does not know that yet */
        *ret_error = -ESTALE;
        return LOOK_FAILED;
    }
    if (n->session != SHM_NIL)
        return w->variant->may_join(op, n->session)
                   ? open_now(op, node, ret_error)
                   : LOOK_FAILED; /* the kernel looks up again, and finds the published version */
    if (n->flags & SHM_NODE_PRIVATE)
        return look_private(op, node, now, ret_error);
    if (w->variant->isolates && for_write(op)) /* other processes read through this node */
        return LOOK_FAILED;
    if (!(n->flags & SHM_NODE_CURRENT))
        return just_replaced(op, node, now) ? open_now(op, node, ret_error) : LOOK_FAILED;
    if (((fuse_req(op)->open->flags & O_TRUNC) && !meta_may_be_typed(w, n)) ||
        (!(w->variant->expects && may_be_anybodys(n)) &&
         (asked_for(op, node, now) ||
          (validity_holds(n->checked_ns, w->conf->cache.open_ttl_ns, now) &&
           !meta_may_be_typed(w, n)))))
        return open_now(op, node, ret_error);
    return LOOK_ASK;
}

/* The kernel looks the name up again, and repeats the open, once. */
static void fail_stale(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node, request = shm_reopen_request(op->rec->unique);

    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL && w->variant->isolates && for_write(op))
        shm_reopen_note_private(w->shm, op->caller.pid, shm_node_name_id(w->shm, node), request,
                                clock_mono_ns());
    else if (node != SHM_NIL)
        shm_reopen_note(w->shm, op->caller.pid, shm_node_name_id(w->shm, node), request,
                        op->rec->started_ns);
    worker_unlock(w);
    op_fail(op, -ESTALE);
}

static void open_go_on(struct op *op, enum look what, int error)
{
    switch (what) {
    case LOOK_FAILED:
        if (error == -ESTALE)
            fail_stale(op);
        else
            op_fail(op, error);
        break;
    case LOOK_OPENED:
        op_finish(op);
        break;
    case LOOK_WRITE:
        open_for_write(op, shm_node_of_id(op->w->shm, fuse_req(op)->nodeid),
                       fuse_req(op)->open->flags & O_TRUNC);
        break;
    case LOOK_WAIT:
        op->waited = true;
        if (op_keep(op) == 0)
            op_wait(op, open_again);
        break;
    case LOOK_ASK:
        break;
    }
}

/* ---- asking S3 ---- */

static void job_free(void *state)
{
    struct open_job *job = state;

    resolve_cancel(job->resolve);
    free(job);
}

static void drop_job(struct op *op)
{
    job_free(op->state);
    op_set_state(op, NULL, NULL);
}

/* Under shm->meta, compare-and-set. The caller's own node: it is opened if S3 still has its
 * version. Node index, -ENOENT or -ESTALE. */
static int64_t confirm(struct open_job *job, uint32_t node, const struct resolve_result *res)
{
    struct shm *shm = job->op->w->shm;
    const char *etag = res->not_modified ? job->known.etag : res->obj ? res->obj->etag : "";

    if (res->kind != RESOLVE_FILE || !shm_etag_same(shm_node_at(shm, node)->etag, etag))
        return res->kind == RESOLVE_NONE ? -ENOENT : -ESTALE;
    shm_node_edit(shm, node)->checked_ns = job->known.asked_ns;
    return node;
}

/* Under shm->meta. Applies S3's reply, which is about the name that the node had when S3 was asked.
 * The node that the name has now, or -errno. -EAGAIN: ask again, since the node was renamed, or a
 * change made here has overtaken the reply. */
static int64_t open_intern(struct open_job *job, uint32_t node, const struct resolve_result *res)
{
    struct worker *w = job->op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    char key[KEY_CAP];

    if (n->session != SHM_NIL)
        return node;
    if (!(n->flags & (SHM_NODE_CURRENT | SHM_NODE_PRIVATE)))
        return -ESTALE;
    if (key_of_node(w, node, key) < 0 || strcmp(key, job->key) != 0)
        return -EAGAIN;
    if (res->kind != RESOLVE_NONE)
        validity_proves(w, n->parent, job->known.asked_ns);
    if (n->flags & SHM_NODE_PRIVATE)
        return confirm(job, node, res);
    return resolve_intern(w, n->parent, shm_node_name(w->shm, node), n->name_len, &job->known, res);
}

/* Under shm->meta. */
static enum look open_judge(struct open_job *job, const struct resolve_result *res,
                            int64_t *ret_found, int *ret_error)
{
    struct op *op = job->op;
    struct worker *w = op->w;
    uint32_t node = op_node(op);
    int64_t found;

    if (res->kind == RESOLVE_FILE && res->has_meta)
        w->variant->has_seen(w, job->key, res->obj);
    found = node == SHM_NIL ? -ESTALE : open_intern(job, node, res);
    *ret_found = found;
    if (found == node)
        return open_now(op, node, ret_error);
    if (found >= 0)
        job->other_id = shm_node_id(w->shm, (uint32_t)found);
    /* (Nothing is there any more: with ESTALE the kernel looks up again, and may create the
     * file.) */
    *ret_error = found >= 0 || found == -ENOMEM || found == -ENOENT ? -ESTALE : (int)found;
    return LOOK_FAILED;
}

/* Stores the bytes from S3's reply, if the node to be opened has that version. */
static void keep_own_data(struct op *op, const struct resolve_result *res)
{
    uint32_t node;

    worker_lock(op->w);
    node = op_node(op);
    worker_unlock(op->w);
    if (node != SHM_NIL)
        resolve_keep_data(op->w, node, res);
}

/* The kernel repeats the LOOKUP, which then need not ask S3. Here, too, the bytes are stored first:
 * any LOOKUP may be answered from this node, and a READ may follow. */
static void keep_for_lookup(struct open_job *job, uint32_t node, const struct resolve_result *res)
{
    struct worker *w = job->op->w;

    resolve_keep_data(w, node, res);
    worker_lock(w);
    if (shm_node_of_id(w->shm, job->other_id) == node)
        validity_looked(w, node, job->op->caller.pid);
    worker_unlock(w);
}

static void on_resolved(void *arg, const struct resolve_result *res)
{
    struct open_job *job = arg;
    struct op *op = job->op;
    struct worker *w = op->w;
    enum look what = LOOK_FAILED;
    int64_t found = -EIO;
    int error = res->error;

    job->resolve = NULL;
    job->other_id = 0;
    if (!error) {
        /* Before the reply is stored: if this worker died in between, the READ that follows might
         * find another version. */
        keep_own_data(op, res);
        worker_lock(w);
        what = open_judge(job, res, &found, &error);
        worker_unlock(w);
    }
    if (job->other_id)
        keep_for_lookup(job, (uint32_t)found, res);
    if (found == -EAGAIN && ++job->again < AGAIN_MAX) {
        open_attempt(op);
        return;
    }
    drop_job(op);
    open_go_on(op, what, error == -EAGAIN ? -ESTALE : error);
    room_keep(w);
}

static struct open_job *kept_job(struct op *op)
{
    struct open_job *job = op->state;

    if (job)
        return job;
    if (op_keep(op) < 0)
        return NULL;
    job = calloc(1, sizeof(*job));
    if (!job) {
        op_fail(op, -ENOMEM);
        return NULL;
    }
    job->op = op;
    op_set_state(op, job, job_free);
    return job;
}

static void open_ask(struct op *op)
{
    struct open_job *job = kept_job(op);
    struct worker *w = op->w;
    uint32_t node;
    int r = -ESTALE;

    if (!job)
        return;
    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL) {
        resolve_note(w, node, &job->known);
        job->since_ns = job->since_ns ? job->since_ns : job->known.asked_ns;
        job->known.since_ns = job->since_ns;
        r = key_of_node(w, node, job->key);
    }
    worker_unlock(w);
    if (r == 0)
        r = resolve_start(w, job->key, RESOLVE_AS_FILE, job->known.etag, on_resolved, job,
                          &job->resolve);
    if (r < 0)
        op_fail(op, r);
}

static void open_attempt(struct op *op)
{
    enum look what;
    int error;

    worker_lock(op->w);
    what = open_look(op, &error);
    worker_unlock(op->w);
    if (what == LOOK_ASK) {
        open_ask(op);
        return;
    }
    if (op->state)
        drop_job(op);
    open_go_on(op, what, error);
}

static void open_again(struct op *op)
{
    op_stop_waiting(op);
    if (op->w->shm->header->draining)
        op_fail(op, -ESHUTDOWN);
    else
        open_attempt(op);
}

void op_open(struct op *op)
{
    struct worker *w = op->w;

    if (for_write(op))
        op->w->variant->identify_family(op);
    else
        op->w->variant->identify(op);
    /* A predecessor got as far as the session. */
    if (op->rec->session != SHM_NIL)
        open_go_on(op, LOOK_WRITE, 0);
    else if (w->shm->header->draining)
        op_fail(op, -ESHUTDOWN);
    else if (for_write(op) && w->conf->mount.read_only)
        op_fail(op, -EROFS);
    else
        open_attempt(op);
}
