/* Prints the daemon's answer and the tables of its segment, as text or JSON. */
#ifndef CTL_STATUS_H
#define CTL_STATUS_H

#include <stdbool.h>

#include "shm/shm_segment.h"

/* Prints the status. `answer` is modified. `shm` may be NULL: then without tables and counters. */
void status_print(char *answer, struct shm *shm, bool json);

/* Open write sessions, and requests in the journal. The tables are read without a lock: a line may
 * mix two states. */
void status_sessions(struct shm *shm, bool json);
void status_inflight(struct shm *shm, bool json);

/* The name of the opcode of a request of the kernel, or its number. */
void status_op_name(uint32_t opcode, char out[16]);

/* Compare-and-set: the last writes that were refused, newest last. */
void status_conflicts(struct shm *shm, bool json);

#endif
