/* Ops that wait for a publish (publish.c), and start one if none runs: a close, an fsync, a rename
 * with compare-and-set. A waiter's data is on S3 when published_seq has reached the write_seq that
 * it saw when it came; if an attempt that carried this data failed meanwhile, the waiter gets its
 * error. */
#include "workers/write/publish_wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/shm_conflict.h"
#include "workers/cas/cas.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"
#include "workers/write/cas_readers.h"
#include "workers/write/copy_source.h"
#include "workers/write/publish_private.h"
#include "workers/write/session.h"
#include "workers/write/session_load.h"
#include "workers/write/session_patch.h"

/* What an op waits for. */
struct publish_wait {
    session_then_fn *then;
    struct publish_like *like; /* session_publish_like; else NULL */
    uint32_t session;
    uint32_t generation;
    uint64_t want;     /* write_seq that must be on S3 */
    uint32_t attempts; /* finished attempts when it last looked */
    uint32_t loads;    /* the same for loads, of what the server does not copy */
    /* LOOK_SETTLE: a session that is a pending copy of the version to be replaced; LOOK_KEEP: one
     * of its readers */
    uint32_t other;
};

/* Under shm->meta. */
static bool may_begin(struct op *op, const struct shm_session *s)
{
    uint32_t named = shm_node_named(op->w->shm, s->node);

    /* (The name may have another node by now: an op that removes or moves that one holds the
     * key.) */
    return s->writing == 0 && s->load.state == SHM_JOB_IDLE &&
           !hold_is_taken(op->w, s->node, op_tag(op)) &&
           (named == SHM_NIL || !hold_is_taken(op->w, named, op_tag(op)));
}

enum look { LOOK_WAIT, LOOK_BEGIN, LOOK_LOAD, LOOK_SETTLE, LOOK_KEEP, LOOK_END };

/* Under shm->meta. The session is a copy that the server refused, or a patch that has to be sent as
 * a whole: what is missing is loaded first. */
static enum look look_at_load(struct op *op, struct publish_wait *pw, const struct shm_session *s,
                              int *ret_error)
{
    if (!shm_session_may_load(s) || hold_is_taken(op->w, s->node, op_tag(op)))
        return LOOK_WAIT;
    if (s->load.attempts != pw->loads && s->load.error) {
        *ret_error = s->load.error;
        op->logged = true; /* by session_load */
        return LOOK_END;
    }
    pw->loads = s->load.attempts;
    return LOOK_LOAD;
}

/* Under shm->meta. It may begin, unless there are sessions that still need the version to be
 * replaced (copy_source.h). */
static enum look look_at_copies(struct worker *w, struct publish_wait *pw)
{
    char key[KEY_CAP];

    if (key_of_session(w, pw->session, key) < 0)
        return LOOK_BEGIN; /* publish_begin reports the error */
    pw->other = copy_source_wanted(w, key, false, pw->session);
    return pw->other == SHM_NIL ? LOOK_BEGIN : LOOK_SETTLE;
}

/* Under shm->meta, compare-and-set. It may begin, unless there are readers of the version to be
 * replaced: what they lack is loaded first. */
static enum look look_at_readers(struct worker *w, struct publish_wait *pw,
                                 const struct shm_session *s)
{
    const struct shm_node *n = shm_node_at(w->shm, s->node);
    const char *name = shm_node_name(w->shm, s->node);
    uint32_t named = shm_node_named(w->shm, s->node);

    if (named != SHM_NIL && s->changed_from < shm_node_at(w->shm, named)->size)
        cas_keep_readers(w, named);
    pw->other = cas_readers_wait(w, n->parent, name, n->name_len);
    if (pw->other == SHM_NIL)
        return look_at_copies(w, pw);
    if (shm_session_at(w->shm, pw->other)->load.state == SHM_JOB_IDLE)
        return LOOK_KEEP;
    worker_awaits_session(w, pw->other);
    return LOOK_WAIT;
}

/* Under shm->meta: what this op has to do now. */
static enum look publish_wait_look(struct op *op, struct publish_wait *pw, int *ret_error)
{
    struct worker *w = op->w;
    const struct shm_session *s = shm_session_at(w->shm, pw->session);
    enum look what = LOOK_WAIT;

    *ret_error = 0;
    if (s->state != SHM_SESSION_LIVE || s->generation != pw->generation ||
        (s->flags & SHM_SESSION_ORPHAN))
        return LOOK_END;
    if (s->expect.refused) {
        *ret_error = -EEXIST;
        return LOOK_END;
    }
    if (s->published_seq >= pw->want && !(s->flags & SHM_SESSION_UNPUBLISHED))
        return LOOK_END;
    if (s->write_error) { /* of a later write than what is published */
        *ret_error = s->write_error;
        return LOOK_END;
    }
    if (s->publish.state == SHM_JOB_IDLE && s->opening.state == SHM_JOB_IDLE) {
        if (s->publish.attempts != pw->attempts && s->publish.error &&
            s->publishing_seq >= pw->want) {
            *ret_error = s->publish.error;
            op->logged = true; /* by publish_finish */
            return LOOK_END;
        }
        pw->attempts = s->publish.attempts;
        if ((s->content == SHM_CONTENT_COPY && (s->flags & SHM_SESSION_NO_COPY)) ||
            session_patch_lacks(w, pw->session))
            what = look_at_load(op, pw, s, ret_error);
        else if (may_begin(op, s))
            what = w->variant->isolates ? look_at_readers(w, pw, s) : look_at_copies(w, pw);
    }
    if (what != LOOK_BEGIN)
        worker_awaits_session(w, pw->session);
    return what;
}

