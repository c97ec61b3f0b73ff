/* Changing the content of a session: when it is allowed, and what is noted.
 *
 * A publish streams from the spool, so the spool must not change meanwhile, and no change may be
 * half done when the publish begins. `writing` counts the changes in progress; each is noted in the
 * record of its op, so that a replacement that replays the op neither counts it twice nor forgets
 * it. */
#include "workers/write/session_change.h"

#include <errno.h>

#include "base/clock.h"
#include "base/min.h"
#include "shm/shm_patch.h"
#include "shm/shm_upload.h"
#include "workers/op/hold.h"
#include "workers/op/spool.h"
#include "workers/write/session_load.h"
#include "workers/write/session_told.h"
#include "workers/write/stream.h"

static bool job_runs(const struct shm_session *s)
{
    return s->publish.state == SHM_JOB_RUNNING || s->load.state == SHM_JOB_RUNNING;
}

/* Under shm->meta. The spool has what the change needs. */
static bool is_prepared(struct worker *w, uint32_t session, struct session_range range)
{
    const struct shm_session *s = shm_session_at(w->shm, session);

    return s->content == SHM_CONTENT_SPOOL ||
           (s->content == SHM_CONTENT_PATCH &&
            !shm_patch_needs(w->shm, session, range.from, range.to).len);
}

bool session_change_begin(struct op *op, uint32_t session, struct session_range range)
{
    struct worker *w = op->w;
    const struct shm_session *s = shm_session_at(w->shm, session);
    struct shm_record *rec = op->rec;

    if (rec->change == SHM_CHANGE_BEGUN)
        return true; /* noted by a predecessor that died in the middle */
    if (job_runs(s) || !is_prepared(w, session, range) || !spool_reserve(w, session, range.to)) {
        worker_awaits_session(w, session);
        return false;
    }
    shm_session_edit(w->shm, session)->writing++;
    rec = op_edit(op);
    rec->change = SHM_CHANGE_BEGUN;
    return true;
}

uint32_t session_change_end(struct op *op, uint32_t session)
{
    struct worker *w = op->w;
    struct shm_session *s = shm_session_edit(w->shm, session);

    s->writing--;
    if (s->writing == 0 && s->content == SHM_CONTENT_EMPTYING) /* a truncation runs alone */
        s->content = SHM_CONTENT_SPOOL;
    op_edit(op)->change = SHM_CHANGE_NONE;
    return s->writing == 0 ? shm_session_take_waiters(s) : 0;
}

void session_cut(struct worker *w, uint32_t session, uint64_t size)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    if (size >= s->size)
        return;
    if (size < s->changed_from)
        s->changed_from = size;
    s->size = size;
    s->cuts++;
    if (s->content == SHM_CONTENT_PATCH)
        shm_patch_cut(w->shm, session, size);
}

void session_write_failed(struct worker *w, uint32_t session, int error)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    s->write_error = error;
    s->write_seq++;
    session_untold(s);
}

void session_regain_name(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    uint32_t named = shm_node_named(w->shm, s->node);
    const struct shm_node *n = named == SHM_NIL ? NULL : shm_node_at(w->shm, named);

    if (w->variant->isolates || named == s->node ||
        (s->flags & (SHM_SESSION_ORPHAN | SHM_SESSION_KEYED)))
        return;
    if (!n || (n->session == SHM_NIL && !(n->flags & SHM_NODE_DIR)))
        shm_node_regain(w->shm, s->node);
}

/* The file is written from its beginning to its end as long as each range begins in, or at the end
 * of, what was written so. */
static void note_order(struct shm_session *s, struct session_range range)
{
    if (range.to == UINT64_MAX)
        s->ordered_to = min_u64(s->ordered_to, range.from);
    else if (range.from <= s->ordered_to && range.to > s->ordered_to)
        s->ordered_to = range.to;
}

/* Times that were set before do not apply to the new content; that of an access does. */
static void forget_times(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    struct shm_node *changed;

    if (!(n->flags & SHM_NODE_MTIME_SET) && n->ctime_ns == SHM_TIME_UNSET)
        return;
    changed = shm_node_edit(w->shm, node);
    changed->flags &= (uint16_t)~SHM_NODE_MTIME_SET;
    changed->ctime_ns = SHM_TIME_UNSET;
}

