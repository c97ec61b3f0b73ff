/* File locks: flock(2), and byte ranges (fcntl(2), also those of open file descriptions). Local to
 * this mount.
 *
 * A lock belongs to the node through which it was taken, and conflicts with those of all nodes of
 * the same key (st_ino), since several versions of a key may be open. flock locks and ranges are
 * independent, as on a local disk. The kernel identifies the owners: a process for ranges, an open
 * file for flock.
 *
 * All functions require shm->meta to be held and save what they change. Nothing here waits:
 * workers/handlers/op_lock.c does. */
#ifndef SHM_SHM_FLOCK_H
#define SHM_SHM_FLOCK_H

#include "shm/shm_node.h"

/* Maximum number of locks of one owner on one node: a section changes at most so many. */
#define SHM_FLOCK_OWNER_MAX 128u
#define SHM_FLOCK_BUCKETS 256           /* a power of two */
#define SHM_FLOCK_END (UINT64_MAX >> 1) /* the last offset that a file can have */

enum shm_flock_type { SHM_FLOCK_READ, SHM_FLOCK_WRITE, SHM_FLOCK_NONE };

/* A lock that is requested, or held. */
struct shm_flock {
    uint64_t owner;
    uint64_t start, end; /* inclusive; ignored for `whole` */
    uint32_t handle;     /* the open file through which it was taken: its RELEASE ends the lock */
    uint32_t pid;        /* reported to a process that asks for the holder */
    uint16_t type;       /* enum shm_flock_type; NONE unlocks */
    uint16_t whole;      /* 1: by flock(2) */
    uint32_t unused;     /* no padding: undefined bytes would differ between processes */
};

/* Writer, readers: any worker, under shm->meta. If the owner of that lock dies: rolled back.
 * States: in the chain of its file, or in the free chain. Invariants: the ranges of one owner on
 * one node do not overlap, and those of one type do not touch; an owner has at most one `whole`
 * lock on a node. */
struct shm_flock_slot {
    struct shm_flock lock;
    uint32_t next; /* index + 1 */
    uint32_t unused;
};

/* A node that has locks. The handles through which they were taken pin it. */
struct shm_flock_file {
    uint32_t node;
    uint32_t next_by_node; /* index + 1; or the free chain */
    uint32_t next_by_key;
    uint32_t first;   /* first of its locks, index + 1; never 0 while in use */
    uint32_t waiters; /* workers to wake when a lock is released, a bit each */
    uint32_t unused;
    uint64_t ino; /* its key */
};

struct shm_flock_table {
    uint32_t free_lock, free_file;   /* free chains, index + 1 */
    uint32_t fresh_lock, fresh_file; /* first entry never used */
    uint32_t live;
    uint32_t unused;
    uint32_t by_node[SHM_FLOCK_BUCKETS]; /* files, index + 1 */
    uint32_t by_key[SHM_FLOCK_BUCKETS];
    struct shm_flock_cell { /* as many as handles, though the two are not related */
        struct shm_flock_file file;
        struct shm_flock_slot slot;
    } cell[];
};

/* The bucket of a key's files: an ino is already a hash, except for its lowest bits. */
static inline uint32_t shm_flock_key_bucket(uint64_t ino)
{
    return (uint32_t)(ino >> 8) % SHM_FLOCK_BUCKETS;
}

size_t shm_flock_size(const struct shm_sizes *sizes);
void shm_flock_init(struct shm *shm);
must_use int shm_flock_check(struct shm *shm, struct err *err);

/* The lock of another owner that conflicts with `want` on the node: the one with the lowest start.
 * False: none. */
must_use bool shm_flock_find(struct shm *shm, uint32_t node, const struct shm_flock *want,
                             struct shm_flock *ret);

/* Takes, changes or releases (NONE) a lock. 0; -EAGAIN: a conflicting lock exists; -ENOLCK: too
 * many. *ret_wake is the set of workers to wake, a bit each, for any result. A range that is not
 * granted changes nothing. As on a local disk, a flock that is not granted leaves its owner without
 * a lock: otherwise two owners that both upgrade would wait for each other. */
must_use int shm_flock_set(struct shm *shm, uint32_t node, const struct shm_flock *want,
                           uint32_t *ret_wake);

/* Notes that this worker waits for the locks that conflict with `want`. */
void shm_flock_wait(struct shm *shm, uint32_t node, const struct shm_flock *want, uint32_t worker);

/* The owner closed the file: removes its ranges on the node. Returns whom to wake. */
must_use uint32_t shm_flock_drop_owner(struct shm *shm, uint32_t node, uint64_t owner);

/* The handle is being released: removes the locks taken through it, at most SHM_FLOCK_OWNER_MAX at
 * a time; true if there are more. */
must_use bool shm_flock_drop_handle(struct shm *shm, uint32_t node, uint32_t handle,
                                    uint32_t *ret_wake);

/* The node's `ino` has changed (a rename): moves its locks along. */
void shm_flock_renamed(struct shm *shm, uint32_t node);

#endif
