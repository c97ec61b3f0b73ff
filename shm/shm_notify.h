/* Notifications to the kernel, queued by workers and written by the notifier process.
 *
 * A worker must not write them itself: INVAL_ENTRY takes the parent's inode lock and INVAL_INODE
 * waits for pages that a READ has locked, so whoever serves those requests would wait for itself.
 */
#ifndef SHM_SHM_NOTIFY_H
#define SHM_SHM_NOTIFY_H

#include "shm/shm_node.h"

#define SHM_NOTIFY_SLOTS 256

enum shm_notify_kind { SHM_NOTIFY_INODE, SHM_NOTIFY_ENTRY };

struct shm_notify {
    uint32_t kind;
    uint32_t name_len;
    uint64_t node_id; /* the inode, or the parent of the entry */
    char name[SHM_NAME_MAX + 1];
};

/* Writer: any worker (tail), the notifier (head), under shm->meta. If the owner dies: rolled back.
 * A notification that finds the ring full is dropped and counted: each only makes caches forget
 * sooner. */
struct shm_notify_ring {
    uint32_t head, tail; /* free running; head == tail: empty */
    uint64_t dropped;
    uint64_t written;
    struct shm_notify slot[SHM_NOTIFY_SLOTS];
};

size_t shm_notify_size(const struct shm_sizes *sizes);
void shm_notify_init(struct shm *shm);
must_use int shm_notify_check(struct shm *shm, struct err *err);

/* Queue (want shm->meta held); after unlocking the caller sets the notifier's eventfd.
 * The whole content and the attributes of a node / one name in a directory are to be forgotten. */
void shm_notify_inode(struct shm *shm, uint32_t node);
void shm_notify_entry(struct shm *shm, uint32_t parent, const char *name, size_t len);

/* Takes the oldest into *ret. False when empty. Takes shm->meta itself. */
bool shm_notify_take(struct shm *shm, struct shm_notify *ret);

#endif
