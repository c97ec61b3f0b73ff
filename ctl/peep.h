/* Names of files in the tables, read without the lock, which only workers may take. */
#ifndef CTL_PEEP_H
#define CTL_PEEP_H

#include "shm/shm_segment.h"

#define PEEP_PATH_MAX 1100 /* bytes of a path or key, with NUL */

/* "/a/b" within buf; "/" or "?" where there is none, or it changes meanwhile. */
const char *peep_path(struct shm *shm, uint32_t node, char buf[PEEP_PATH_MAX]);

/* The path of a session's file, or the key that it writes. */
const char *peep_session(struct shm *shm, uint32_t session, char buf[PEEP_PATH_MAX]);

#endif
