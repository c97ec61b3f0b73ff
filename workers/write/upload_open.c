/* Opening an upload while its file is still being written. */
#include "workers/write/upload_open.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "workers/objmeta/lineage.h"
#include "workers/server/server.h"
#include "workers/write/publish_private.h"
#include "workers/write/stream.h"

/* Under shm->meta. A stream wants one as soon as a part is full. */
static bool stream_wants(const struct worker *w, const struct shm_session *s)
{
    return s->size - s->base >= w->conf->upload.part_size;
}

#define IN_VAIN_S (10 * 60)

static uint32_t now_s(void)
{
    return (uint32_t)(clock_mono_ns() / NS_PER_S);
}

void upload_was_in_vain(struct worker *w)
{
    uint32_t now = now_s();

    __atomic_store_n(&w->shm->header->in_vain_s, now ? now : 1, __ATOMIC_RELAXED);
}

static bool is_in_vain(const struct worker *w)
{
    uint32_t at = __atomic_load_n(&w->shm->header->in_vain_s, __ATOMIC_RELAXED);

    return at && now_s() - at < IN_VAIN_S;
}

/* Under shm->meta. Compare-and-set: its publish can complete an upload, whose write-id and lineage
 * are those that the publish would have. (Of streams, what is none goes with its publish.) */
static bool is_settled(struct worker *w, const struct shm_session *s)
{
    const struct shm_expectation *e = &s->expect;

    if (!w->variant->expects)
        return !w->variant->streams;
    if (is_in_vain(w) || e->refused || e->tried)
        return false;
    return !e->must || ((e->absent || e->lineage_known) && server_keeps(w, SERVER_KEEPS_COMPLETE));
}

/* Under shm->meta. Any other file, if it will be uploaded in parts, and nothing in it is left of
 * the version to be replaced. */
static bool file_wants(struct worker *w, const struct shm_session *s)
{
    return w->conf->upload.early && is_settled(w, s) && s->refs &&
           !(s->flags & (SHM_SESSION_LATE | SHM_SESSION_KEYED)) &&
           (s->flags & SHM_SESSION_ON_DISK) &&
           (s->expect.absent || s->expect.ours || (s->flags & SHM_SESSION_RENEWED)) &&
           s->ordered_to >= w->conf->upload.multipart_threshold;
}

bool upload_is_wanted(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);

    return s->state == SHM_SESSION_LIVE && !s->write_error && !(s->flags & SHM_SESSION_ORPHAN) &&
           s->content == SHM_CONTENT_SPOOL && !shm_upload_at(w->shm, session)->open &&
           (stream_is(s) ? stream_wants(w, s) : file_wants(w, s)) &&
           !__atomic_load_n(&w->shm->header->no_uploads, __ATOMIC_RELAXED);
}

/* Under shm->meta. No job of the session runs that may not run beside the opening. */
static bool may_open(const struct shm_session *s)
{
    return !s->writing && s->publish.state == SHM_JOB_IDLE && s->load.state == SHM_JOB_IDLE &&
           s->opening.state == SHM_JOB_IDLE;
}

/* Under shm->meta. */
static bool wants_upload(struct worker *w, uint32_t session)
{
    return may_open(shm_session_at(w->shm, session)) && upload_is_wanted(w, session);
}

/* Runs a publish as far as the opening of the upload. Writing goes on meanwhile. */
static void open_upload(struct worker *w, uint32_t session)
{
    struct publish *p = calloc(1, sizeof(*p));
    int r = -EAGAIN;

    if (!p)
        return; /* the next write, or the close, tries again */
    p->w = w;
    p->session = session;
    p->started_ns = clock_mono_ns();
    p->opens = true;
    lineage_new_id(p->cas.id);
    worker_lock(w);
    if (wants_upload(w, session))
        r = publish_begin(p);
    worker_unlock(w);
    if (r == 0)
        publish_run(p);
    else
        publish_free(p);
}

bool upload_may_go_on(struct worker *w, uint32_t session)
{
    return shm_upload_at(w->shm, session)->open || wants_upload(w, session);
}

void upload_go_on(struct worker *w, uint32_t session)
{
    bool opens, open;

    worker_lock(w);
    opens = wants_upload(w, session);
    open = shm_upload_at(w->shm, session)->open;
    worker_unlock(w);
    if (opens)
        open_upload(w, session);
    else if (open)
        upload_drive(w, session);
}
