/* Locks of the segment: process-shared robust mutexes with an undo log.
 *
 * Any process may be killed at any instruction. A process that changes a table first saves the old
 * bytes with shm_save(), which writes them to the lock's undo log, in the segment. shm_unlock()
 * empties the log: that one store is the commit. When the owner of a lock dies, the next locker
 * gets EOWNERDEAD, restores the saved bytes in reverse order, and continues: the tables are as they
 * were before the dead process took the lock. So every locked section is all or nothing, however
 * many tables it changes, and no table needs repair code.
 *
 * Why this order is sufficient: a kill stops a process between two of its instructions, with all
 * earlier ones done; only the compiler could reorder, and the barriers in shm_save() prevent that.
 * (The kernel's robust-futex hand-over orders memory between processors.)
 *
 * Under a lock: no system call, no log line, no allocation, no S3. */
#ifndef SHM_SHM_LOCK_H
#define SHM_SHM_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock_check.h"

struct shm;

/* A lock of a higher rank may be taken while holding a lower one, never the reverse. */
enum shm_rank {
    SHM_RANK_META = 1,  /* nodes, names, sessions, handles, journal records, notifications */
    SHM_RANK_BLOCK = 2, /* blocks of object data */
};

/* Bytes of undo log; a locked section must fit. The largest users: shm_node_intern 5.5 KiB,
 * shm_node_move 5 KiB, shm_session_set_xattr 3 KiB, shm_node_detach, shm_session_new,
 * shm_handle_new, a record 1 KiB each, shm_baseline_set in a full table 3 KiB, all others less. So
 * everything that one request does fits; a loop over many nodes does not: use a section for each.
 * (A publish may change 13 baselines and 16 nodes of readers in one: some 48 KiB.) Memory that no
 * section has reached is never touched. */
#define SHM_UNDO_MAX 65536

/* Writer, readers: the owner of `mutex`. If the owner dies: see above. */
struct lock_kind shm_mutex {
    pthread_mutex_t mutex;
    uint32_t rank;
    uint32_t log_used;     /* bytes of `log` in use; 0 = the tables are consistent */
    uint64_t owner_deaths; /* number of owners that died inside */
    uint64_t rollbacks;    /* ... and had changed something */
    uint8_t log[SHM_UNDO_MAX];
};

/* Once, before the first fork. */
void shm_mutex_init(struct shm_mutex *m, enum shm_rank rank);

void shm_lock(struct shm *shm, struct shm_mutex *m) lock_takes(*m);
void shm_unlock(struct shm *shm, struct shm_mutex *m) lock_gives(*m);

/* Saves `len` bytes at `p` (inside the segment); they are restored if this process dies before
 * shm_unlock(). Must precede every store to a locked table. */
void shm_save(struct shm *shm, struct shm_mutex *m, void *p, size_t len);

/* Undoes all changes since shm_lock, in the living process (a step failed half-way). The lock stays
 * held. */
void shm_rollback(struct shm *shm, struct shm_mutex *m);

/* The same back to a point within the section, m->log_used at that time: for a function that fails
 * half-way and must keep the changes of its caller. */
void shm_rollback_to(struct shm *shm, struct shm_mutex *m, uint32_t mark);

/* Saves and stores. `m` is the lock that protects `lvalue`. */
#define shm_set(shm, m, lvalue, value)                                                             \
    do {                                                                                           \
        shm_save((shm), (m), &(lvalue), sizeof(lvalue));                                           \
        (lvalue) = (value);                                                                        \
    } while (0)

#endif
