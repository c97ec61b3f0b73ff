/* Attaching to a session: takes a ref, and makes sure that the spool holds the file
 * (session_load.c). */
#include "workers/write/session_attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_patch.h"
#include "shm/shm_reopen.h"
#include "workers/cas/cas.h"
#include "workers/cas/cas_nodes.h"
#include "workers/op/key.h"
#include "workers/op/spool.h"
#include "workers/op/validity.h"
#include "workers/read/fetch.h"
#include "workers/write/session.h"
#include "workers/write/session_change.h"
#include "workers/write/session_end.h"
#include "workers/write/session_load.h"
#include "workers/write/session_patch.h"
#include "workers/write/stream.h"

struct attach {
    session_then_fn *then;
    uint32_t node;
    uint32_t attempts; /* finished loads when it last looked */
    bool truncate;
    bool whole;              /* of the content all is to be in the spool */
    struct upload_name left; /* of a stream that is truncated: to be aborted */
};

/* ---- attaching ---- */

static bool appends(const struct op *op)
{
    return op->caller.open_flags & O_APPEND;
}

/* Under shm->meta, compare-and-set. The node is not open: it was made for the caller, or for
 * another thread of its process that has closed it meanwhile. */
static bool may_write_through(const struct shm_node *n)
{
    return (n->flags & SHM_NODE_PRIVATE) && !n->opens;
}

/* Under shm->meta. The kernel looks the name up again; that LOOKUP is to return a node that the
 * caller may write through. */
static void want_private(struct op *op, uint32_t node)
{
    if (op->w->variant->isolates)
        shm_reopen_note_private(op->w->shm, op->caller.pid, shm_node_name_id(op->w->shm, node),
                                shm_reopen_request(op->rec->unique), clock_mono_ns());
}

int64_t session_begin(struct op *op, uint32_t node, bool truncate)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    struct shm_session *s;
    int64_t idx;

    if (w->variant->isolates && !may_write_through(n))
        return -ESTALE;
    validity_used(w, node, op->caller.pid);
    shm_reopen_has_private(w->shm, op->caller.pid, shm_node_name_id(w->shm, node));
    idx = shm_session_new(w->shm, node);
    if (idx < 0)
        return idx;
    s = shm_session_edit(w->shm, (uint32_t)idx);
    s->size = n->size;
    s->mtime_ns = n->mtime_ns;
    memcpy(s->expect.etag, n->etag, SHM_ETAG_MAX);
    if (n->flags & SHM_NODE_LOCAL)
        s->expect.absent = true;
    else
        s->content = SHM_CONTENT_S3;
    w->variant->session_begins(op, (uint32_t)idx,
                               (struct session_start){.truncate = truncate, .append = appends(op)});
    op_edit(op)->session = (uint32_t)idx;
    return idx;
}

/* Under shm->meta, compare-and-set. Another thread of the caller's process has opened the file
 * since the LOOKUP for this open: all threads of a process share one node, and the next LOOKUP
 * finds it. */
static bool has_been_opened(struct op *op, uint32_t node)
{
    const struct shm_node *n = shm_node_at(op->w->shm, node);

    return !(n->flags & SHM_NODE_LOCAL) && n->parent != SHM_NIL &&
           (cas_own_clean(op, node) != SHM_NIL ||
            cas_own_session(op, n->parent, shm_node_name(op->w->shm, node), n->name_len) !=
                SHM_NIL);
}

/* Under shm->meta, compare-and-set. ... or it has published another version since, which must be
 * used. (The name got that version after this node was made as a copy of the name's node.) */
static bool has_been_published(struct op *op, uint32_t node)
{
    struct shm *shm = op->w->shm;
    const struct shm_node *n = shm_node_at(shm, node), *named;
    char key[KEY_CAP], own[SHM_ETAG_MAX];
    uint32_t now;

    if (n->parent == SHM_NIL || key_of_node(op->w, node, key) < 0)
        return false;
    now = shm_node_named(shm, node);
    if (now == SHM_NIL)
        return false;
    named = shm_node_at(shm, now);
    cas_own_etag(op, key, own);
    return !shm_etag_same(n->etag, own) && shm_etag_same(named->etag, own);
}

/* Under shm->meta. The kernel has to look up again; only once, since it repeats an open only
 * once. */
