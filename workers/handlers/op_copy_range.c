/* COPY_FILE_RANGE and COPY_FILE_RANGE_64: the server copies a whole file, so that a `cp` within the
 * mount transfers no content. The handler only notes the copy: the target's session gets a size,
 * has nothing in its spool, and names the version and the key of what it copies (SHM_CONTENT_COPY).
 * Its publish, at the close as always, is a CopyObject, or a copy in parts (publish_copy.c). Until
 * then READs are served from blocks of the source (fetch_source), and the first change of the
 * content loads it (session_take_turn): a program that continues to write, or is killed, finds the
 * same as after a copy through the page cache.
 *
 *   noted     from 0 to 0, all of the source (COPY_WHOLE_MIN or more; before Linux 6.18 less than
 *             4 GiB) as it is on S3, without unpublished bytes; into a file that is empty, and in
 *             which nothing is under way
 *   all else, and everything with compare-and-set (few servers honour conditions on the target of a
 *             copy): EOPNOTSUPP, with which the kernel copies through the page cache, this once
 *             (ENOSYS would mean never to ask again)
 *
 * The source is pinned to the version of its node, the one that its readers see. A change of the
 * source through this mount waits until the copy is loaded (copy_source.c). A change by others
 * makes the close fail: ESTALE, and the target keeps its old content. */
#include <errno.h>
#include <string.h>

#include "s3/s3.h"
#include "shm/shm_handle.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/op/hold.h"
#include "workers/write/session_change.h"
#include "workers/write/session_patch.h"
#include "workers/write/session_pids.h"

/* The requests of a copy through the page cache, not counting those for names: a PUT, and GETs:
 * none up to SHM_BLOCK_SIZE (the LOOKUP or the OPEN has fetched everything), one up to some MiB,
 * more beyond. The CopyObject is one request. Below this size it saves little, and a source that
 * changes before the close makes the copy fail. */
#define COPY_WHOLE_MIN (UINT64_C(1) << 20)

static bool is_whole(const struct fuse_copy_file_range_in *in, uint64_t size)
{
    return in->off_in == 0 && in->off_out == 0 && in->flags == 0 && in->len >= size &&
           size >= COPY_WHOLE_MIN;
}

static bool answer_is_64(const struct op *op)
{
    return fuse_req(op)->opcode == FUSE_OP_COPY_FILE_RANGE_64;
}

/* The answer can tell it, and the server can copy as much. */
static bool may_be_as_large(struct op *op, uint64_t size)
{
    return (answer_is_64(op) || size <= UINT32_MAX) &&
           (session_copies_whole(op->w, size) || session_copies_parts(op->w, size));
}

/* Under shm->meta. True if the source's bytes are those of an object, and no other op has begun to
 * change or to move that object: any later one will look for copies first (copy_source.c). */
static bool is_published(struct worker *w, uint32_t source)
{
    const struct shm_node *n = shm_node_at(w->shm, source);
    const struct shm_session *s;

    if (!(n->flags & SHM_NODE_CURRENT) || !*n->etag ||
        (n->flags & (SHM_NODE_DIR | SHM_NODE_TYPED | SHM_NODE_LOCAL)) ||
        hold_is_taken(w, source, 0))
        return false;
    if (n->session == SHM_NIL)
        return true;
    s = shm_session_at(w->shm, n->session);
    return !shm_session_dirty(s) && !s->writing && !(s->flags & SHM_SESSION_ORPHAN);
}

/* Under shm->meta. True if the session is empty, and no other op is about to change that. */
static bool is_empty(struct worker *w, const struct shm_session *s)
{
    return s->size == 0 && !s->write_error && !s->writing && s->content == SHM_CONTENT_SPOOL &&
           !(s->flags & SHM_SESSION_ORPHAN) && s->load.state == SHM_JOB_IDLE &&
           s->publish.state == SHM_JOB_IDLE && !hold_is_taken(w, s->node, 0);
}

/* Under shm->meta. 0, with *ret_source and *ret_session set; -EOPNOTSUPP; -EBADF. */
static int copy_range_look(struct op *op, uint32_t *ret_source, uint32_t *ret_session)
{
    const struct fuse_copy_file_range_in *in = fuse_req(op)->copy_file_range;
    struct worker *w = op->w;
    uint32_t handle = shm_handle_of_fh(w->shm, in->fh_in, SHM_HANDLE_FILE);
    uint32_t session = shm_handle_session(w->shm, in->fh_out), source;
    const struct shm_node *n;

    if (handle == SHM_NIL || session == SHM_NIL)
        return -EBADF;
    source = shm_handle_at(w->shm, handle)->node;
    n = shm_node_at(w->shm, source);
    if (!w->variant->copies_on_server || !is_whole(in, n->size) || !may_be_as_large(op, n->size) ||
        !is_published(w, source) || n->session == session ||
        !is_empty(w, shm_session_at(w->shm, session)))
        return -EOPNOTSUPP;
    *ret_source = source;
    *ret_session = session;
    return 0;
}

/* Under shm->meta. From now on the target's content is that of the source. */
static int copy_range_note(struct op *op, uint32_t source, uint32_t session)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, source);
    char key[KEY_CAP];
    int r = key_of_node(w, source, key);

    if (r < 0)
        return r;
    if (!shm_session_set_copy(w->shm, session, key, n->etag))
        return -EOPNOTSUPP;
    session_written(w, session, SESSION_ALL, n->size);
    /* cached reads are of the old content */
    shm_node_new_content(w->shm, shm_session_at(w->shm, session)->node);
    return 0;
}

void op_copy_range(struct op *op)
{
    struct worker *w = op->w;
    struct fuse_copied_out out = {0};
    struct fuse_write_out out32 = {0};
    uint32_t source, session;
    int r;

    worker_lock(w);
    r = copy_range_look(op, &source, &session);
    worker_unlock(w);
    if (r < 0) {
        op_fail(op, r);
        return;
    }
    session_note_pid(w, session, op->caller.pid, SHM_PID_WROTE);
    worker_lock(w);
    r = copy_range_look(op, &source, &session);
    if (r == 0)
        r = copy_range_note(op, source, session);
    if (r == 0) {
        out.bytes_copied = shm_node_at(w->shm, source)->size;
        out32.size = (uint32_t)out.bytes_copied;
        if (answer_is_64(op))
            op_applied(op, 0, &out, sizeof(out));
        else
            op_applied(op, 0, &out32, sizeof(out32));
    } else {
        shm_rollback(w->shm, w->shm->meta);
    }
    worker_unlock(w);
    if (r == 0)
        op_finish(op);
    else
        op_fail(op, r);
}