static void wait_free(void *state)
{
    struct publish_wait *pw = state;

    free(pw->like);
    free(pw);
}

static void publish_wait_go_on(struct op *op, int error)
{
    struct publish_wait *pw = op->state;
    session_then_fn *then = pw->then;

    op_stop_waiting(op);
    op_set_state(op, NULL, NULL);
    wait_free(pw);
    then(op, error);
}

/* The session expects a version that the caller has not read, or one that has been evicted. */
static void tell_refused(struct worker *w, uint32_t session)
{
    struct shm_conflict c = {0};
    struct shm_session *s;

    worker_lock(w);
    s = shm_session_edit(w->shm, session);
    s->publish.error = -EEXIST; /* as for an upload, so that it is reported once */
    s->publishing_seq = s->write_seq;
    if (key_of_session(w, session, c.key) < 0)
        c.key[0] = '\0';
    memcpy(c.found, s->expect.etag, sizeof(c.found));
    worker_unlock(w);
    publish_note_conflict(w, session, &c);
    cas_log_refused(c.key, c.found);
}

/* A copy for the job, which outlives the op that requested it. False: no memory. */
static bool take_like(struct publish *p, const struct publish_wait *pw)
{
    if (!pw->like)
        return true;
    p->like = malloc(sizeof(*p->like));
    if (p->like)
        *p->like = *pw->like;
    return p->like;
}

static void load(struct op *op)
{
    struct publish_wait *pw = op->state;
    int r = session_load(op->w, pw->session);

    if (r == -EAGAIN)
        worker_wake_self(op->w);
    else if (r < 0)
        publish_wait_go_on(op, r);
}

static void publish_wait_resume(struct op *op)
{
    struct publish_wait *pw = op->state;
    struct worker *w = op->w;
    struct publish *p = NULL;
    enum look what;
    bool is_refused;
    int error;

    worker_lock(w);
    what = publish_wait_look(op, pw, &error);
    is_refused =
        what == LOOK_END && error == -EEXIST && shm_session_at(w->shm, pw->session)->expect.refused;
    if (is_refused)
        cas_refused(w, pw->session);
    worker_unlock(w);
    if (what == LOOK_WAIT)
        return;
    if (is_refused)
        tell_refused(w, pw->session);
    if (what == LOOK_END) {
        publish_wait_go_on(op, error);
        return;
    }
    if (what == LOOK_SETTLE) {
        if (!session_load_copy(w, pw->other))
            worker_wake_self(w);
        return;
    }
    if (what == LOOK_KEEP) {
        cas_readers_load(w, pw->other);
        return;
    }
    if (what == LOOK_LOAD) {
        load(op);
        return;
    }
    p = calloc(1, sizeof(*p));
    if (!p || !take_like(p, pw)) {
        free(p);
        publish_wait_go_on(op, -ENOMEM);
        return;
    }
    p->w = w;
    p->session = pw->session;
    p->started_ns = clock_mono_ns();
    lineage_new_id(p->cas.id);
    worker_lock(w);
    what = publish_wait_look(op, pw, &error); /* another worker may have begun one meanwhile */
    error = what == LOOK_BEGIN ? publish_begin(p) : 0;
    worker_unlock(w);
    if (what == LOOK_BEGIN && error == 0) {
        publish_run(p);
        return;
    }
    publish_free(p);
    if (error && error != -EAGAIN)
        publish_wait_go_on(op, error);
    else
        worker_wake_self(w);
}

void session_publish(struct op *op, uint32_t session, session_then_fn *then)
{
    session_publish_like(op, session, NULL, then);
}

void session_publish_like(struct op *op, uint32_t session, const struct publish_like *like,
                          session_then_fn *then)
{
    struct worker *w = op->w;
    struct publish_wait *pw;
    struct publish_like *copy;
    const struct shm_session *s;

    if (op_keep(op) < 0)
        return;
    pw = calloc(1, sizeof(*pw));
    copy = pw && like ? malloc(sizeof(*copy)) : NULL;
    if (!pw || (like && !copy)) {
        free(pw);
        then(op, -ENOMEM);
        return;
    }
    if (copy)
        *copy = *like;
    worker_lock(w);
    s = shm_session_at(w->shm, session);
    *pw = (struct publish_wait){.then = then,
                                .like = copy,
                                .session = session,
                                .generation = s->generation,
                                .want = s->write_seq,
                                .attempts = s->publish.attempts,
                                .loads = s->load.attempts};
    worker_unlock(w);
    op_set_state(op, pw, wait_free);
    op_wait(op, publish_wait_resume);
    publish_wait_resume(op);
}