static bool is_behind(struct op *op, const struct attach *a)
{
    struct shm *shm = op->w->shm;

    return op->w->variant->isolates &&
           (has_been_opened(op, a->node) ||
            (op->w->variant->expects && !a->truncate && has_been_published(op, a->node))) &&
           !shm_reopen_wants_private(shm, op->caller.pid, shm_node_name_id(shm, a->node),
                                     clock_mono_ns(), VALIDITY_NEXT_NS);
}

/* Under shm->meta. The owner must be known at once: see has_been_opened. */
static void note_opener(struct op *op)
{
    const struct shm_baseline_who *self = &op->caller.self;
    struct shm_session_pid *p;

    if (!self->tgid)
        return;
    p = shm_session_pid(op->w->shm, op->rec->session, (int32_t)op->caller.pid, self->tgid,
                        self->start);
    if (p)
        p->flags |= SHM_PID_OPENED;
}

/* Under shm->meta: takes the ref; begins a session if there is none. */
static int take_ref(struct op *op, struct attach *a)
{
    uint32_t session = shm_node_at(op->w->shm, a->node)->session;
    int64_t r = 0;

    if (session == SHM_NIL && is_behind(op, a)) {
        r = -ESTALE;
    } else if (session == SHM_NIL) {
        r = session_begin(op, a->node, a->truncate);
        if (r >= 0)
            note_opener(op);
    } else if (!op->w->variant->may_join(op, session)) {
        r = -ESTALE;
    } else {
        shm_session_edit(op->w->shm, session)->refs++;
        op_edit(op)->session = session;
        shm_reopen_has_private(op->w->shm, op->caller.pid, shm_node_name_id(op->w->shm, a->node));
    }
    return r < 0 ? (int)r : 0;
}

static void attach_go_on(struct op *op, int error)
{
    struct attach *a = op->state;
    session_then_fn *then = a->then;

    op_stop_waiting(op);
    op_set_state(op, NULL, NULL);
    free(a);
    if (error)
        session_detach(op);
    then(op, error);
}

enum look { LOOK_WAIT, LOOK_LOAD, LOOK_TRUNCATE, LOOK_READY, LOOK_FAILED };

/* Under shm->meta. A truncation needs no load, but it needs the spool for itself, now and until it
 * is done. True if it may be done. */
static bool begin_truncation(struct op *op, struct attach *a)
{
    uint32_t session = op->rec->session;
    struct shm_session *s = shm_session_edit(op->w->shm, session);

    session_cut(op->w, session, 0);
    stream_empty(op->w, session, &a->left);
    s->content = SHM_CONTENT_SPOOL; /* readers use the spool from now on */
    if (!session_change_begin(op, session, (struct session_range){0, 0}))
        return false;
    s->content = SHM_CONTENT_EMPTYING;
    return true;
}

/* Under shm->meta. The spool has what the op wants of it. */
static bool has_content(struct op *op, const struct attach *a, const struct shm_session *s)
{
    uint32_t session = op->rec->session;

    if (s->content == SHM_CONTENT_PATCH)
        return !a->whole || !shm_patch_is_short(op->w->shm, session);
    return shm_session_is_loaded(s);
}

/* Under shm->meta. Nothing of the content has to be loaded yet. */
static void load_later(struct op *op, const struct attach *a, const struct shm_session *s)
{
    if (s->content != SHM_CONTENT_S3 || s->load.state != SHM_JOB_IDLE)
        return;
    if (stream_is(s) && stream_may_copy(op->w, s))
        stream_begin_at(op->w, op->rec->session);
    else if (!a->whole && session_may_patch(op->w, s))
        session_patch_begin(op->w, op->rec->session);
}

/* Under shm->meta. */
static enum look attach_look(struct op *op, struct attach *a, int *ret_error)
{
    const struct shm_session *s = shm_session_at(op->w->shm, op->rec->session);
    bool idle = shm_session_may_load(s);

    *ret_error = 0;
    if (op->rec->change == SHM_CHANGE_BEGUN) /* by this function, or by a SETATTR's own change */
        return a->truncate ? LOOK_TRUNCATE : LOOK_READY;
    if (op->rec->change == SHM_CHANGE_TRUNCATED)
        return LOOK_READY;
    if (!a->truncate)
        load_later(op, a, s);
    if (!a->truncate && has_content(op, a, s))
        return LOOK_READY;
    if (a->truncate && idle && s->publish.state == SHM_JOB_IDLE && !s->writing && !s->releasing)
        return begin_truncation(op, a) ? LOOK_TRUNCATE : LOOK_WAIT;
    if (!a->truncate && idle) {
        *ret_error = s->load.error;
        if (s->load.attempts != a->attempts && s->load.error) {
            op->logged = true; /* by session_load */
            return LOOK_FAILED;
        }
        a->attempts = s->load.attempts;
        return LOOK_LOAD;
    }
    worker_awaits_session(op->w, op->rec->session);
    return LOOK_WAIT;
}

