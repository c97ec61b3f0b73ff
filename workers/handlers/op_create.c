/* CREATE and MKNOD: new files. The LOOKUP just before has asked S3 whether the name is free, so
 * CREATE sends nothing until the file is closed, unless it has waited for room; MKNOD, which has no
 * close, publishes the empty file itself, also that of a FIFO, socket or device, which only its
 * metadata tell. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "shm/shm_handle.h"
#include "workers/handlers/create.h"
#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/names/resolve.h"
#include "workers/names/room.h"
#include "workers/op/key.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_pids.h"
#include "workers/write/session_room.h"

/* Under shm->meta. True if the node is a published version that appeared after the LOOKUP for this
 * CREATE had found nothing. */
static bool has_come(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    return n->session == SHM_NIL && !(n->flags & (SHM_NODE_LOCAL | SHM_NODE_DIR));
}

/* Under shm->meta. Creates the handle, counts the node's reference, and stores the reply to
 * CREATE. */
static int answer_create(struct op *op, uint32_t node, uint32_t session)
{
    struct worker *w = op->w;
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {.open.open_flags = fuse_entry_write_flags(w, node)};
    int64_t handle = shm_handle_new(w->shm, SHM_HANDLE_FILE, node, fuse_req(op)->create->flags);

    if (handle < 0)
        return (int)handle;
    shm_handle_edit(w->shm, (uint32_t)handle)->session = session;
    shm_node_ref(w->shm, node, 1);
    fuse_entry_out(w, node, &out.entry);
    out.open.fh = shm_handle_fh(w->shm, (uint32_t)handle);
    op_edit(op)->session = SHM_NIL;
    op_applied(op, 0, &out, sizeof(out));
    return 0;
}

/* Not under a lock. Without an error, op->rec->session is the session of the file. */
static void then_answer(struct op *op, int error)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session;
    int r = error;

    if (r == 0) {
        worker_lock(w);
        r = answer_create(op, shm_session_at(w->shm, session)->node, session);
        if (r < 0)
            shm_rollback(w->shm, w->shm->meta);
        worker_unlock(w);
    }
    if (r < 0)
        session_detach_fail(op, r);
    else
        op_finish(op);
}

/* The existing file is now open for the caller, too. */
static void then_join(struct op *op, int error)
{
    if (error == 0)
        session_note_pid(op->w, op->rec->session, op->caller.pid, SHM_PID_OPENED);
    then_answer(op, error);
}

/* Under shm->meta. Takes a ref on the session of the existing file, and notes it in the record. */
static int join_session(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node = create_taken_by(op), session;

    if (node == SHM_NIL)
        return -ESTALE; /* removed again: the kernel looks up once more */
    if (shm_node_at(w->shm, node)->flags & SHM_NODE_DIR)
        return -EISDIR;
    session = shm_node_at(w->shm, node)->session;
    if (session == SHM_NIL || (shm_node_at(w->shm, node)->flags & SHM_NODE_TYPED))
        return -ESTALE;
    shm_session_edit(w->shm, session)->refs++;
    op_edit(op)->session = session;
    return 0;
}

static void join(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node = SHM_NIL;
    int r = 0;

    if (op_keep(op) < 0)
        return;
    worker_lock(w);
    if (op->rec->session == SHM_NIL)
        r = join_session(op);
    if (r == 0)
        node = shm_session_at(w->shm, op->rec->session)->node;
    worker_unlock(w);
    if (r < 0)
        op_fail(op, r);
    else
        session_attach(op, node, fuse_req(op)->create->flags & O_TRUNC, then_join);
}

/* ---- O_EXCL with compare-and-set, and MKNOD: the empty file is put before the reply. With O_EXCL
 * success means that nobody else has created it, on any machine ---- */

/* Creates the file, and publishes it before the reply. A replacement finds the session. */
static void create_and_publish(struct op *op, struct newcomer *nc, session_then_fn *then)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session;
    int64_t r = 0;

    if (op_keep(op) < 0)
        return;
    nc->name = fuse_req(op)->name;
    op->stays = true;
    op->ends_late = fuse_req(op)->opcode == FUSE_CREATE; /* the publish continues without it */
    op->abandon = session_detach_fail; /* if the request exceeds its time limit: op_limits */
    if (session == SHM_NIL) {
        worker_lock(w);
        r = create_taken_by(op) != SHM_NIL ? -EEXIST : create_file(op, nc, &session);
        if (r < 0)
            shm_rollback(w->shm, w->shm->meta);
        else
            op_edit(op)->session = session;
        worker_unlock(w);
    }
    if (r < 0) {
        if (!session_room_wait(op, (int)r, op->ends_late ? op_create : op_mknod))
            op_fail(op, (int)r);
        return;
    }
    session_note_pid(w, session, op->caller.pid, SHM_PID_OPENED); /* owner of the baseline */
    session_publish(op, session, then);
}

static void create_exclusively(struct op *op, struct newcomer *nc)
{
    int r = create_check(op);

    if (r < 0)
        session_detach_fail(op, r);
    else
        create_and_publish(op, nc, then_answer);
}

/* ---- all others ---- */