void session_written(struct worker *w, uint32_t session, struct session_range range,
                     uint64_t new_size)
{
    struct shm_session *s = shm_session_edit(w->shm, session);
    uint64_t from = min_u64(range.from, s->size); /* (a hole is zeroes now) */

    session_regain_name(w, session);
    if (from < s->changed_from)
        s->changed_from = from;
    note_order(s, range);
    if (s->content == SHM_CONTENT_PATCH)
        shm_patch_changed(w->shm, session, from, min_u64(range.to, new_size));
    s->size = new_size;
    if (new_size == 0) {
        s->write_error = 0;
        s->flags |= SHM_SESSION_RENEWED;
    }
    s->write_seq++;
    session_untold(s);
    if (!stream_is(s)) /* (a stream's spool no longer has what S3 has) */
        shm_upload_changed(w->shm, session, s->write_seq, from, range.to);
    s->mtime_ns = (int64_t)clock_wall_ns();
    forget_times(w, s->node);
}

/* ---- moving to disk ---- */

static bool is_still(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);

    return !job_runs(s) && s->writing == 0 && shm_session_has_spool(s) &&
           !shm_upload_at(w->shm, session)->sending;
}

/* Under shm->meta: nothing is changing the content, and `end` bytes do not fit into memory (any
 * more). */
static bool wants_disk(struct worker *w, uint32_t session, uint64_t end)
{
    return is_still(w, session) && !stream_has_work(w, session) && !spool_reserve(w, session, end);
}

int session_move_to_disk(struct op *op, uint32_t session)
{
    struct worker *w = op->w;
    struct shm_session *s;
    uint32_t mask;
    bool begun;
    int r;

    worker_lock(w);
    s = shm_session_edit(w->shm, session);
    begun = is_still(w, session) && !(s->flags & SHM_SESSION_ON_DISK);
    if (begun)
        s->load = (struct shm_job){
            .state = SHM_JOB_RUNNING, .owner = w->slot, .attempts = s->load.attempts};
    worker_unlock(w);
    if (!begun)
        return 0;
    r = spool_to_disk(w, session);
    worker_lock(w);
    s = shm_session_edit(w->shm, session);
    s->load.state = SHM_JOB_IDLE;
    if (r == 0)
        s->flags |= SHM_SESSION_ON_DISK;
    mask = shm_session_take_waiters(s);
    worker_unlock(w);
    if (r == 0)
        spool_drop_memory(w, session);
    worker_wake(w, mask);
    return r;
}

/* ---- loading ---- */

/* Under shm->meta. True: the content, or what the change needs of it, is only on S3, and a load has
 * to be started. *ret_error: -errno if the load that this op waited for has failed. If a load is
 * running, it wakes this worker at its end. (While an op, or a publish, moves or changes the
 * object, what is asked of it would fail: the end of that wakes this worker.) */
static bool wants_load(struct op *op, uint32_t session, struct session_range range, int *ret_error)
{
    const struct shm_session *s = shm_session_at(op->w->shm, session);
    bool known = op->rec->change == SHM_CHANGE_LOADING;

    *ret_error = 0;
    if (shm_session_is_loaded(s) || op->rec->change == SHM_CHANGE_BEGUN ||
        is_prepared(op->w, session, range))
        return false;
    if (!shm_session_may_ask(s) ||
        (s->content == SHM_CONTENT_PATCH && hold_is_taken(op->w, s->node, 0)))
        return false;
    if (!known)
        op_edit(op)->change = SHM_CHANGE_LOADING;
    if (s->load.state == SHM_JOB_RUNNING) {
        worker_awaits_session(op->w, session);
        return false;
    }
    if (known)
        *ret_error = s->load.error;
    op->logged |= *ret_error != 0; /* by session_load */
    return !*ret_error;
}

/* Makes sure that a load runs if one is needed. */
static int load_first(struct op *op, uint32_t session, struct session_range range)
{
    bool load;
    int r;

    worker_lock(op->w);
    load = wants_load(op, session, range, &r);
    worker_unlock(op->w);
    if (load)
        r = session_load_range(op->w, session, range.from, range.to);
    if (r == -EAGAIN) { /* another worker was first: look again */
        worker_wake_self(op->w);
        r = 0;
    }
    return r;
}

int session_take_turn(struct op *op, uint32_t session, struct session_range range)
{
    struct worker *w = op->w;

    for (;;) {
        bool disk, begun;
        int r = load_first(op, session, range);

        if (r < 0)
            return r;
        worker_lock(w);
        disk = op->rec->change != SHM_CHANGE_BEGUN && wants_disk(w, session, range.to);
        begun = !disk && session_change_begin(op, session, range);
        worker_unlock(w);
        if (!disk)
            return begun;
        r = session_move_to_disk(op, session);
        if (r < 0)
            return r;
    }
}
