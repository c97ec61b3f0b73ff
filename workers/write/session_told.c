/* See session_told.h. */
#include "workers/write/session_told.h"

/* Whether an error is about the content as it is now: that of the last publish is not if the
 * content has changed since it began. */
static bool is_about_all(const struct shm_session *s)
{
    return s->publishing_seq == s->write_seq || s->write_error || s->expect.refused;
}

/* (While a publish runs, one that began after the failure, its end is what has to be told.) */
void session_tell(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    session_untold(s);
    if (s->publish.state == SHM_JOB_IDLE && is_about_all(s) && !worker_is_ending(w))
        s->flags |= SHM_SESSION_TOLD;
}

void session_untold(struct shm_session *s)
{
    s->flags &= ~(uint32_t)SHM_SESSION_TOLD;
}

void session_lost(struct worker *w, uint32_t session)
{
    if (!(shm_session_at(w->shm, session)->flags & SHM_SESSION_TOLD))
        worker_gave_up(w);
}
