/* COPY_FILE_RANGE: a whole file is copied by the server (CopyObject), so that a `cp` within the
 * mount moves no content. It is a publish of the destination's session (publish.c): made now, and
 * not at the close, since what is to be copied may be gone by then. Its metadata and type are the
 * destination's own.
 *
 *   copied    from 0 to 0, all of the source (COPY_WHOLE_MIN to 4 GiB) as S3 has it: nobody's
 *             unpublished bytes; into a file that is empty, and in which nothing is under way
 *   all else, and all with compare-and-set (no server keeps conditions on the destination of a
 *             copy): EOPNOTSUPP, with which the kernel copies through the page cache, this once
 *             (ENOSYS would be for ever)
 *
 * The source is pinned to the version of its node, which is that of its readers. If S3 has another
 * one, or none, the page cache has to do as well: its READs are pinned too.
 *
 * Afterwards the session has a size and nothing in its spool. READs are served from blocks, as of a
 * file that nobody writes; the first change of the content loads it (session_take_turn).
 *
 * A replacement finds OP_STEP_COPYING. If the session is published then, only the answer was
 * missing. Else the copy is made again, which is harmless as long as nobody has written the
 * destination in between: it is pinned, so it is the same content. On this mount nobody has: until
 * we answer, the kernel holds the destination's inode lock, which keeps writes and truncations of
 * all descriptors away (what a mapped page writes leaves the session not empty: see above). Of two
 * machines that write at once, one is the last anyhow. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_handle.h"
#include "workers/cas.h"
#include "workers/handlers.h"
#include "workers/names.h"
#include "workers/publish_private.h"
#include "workers/session.h"

/* Requests that a copy through the page cache takes, those of names left out: a PUT; and GETs, none
 * up to SHM_BLOCK_SIZE (the LOOKUP or the OPEN has brought all), one up to some MiB, more beyond.
 * The CopyObject is one; but what `cp -p` sets after it is another each (op_attr.c; mostly two),
 * where it would have travelled with the PUT. So around 1 MiB cp takes one request less and cp -p
 * one more, which is about what moving its bytes is worth. */
#define COPY_WHOLE_MIN (UINT64_C(1) << 20)

struct copy {
    struct publish publish; /* first: publish.c frees it */
    struct op *op;          /* who waits; NULL: it was interrupted, and the copy goes on */
    char from[KEY_CAP];
    char etag[SHM_ETAG_MAX];
};

/* ---- may it be done? ---- */

static bool is_whole(const struct fuse_copy_file_range_in *in, uint64_t size)
{
    return in->off_in == 0 && in->off_out == 0 && in->flags == 0 && in->len >= size &&
           size >= COPY_WHOLE_MIN && size <= UINT32_MAX && size <= S3_PUT_MAX;
}

/* Under shm->meta. Its bytes are those of an object. */
static bool is_published(struct worker *w, const struct shm_node *n)
{
    const struct shm_session *s;

    if (!(n->flags & SHM_NODE_CURRENT) || !*n->etag ||
        (n->flags & (SHM_NODE_DIR | SHM_NODE_LINK | SHM_NODE_LOCAL)))
        return false;
    if (n->session == SHM_NIL)
        return true;
    s = shm_session_at(w->shm, n->session);
    return !shm_session_dirty(s) && !s->writing && !(s->flags & SHM_SESSION_ORPHAN);
}

/* Under shm->meta. Nothing is in it, and nobody is about to change that. */
static bool is_empty(struct worker *w, const struct shm_session *s)
{
    return s->size == 0 && !s->write_error && !s->writing &&
           (s->flags & SHM_SESSION_LOADED) &&
           !(s->flags & (SHM_SESSION_ORPHAN | SHM_SESSION_EMPTYING)) &&
           s->load.state == SHM_JOB_IDLE && s->publish.state == SHM_JOB_IDLE &&
           !names_held(w, s->node, 0);
}

/* Under shm->meta. 0 and what to copy where; -EOPNOTSUPP; -EBADF. */
static int look(struct op *op, uint32_t *ret_source, uint32_t *ret_session)
{
    const struct fuse_copy_file_range_in *in = op->req.copy_file_range;
    struct worker *w = op->w;
    uint32_t handle = shm_handle_of_fh(w->shm, in->fh_in, SHM_HANDLE_FILE);
    uint32_t session = shm_handle_session(w->shm, in->fh_out), source;
    const struct shm_node *n;

    if (handle == SHM_NIL || session == SHM_NIL)
        return -EBADF;
    source = shm_handle_at(w->shm, handle)->node;
    n = shm_node_at(w->shm, source);
    if (cas_on(w) || !is_whole(in, n->size) || !is_published(w, n) ||
        n->session == session || !is_empty(w, shm_session_at(w->shm, session)))
        return -EOPNOTSUPP;
    *ret_source = source;
    *ret_session = session;
    return 0;
}

/* ---- the end ---- */

static void answer(struct op *op, uint64_t size)
{
    struct fuse_write_out out = {.size = (uint32_t)size};

    op_answer(op, &out, sizeof(out));
}

static void ended(struct publish *p, int error)
{
    struct op *op = ((struct copy *)p)->op;

    if (!op)
        return;
    op->state = NULL;
    op->state_free = NULL;
    if (error)
        op_fail(op, error);
    else
        answer(op, p->size);
}