/* The LOOKUP has found that nothing has the name. */
static void create_now(struct op *op, struct newcomer *nc)
{
    struct worker *w = op->w;
    uint32_t session = SHM_NIL, taken;
    struct proc_info info;
    int64_t node = -EEXIST;
    int r;

    proc_look(op->caller.pid, &info);
    worker_lock(w);
    taken = create_taken_by(op);
    if (taken != SHM_NIL && has_come(w, taken) && !nc->excl) {
        node = -ESTALE; /* the kernel looks up again, and opens it as it is */
        if (!nc->loads)
            taken = SHM_NIL; /* O_TRUNC: its content is dropped */
    }
    if (taken == SHM_NIL)
        node = create_file(op, nc, &session);
    r = node < 0 ? (int)node : answer_create(op, (uint32_t)node, session);
    if (r < 0)
        shm_rollback(w->shm, w->shm->meta);
    else
        session_note_proc(w, session, op->caller.pid, &info, SHM_PID_OPENED);
    worker_unlock(w);
    if (taken != SHM_NIL && !nc->excl && r == -EEXIST)
        join(op);
    else if (r == 0)
        op_finish(op);
    else if (!session_room_wait(op, r, op_create))
        op_fail(op, r);
}

static struct newcomer newcomer_of(const struct op *op)
{
    uint32_t flags = fuse_req(op)->create->flags;

    return (struct newcomer){.name = fuse_req(op)->name,
                             .len = fuse_req(op)->name_len,
                             .mode = fuse_req(op)->create->mode,
                             .excl = flags & O_EXCL,
                             .loads = !(flags & O_TRUNC)};
}

/* The op has waited, for room or for a worker that replaced its own: what its LOOKUP found may no
 * longer be so. */
struct again {
    struct op *op;
    struct resolve *resolve;
};

static void again_free(void *state)
{
    struct again *a = state;

    resolve_cancel(a->resolve);
    free(a);
}

static void on_resolved_again(void *arg, const struct resolve_result *res)
{
    struct again *a = arg;
    struct op *op = a->op;
    struct newcomer nc = newcomer_of(op);
    int error = res->error;

    if (!error && res->kind != RESOLVE_NONE)
        error = -ESTALE; /* the kernel looks up again, and opens what has come */
    a->resolve = NULL;
    op_set_state(op, NULL, NULL);
    again_free(a);
    if (error)
        op_fail(op, error);
    else
        create_now(op, &nc);
}

static void ask_again(struct op *op)
{
    struct again *a = calloc(1, sizeof(*a));
    struct worker *w = op->w;
    char key[KEY_CAP];
    uint32_t dir;
    int r;

    if (!a) {
        op_fail(op, -ENOMEM);
        return;
    }
    a->op = op;
    op_set_state(op, a, again_free);
    worker_lock(w);
    dir = op_node(op);
    r = dir == SHM_NIL ? -ESTALE
                       : key_of_name(w, dir, fuse_req(op)->name, fuse_req(op)->name_len, key);
    worker_unlock(w);
    if (r == 0)
        r = resolve_start(w, key, RESOLVE_GUESS_STAT, NULL, on_resolved_again, a, &a->resolve);
    if (r < 0)
        op_fail(op, r);
}

/* Where this mount has given the name away meanwhile, that counts. */
static bool is_taken(struct op *op)
{
    bool taken;

    worker_lock(op->w);
    taken = create_taken_by(op) != SHM_NIL;
    worker_unlock(op->w);
    return taken;
}

void op_create(struct op *op)
{
    struct newcomer nc;
    int r;

    if (room_wait(op, op_create))
        return;
    nc = newcomer_of(op);
    op->w->variant->identify_family(op);
    if (op->w->variant->expects && nc.excl) { /* decided at the open, not at the close */
        create_exclusively(op, &nc);
        return;
    }
    if (op->rec->session != SHM_NIL) { /* a predecessor got this far */
        join(op);
        return;
    }
    r = create_check(op);
    if (r < 0)
        op_fail(op, r);
    else if (op_is_current(op) || is_taken(op))
        create_now(op, &nc);
    else
        ask_again(op);
}

/* ---- MKNOD ---- */

/* The type of a special file is kept in its metadata. */
static bool may_make_special(const struct op *op, uint32_t type)
{
    return op->w->conf->metadata == CONF_METADATA_FULL &&
           (S_ISFIFO(type) || S_ISSOCK(type) || S_ISCHR(type) || S_ISBLK(type));
}

void op_mknod(struct op *op)
{
    const struct fuse_mknod_in *in = fuse_req(op)->mknod;
    struct newcomer nc = {.name = fuse_req(op)->name,
                          .len = fuse_req(op)->name_len,
                          .mode = in->mode,
                          .type = S_ISREG(in->mode) ? 0 : in->mode & S_IFMT,
                          .excl = true};
    int r;

    if (room_wait(op, op_mknod))
        return;
    r = create_check(op);
    op->w->variant->identify_family(op);
    if (S_ISCHR(nc.type) || S_ISBLK(nc.type))
        nc.rdev = in->rdev;
    if (r == 0 && nc.type && !may_make_special(op, nc.type))
        r = -EPERM;
    if (r < 0)
        session_detach_fail(op, r);
    else
        create_and_publish(op, &nc, create_published);
}
