/* Which processes opened and wrote a session. */
#ifndef WORKERS_WRITE_SESSION_PIDS_H
#define WORKERS_WRITE_SESSION_PIDS_H

#include "workers/op/proc.h"
#include "workers/op/worker.h"

/* Notes that the caller opened / wrote (enum shm_pid_flag). Reads /proc if the thread is not known
 * yet. */
void session_note_pid(struct worker *w, uint32_t session, uint32_t pid, uint32_t flag);

/* The same under shm->meta, with what proc_look has returned for the thread. */
void session_note_proc(struct worker *w, uint32_t session, uint32_t pid,
                       const struct proc_info *info, uint32_t flag);

/* Under shm->meta: all processes that count for the unpublished content were killed by signals. */
must_use bool session_is_torn(const struct shm_session *s);

#endif