/* The op was interrupted. */
static void leave(void *state)
{
    ((struct copy *)state)->op = NULL;
}

/* Another version than known is there by now: who looks the source up is to ask. */
static void source_has_changed(struct copy *c)
{
    struct worker *w = c->publish.w;
    const struct shm_node *n;
    uint32_t handle;

    worker_lock(w);
    handle = c->op ? shm_handle_of_fh(w->shm, c->op->req.copy_file_range->fh_in,
                                      SHM_HANDLE_FILE)
                   : SHM_NIL;
    if (handle != SHM_NIL) {
        n = shm_node_at(w->shm, shm_handle_at(w->shm, handle)->node);
        if (n->parent != SHM_NIL)
            shm_node_list_stale(w->shm, n->parent);
    }
    worker_unlock(w);
}

/* True: the page cache may do what the server would not. Where a copy may still come, it is of what
 * the program is about to write. Not while S3 is away: to wait for that once is enough. */
static bool may_fall_back(const struct s3_result *res)
{
    if (res->error == -ESTALE || res->error == -ENOENT)
        return true;
    if (res->fail == S3_FAIL_STALLED) /* it takes longer than a request may */
        return true;
    return res->fail == S3_FAIL_ANSWER && !res->may_have_acted &&
           ((res->http_status >= 400 && res->http_status < 500) || res->http_status == 501);
}

/* What the program is told. */
static int judge(struct copy *c, const struct s3_result *res)
{
    if (!res->error)
        return *res->obj.etag ? 0 : -EIO;
    if (res->error == -ESTALE || res->error == -ENOENT)
        source_has_changed(c);
    else
        log_warn("copy failed key=\"%s\" from=\"%s\" bytes=%llu error=\"%s\" detail=\"%s\" "
                 "attempts=%u%s",
                 c->publish.key, c->from, (unsigned long long)c->publish.size,
                 strerror(-res->error), res->text, res->attempts,
                 may_fall_back(res) ? ": its content is read and uploaded instead" : "");
    return may_fall_back(res) ? -EOPNOTSUPP : res->error;
}

static void on_copied(void *arg, const struct s3_result *res)
{
    struct copy *c = arg;

    publish_finish(&c->publish, res, judge(c, res));
}

/* ---- the copy ---- */

/* No condition on the destination, as servers do not know any: the last writer wins. */
static void send_copy(struct publish *p)
{
    struct copy *c = (struct copy *)p;
    struct s3_copy copy = {
        .from_key = c->from,
        .to_key = p->key,
        .if_source_match = c->etag,
        .replace_meta = true,
        .content_type = *p->type ? p->type : NULL,
        .meta = p->meta.pair,
        .n_meta = p->meta.n,
    };
    struct s3_result none = {0};
    int r;

    p->w->stats->s3[S3_OP_COPY]++;
    r = s3_copy(p->w->s3, &copy, on_copied, c, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

static const struct publish_way by_copy = {.send = send_copy, .ended = ended};

/* Under shm->meta. As look(); the session's publish is this copy from now on. */
static int begin(struct op *op, struct copy *c)
{
    struct worker *w = op->w;
    uint32_t source, session;
    int r = look(op, &source, &session);

    if (r == 0)
        r = key_of_node(w, source, c->from);
    if (r < 0)
        return r;
    memcpy(c->etag, shm_node_at(w->shm, source)->etag, sizeof(c->etag));
    c->op = op;
    c->publish.way = &by_copy;
    c->publish.w = w;
    c->publish.session = session;
    c->publish.started_ns = clock_mono_ns();
    session_written(w, session, 0); /* time of the change, which the metadata are to tell */
    r = publish_begin(&c->publish);
    c->publish.size = shm_node_at(w->shm, source)->size;
    op_edit(op)->step = OP_STEP_COPYING;
    return r;
}

static void start(struct op *op)
{
    struct copy *c = calloc(1, sizeof(*c));
    int r = -ENOMEM;

    if (c) {
        worker_lock(op->w);
        r = begin(op, c);
        if (r < 0)
            shm_rollback(op->w->shm, op->w->shm->meta);
        worker_unlock(op->w);
    }
    if (r < 0) {
        free(c);
        op_fail(op, r);
        return;
    }
    op->state = c;
    op->state_free = leave;
    publish_run(&c->publish);
}

/* A predecessor has made the copy, or found it made. The size, 0 if not. */
static uint64_t copied(struct op *op)
{
    const struct shm_session *s;
    uint64_t size = 0;
    uint32_t session;

    if (op->rec->step != OP_STEP_COPYING)
        return 0;
    worker_lock(op->w);
    session = shm_handle_session(op->w->shm, op->req.copy_file_range->fh_out);
    s = session == SHM_NIL ? NULL : shm_session_at(op->w->shm, session);
    if (s && !shm_session_dirty(s) && s->size <= op->req.copy_file_range->len)
        size = s->size;
    worker_unlock(op->w);
    return size;
}

void op_copy_range(struct op *op)
{
    uint64_t size = copied(op);
    uint32_t source, session;
    int r;

    if (size) {
        answer(op, size);
        return;
    }
    worker_lock(op->w);
    r = look(op, &source, &session);
    worker_unlock(op->w);
    if (r < 0) {
        op_fail(op, r);
        return;
    }
    if (op_keep(op) < 0)
        return;
    session_note_pid(op->w, session, op->req.pid, SHM_PID_WROTE);
    start(op);
}
