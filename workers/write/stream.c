/* Streams: what may be written, and what the spool still holds. */
#include "workers/write/stream.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "workers/op/spool.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_change.h"

/* ---- what may be written ---- */

bool stream_may_copy(struct worker *w, const struct shm_session *s)
{
    return s->size >= STREAM_BASE_MIN &&
           !__atomic_load_n(&w->shm->header->no_uploads, __ATOMIC_RELAXED);
}

void stream_begin_at(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    s->content = SHM_CONTENT_SPOOL;
    s->base = s->held_from = s->size;
}

/* Under shm->meta. The parts that the upload of the session has, or would have. */
static struct shm_upload_plan plan_of(struct worker *w, uint32_t session)
{
    const struct shm_upload *u = shm_upload_at(w->shm, session);

    if (u->open)
        return u->plan;
    return shm_upload_plan(w->conf->upload.part_size, true, shm_session_at(w->shm, session)->base);
}

/* Under shm->meta. The size of the part that ends at, or after, the last byte. */
static uint64_t part_now(struct worker *w, uint32_t session)
{
    struct shm_upload_plan plan = plan_of(w, session);
    uint32_t no = shm_upload_parts(&plan, shm_session_at(w->shm, session)->size);
    uint64_t off, len = plan.part_size;

    (void)!shm_upload_range(&plan, no, UINT64_MAX, &off, &len);
    return len;
}

static bool stream_has_room(struct worker *w, uint32_t session, uint64_t len)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    uint64_t held = s->size - s->held_from + len;

    if (__atomic_load_n(&w->shm->header->no_uploads, __ATOMIC_RELAXED) ||
        (s->flags & SHM_SESSION_ORPHAN))
        return true; /* all of it stays here */
    return held <= (w->conf->upload.concurrency + 1) * part_now(w, session) + len;
}

int stream_may_write(struct worker *w, uint32_t session, uint64_t off, uint64_t len)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    const struct shm_upload *u = shm_upload_at(w->shm, session);
    struct shm_upload_plan plan;

    if (!stream_is(s))
        return 0;
    if (s->write_error)
        return s->write_error;
    if (u->open && u->error)
        return u->error;
    if (off != s->size)
        return -EINVAL;
    plan = plan_of(w, session);
    if (shm_upload_parts(&plan, s->size + len) > SHM_UPLOAD_PARTS)
        return -EFBIG;
    return stream_has_room(w, session, len) ? 0 : 1;
}

bool stream_has_work(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    const struct shm_upload *u = shm_upload_at(w->shm, session);

    if (!stream_is(s))
        return false;
    return s->opening.state == SHM_JOB_RUNNING ||
           (u->open && !u->error && (u->sending || s->size - s->held_from >= part_now(w, session)));
}

void stream_empty(struct worker *w, uint32_t session, struct upload_name *ret)
{
    struct shm_session *s;

    ret->key[0] = '\0';
    if (!stream_is(shm_session_at(w->shm, session)))
        return;
    s = shm_session_edit(w->shm, session);
    s->base = s->held_from = 0;
    upload_give_up(w, session, ret);
}

/* ---- what the spool holds ---- */

/* Under shm->meta. The end of what S3 has, without a gap. */
static uint64_t end_of_done(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    const struct shm_upload *u = shm_upload_at(w->shm, session);
    uint64_t off, len;

    if (!u->prefix || !shm_upload_range(&u->plan, u->prefix - 1, UINT64_MAX, &off, &len))
        return s->base;
    /* (A part that may still grow stays here.) */
    return u->part[u->prefix - 1].len == len ? off + len : off;
}

void stream_advance(struct worker *w, uint32_t session, uint64_t *ret_from, uint64_t *ret_to)
{
    struct shm_session *s;
    uint64_t end;

    if (!stream_is(shm_session_at(w->shm, session)))
        return;
    end = end_of_done(w, session);
    s = shm_session_edit(w->shm, session);
    if (end <= s->held_from)
        return;
    *ret_from = s->held_from;
    *ret_to = end;
    s->held_from = end;
    spool_unreserve(w, session);
}

void stream_published(struct worker *w, uint32_t session, uint64_t size)
{
    struct shm_session *s;

    if (!stream_is(shm_session_at(w->shm, session)))
        return;
    s = shm_session_edit(w->shm, session);
    if (s->held_from)
        s->base = s->held_from = size;
    spool_unreserve(w, session);
}

void stream_failed(struct worker *w, uint32_t session, int error, bool opens)
{
    const struct shm_session *s = shm_session_at(w->shm, session);

    if (stream_is(s) && (opens || s->held_from > s->base))
        session_write_failed(w, session, error);
}