/* The file is empty from now on, and a close publishes it so even if nothing is written. */
static void truncate_now(struct op *op)
{
    struct worker *w = op->w;
    uint32_t session = op->rec->session, mask;
    int r = spool_truncate(w, session, 0);

    worker_lock(w);
    if (r == 0) {
        session_written(w, session, SESSION_ALL, 0);
        shm_session_edit(w->shm, session)->flags |= SHM_SESSION_UNPUBLISHED;
    }
    mask = session_change_end(op, session);
    if (r == 0)
        op_edit(op)->change = SHM_CHANGE_TRUNCATED;
    worker_unlock(w);
    worker_wake(w, mask);
    attach_go_on(op, r);
}

static void start_load(struct op *op)
{
    int r = session_load(op->w, op->rec->session);

    if (r == -EAGAIN)
        worker_wake_self(op->w);
    else if (r < 0)
        attach_go_on(op, r);
}

static void attach_resume(struct op *op)
{
    struct attach *a = op->state;
    enum look what;
    int error;

    worker_lock(op->w);
    what = attach_look(op, a, &error);
    worker_unlock(op->w);
    upload_abort(op->w, &a->left);
    switch (what) {
    case LOOK_WAIT:
        break;
    case LOOK_LOAD:
        start_load(op);
        break;
    case LOOK_TRUNCATE:
        truncate_now(op);
        break;
    case LOOK_READY:
        attach_go_on(op, 0);
        break;
    case LOOK_FAILED:
        attach_go_on(op, error);
        break;
    }
}

static void attach(struct op *op, uint32_t node, bool truncate, bool whole, session_then_fn *then)
{
    struct worker *w = op->w;
    struct attach *a;
    int r = 0;

    if (op_keep(op) < 0)
        return;
    a = calloc(1, sizeof(*a));
    if (!a) {
        session_detach(op);
        then(op, -ENOMEM);
        return;
    }
    *a = (struct attach){.then = then, .node = node, .truncate = truncate, .whole = whole};
    worker_lock(w);
    if (op->rec->session == SHM_NIL)
        r = take_ref(op, a);
    if (r == 0)
        a->attempts = shm_session_at(w->shm, op->rec->session)->load.attempts;
    else
        shm_rollback(w->shm, w->shm->meta);
    if (r == -ESTALE)
        want_private(op, node);
    worker_unlock(w);
    op_set_state(op, a, free);
    op->abandon = session_detach_fail;
    if (r < 0) {
        attach_go_on(op, r);
        return;
    }
    op_wait(op, attach_resume);
    attach_resume(op);
}

void session_attach(struct op *op, uint32_t node, bool truncate, session_then_fn *then)
{
    attach(op, node, truncate, false, then);
}

void session_attach_whole(struct op *op, uint32_t node, session_then_fn *then)
{
    attach(op, node, false, true, then);
}

struct session_detached session_detach_begin(struct op *op)
{
    struct session_detached d = {.session = op->rec->session};

    if (d.session == SHM_NIL)
        return d;
    if (op->rec->change == SHM_CHANGE_BEGUN)
        d.mask = session_change_end(op, d.session);
    op_edit(op)->session = SHM_NIL;
    op->rec->change = SHM_CHANGE_NONE; /* a new session would not have it */
    d.closed = session_unref(op->w, d.session);
    return d;
}

void session_detach_end(struct worker *w, const struct session_detached *d)
{
    if (d->closed)
        session_clear(w, d->session);
    worker_wake(w, d->mask);
}

void session_detach(struct op *op)
{
    struct worker *w = op->w;
    struct session_detached d;

    if (op->rec->session == SHM_NIL)
        return;
    worker_lock(w);
    d = session_detach_begin(op);
    worker_unlock(w);
    session_detach_end(w, &d);
}

void session_detach_fail(struct op *op, int error)
{
    struct worker *w = op->w;
    struct session_detached d;

    worker_lock(w);
    d = session_detach_begin(op);
    op_applied(op, error, NULL, 0);
    worker_unlock(w);
    session_detach_end(w, &d);
    op_finish(op);
}
