/* Which processes opened and wrote a session: needed for torn-write protection, and to decide whose
 * close counts (design: "Which close?"). */
#include "workers/write/session_pids.h"

/* True if nothing new would be noted: this thread has been seen, or its identity no longer
 * matters. */
static bool knows(struct worker *w, uint32_t session, uint32_t pid, uint32_t flag)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    const struct shm_session_pid *p;
    bool known;

    worker_lock(w);
    p = shm_session_pid_by_tid(s, (int32_t)pid);
    known = (s->flags & SHM_SESSION_MANY_PIDS) ||
            (p && (p->flags & flag) == flag && !(p->flags & SHM_PID_KILLED));
    worker_unlock(w);
    return known;
}

void session_note_pid(struct worker *w, uint32_t session, uint32_t pid, uint32_t flag)
{
    struct proc_info info;

    if (knows(w, session, pid, flag))
        return;
    proc_look(pid, &info);
    worker_lock(w);
    session_note_proc(w, session, pid, &info, flag);
    worker_unlock(w);
}

void session_note_proc(struct worker *w, uint32_t session, uint32_t pid,
                       const struct proc_info *info, uint32_t flag)
{
    struct shm_session_pid *p;

    if (!info->tgid) {
        /* Another pid namespace, or gone: it can be any process, so every close counts. */
        shm_session_edit(w->shm, session)->flags |= SHM_SESSION_MANY_PIDS;
        return;
    }
    p = shm_session_pid(w->shm, session, (int32_t)pid, info->tgid, info->start);
    if (p)
        p->flags = (p->flags | flag) & ~(uint32_t)SHM_PID_KILLED;
}

bool session_is_torn(const struct shm_session *s)
{
    uint32_t which = SHM_PID_OPENED, killed = 0, alive = 0;

    if (s->flags & SHM_SESSION_MANY_PIDS)
        return false;
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        if (s->pids[i].tgid && (s->pids[i].flags & SHM_PID_WROTE))
            which = SHM_PID_WROTE;
    }
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        if (!s->pids[i].tgid || !(s->pids[i].flags & which))
            continue;
        if (s->pids[i].flags & SHM_PID_KILLED)
            killed++;
        else
            alive++;
    }
    return killed && !alive;
}
