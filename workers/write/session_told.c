/* See session_told.h. */
#include "workers/write/session_told.h"

/* (While a publish runs, one that began after the failure, its end is what has to be told.) */
void session_tell(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    session_untold(s);
    if (s->publish.state == SHM_JOB_IDLE && !worker_is_ending(w))
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
