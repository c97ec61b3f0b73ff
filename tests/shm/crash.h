/* Kills a process at each machine instruction of an operation on the segment, and looks at what
 * the next one finds.
 *
 * The operation runs in a child, stepped with ptrace. After each instruction that changed a byte
 * of the tables or the fill of the undo log, a second process takes the lock of a copy of the
 * segment, gives the copy exactly that state, and dies by SIGKILL: the same as a death at that
 * instruction, without stepping to it anew. Between two such instructions there is nothing that
 * could differ. Some deaths (all of them, for short operations) are done for real as well: those
 * cover what the lock keeps outside of the segment. STATEPROXY_TEST_FULL=1: more of these; with
 * AddressSanitizer none, since its locks are the same.
 *
 * After each death the lock is taken, the tables are checked, they must be as before or as after
 * the operation, and the operation is run again to its end. */
#ifndef TESTS_SHM_CRASH_H
#define TESTS_SHM_CRASH_H

#include "tests/shm/fixture.h"

struct crash_op {
    const char *name;
    void (*prepare)(struct shm *shm); /* makes the state before it */
    void (*run)(struct shm *shm);     /* takes and gives back the lock itself */
    bool block_lock;                  /* shm->blocks->lock rather than shm->meta */
    bool many_sections;               /* not one, but several that are each all or nothing */
    bool every_kill;                  /* kill for real at every instruction */
};

struct crash_count {
    unsigned instructions; /* of the operation */
    unsigned states;       /* that differ, each died in */
    unsigned kills;        /* for real */
};

/* False where ptrace is not permitted. */
bool crash_can_step(void);

/* Fails the running test where anything is wrong. */
void crash_at_each_instruction(const struct crash_op *op, uint64_t *seed, struct crash_count *ret);

/* Without ptrace: kills at random times. */
void crash_at_random(const struct crash_op *op, uint64_t *seed, struct crash_count *ret);

/* Each of n operations, stepped if that can be done; there must be more than 3 states to die in. */
void crash_all(const struct crash_op *ops, size_t n);

#endif
