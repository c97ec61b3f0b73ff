/* `stateproxyctl status`: the daemon's answer and the counters of its segment, as text or JSON. */
#ifndef CTL_STATUS_H
#define CTL_STATUS_H

#include <stdbool.h>

#include "shm/shm_segment.h"

/* Prints. `answer` is changed. `shm` may be NULL: then without tables and counters. */
void status_print(char *answer, struct shm *shm, bool json);

/* Open write sessions / requests in the journal. The tables are read without lock: a line may be
 * half of two states. */
void status_sessions(struct shm *shm, bool json);
void status_inflight(struct shm *shm, bool json);

/* Compare-and-set: the last writes that were refused, newest last. */
void status_conflicts(struct shm *shm, bool json);

#endif
