/* File locks: flock(2), and byte ranges (fcntl(2), also those of open file descriptions). Local to
 * this mount.
 *
 * A lock hangs on the node through which it was taken, and conflicts with those of all nodes of the
 * same key (st_ino), since one key may have several versions open. flock locks and ranges do not
 * see each other, as on a local disk. Owners are what the kernel says: a process for ranges, an
 * open file for flock.
 *
 * All functions want shm->meta held and save what they change. Nothing here waits:
 * workers/handlers/op_lock.c does.
 */
#ifndef SHM_SHM_FLOCK_H
#define SHM_SHM_FLOCK_H

#include "shm/shm_node.h"

/* Locks of one owner on one node: a section changes at most so many. */
#define SHM_FLOCK_OWNER_MAX 128u
#define SHM_FLOCK_BUCKETS 256           /* a power of two */
#define SHM_FLOCK_END (UINT64_MAX >> 1) /* the last byte that a file can have */

enum shm_flock_type { SHM_FLOCK_READ, SHM_FLOCK_WRITE, SHM_FLOCK_NONE };

/* What somebody wants, or has. */
struct shm_flock {
    uint64_t owner;
    uint64_t start, end; /* inclusive; ignored for `whole` */
    uint32_t handle;     /* through which open file: its RELEASE ends the lock */
    uint32_t pid;        /* to be told to who asks */
    uint16_t type;       /* enum shm_flock_type; NONE unlocks */
    uint16_t whole;      /* 1: by flock(2) */
    uint32_t unused;     /* no padding: bytes that nobody sets differ between processes */
};

/* Writer, readers: any worker, under shm->meta. If the owner of that lock dies: rolled back.
 * States: in the chain of its file, or in the chain of free ones.
 * Invariants: the ranges of one owner on one node do not overlap, and those of one type do not
 * touch; an owner has at
 *             most one `whole` lock on a node. */
struct shm_flock_slot {
    struct shm_flock lock;
    uint32_t next; /* index + 1 */
    uint32_t unused;
};

/* A node that has locks. It is pinned by the handles through which they were taken. */
struct shm_flock_file {
    uint32_t node;
    uint32_t next_by_node; /* index + 1; also the chain of free ones */
    uint32_t next_by_key;
    uint32_t first;   /* of its locks, index + 1; never 0 while in use */
    uint32_t waiters; /* to wake when a lock goes: workers, a bit each */
    uint32_t unused;
    uint64_t ino; /* its key */
};

struct shm_flock_table {
    uint32_t free_lock, free_file;   /* chains of free ones, index + 1 */
    uint32_t fresh_lock, fresh_file; /* first never used */
    uint32_t live;
    uint32_t unused;
    uint32_t by_node[SHM_FLOCK_BUCKETS]; /* files, index + 1 */
    uint32_t by_key[SHM_FLOCK_BUCKETS];
    struct { /* as many as handles; the two have nothing to do with each other */
        struct shm_flock_file file;
        struct shm_flock_slot slot;
    } cell[];
};

/* Where a key's files are chained: an ino is a hash already, but for its lowest bits. */
static inline uint32_t shm_flock_key_bucket(uint64_t ino)
{
    return (uint32_t)(ino >> 8) % SHM_FLOCK_BUCKETS;
}

size_t shm_flock_size(const struct shm_sizes *sizes);
void shm_flock_init(struct shm *shm);
must_use int shm_flock_check(struct shm *shm, struct err *err);

/* The lock of another owner that keeps `want` from being taken on the node: the one that begins
 * first. False: none. */
must_use bool shm_flock_find(struct shm *shm, uint32_t node, const struct shm_flock *want,
                             struct shm_flock *ret);

/* Takes, changes or gives back (NONE) a lock. 0; -EAGAIN: others have it; -ENOLCK: too many.
 * *ret_wake is whom to wake, a bit each, whatever is returned. A range that is not granted leaves
 * all as it was. As on a local disk, a flock that is not granted leaves its owner without any: else
 * two that both want to upgrade would wait for each other. */
must_use int shm_flock_set(struct shm *shm, uint32_t node, const struct shm_flock *want,
                           uint32_t *ret_wake);

/* Notes that this worker waits for what keeps `want` from being taken. */
void shm_flock_wait(struct shm *shm, uint32_t node, const struct shm_flock *want, uint32_t worker);

/* The owner closed the file: its ranges on the node go. Returns whom to wake. */
must_use uint32_t shm_flock_drop_owner(struct shm *shm, uint32_t node, uint64_t owner);

/* The handle is being released: what was taken through it goes, at most SHM_FLOCK_OWNER_MAX at a
 * time; true when there is more. */
must_use bool shm_flock_drop_handle(struct shm *shm, uint32_t node, uint32_t handle,
                                    uint32_t *ret_wake);

/* The node's `ino` has changed (a rename): its locks follow. */
void shm_flock_renamed(struct shm *shm, uint32_t node);

#endif
