/* Notifications to the kernel, queued by workers and written by the notifier process.
 *
 * A worker must not write them itself: INVAL_ENTRY takes the parent's inode lock and INVAL_INODE
 * waits for pages that a READ has locked, so a worker that serves those requests would wait for
 * itself. The notifier may wait as long as some worker is alive to reply to the request. If all are
 * killed it may not: a process that waits this way cannot be killed, and what it holds keeps the
 * mount, and with it the request, alive. So at once only a file's attributes are dropped, which
 * waits for nothing; its pages are dropped when no READ or WRITE of it is under way
 * (daemon/notifier.c), and until then at each OPEN, by the process that opens it. */
#ifndef SHM_SHM_NOTIFY_H
#define SHM_SHM_NOTIFY_H

#include <stdatomic.h>

#include "shm/shm_node.h"

#define SHM_NOTIFY_SLOTS 256

#define SHM_NOTIFY_NODES 32
#define SHM_NOTIFY_PAGES 256

enum shm_notify_kind { SHM_NOTIFY_INODE, SHM_NOTIFY_ENTRY, SHM_NOTIFY_PRUNE };

struct shm_notify {
    uint32_t kind;
    uint32_t n;       /* ENTRY: bytes of the name; PRUNE: nodes */
    uint64_t node_id; /* INODE: itself; ENTRY: its parent */
    union {
        char name[SHM_NAME_MAX + 1];
        uint64_t nodes[SHM_NOTIFY_NODES]; /* their ids */
    };
};

/* Writer: any worker (tail), the notifier (head), under shm->meta. If the owner dies: rolled back.
 * A notification is dropped and counted if the ring is full: each only makes caches expire sooner.
 * For the same reason one may be written twice, when a notifier is killed. */
struct shm_notify_ring {
    uint32_t head, tail; /* free running; head == tail: empty */
    uint64_t dropped;
    uint64_t written;
    uint64_t room_ns;          /* monotonic: when the kernel was last asked to return nodes, 0 =
                                * never */
    _Atomic uint32_t no_prune; /* set by the notifier: the kernel does not know PRUNE */
    uint32_t n_pages;
    uint32_t pages_lost; /* there were too many: from now on every OPEN drops pages */
    uint32_t unused;
    uint64_t dropping;                /* node whose pages the notifier is dropping, 0 = none */
    uint64_t pages[SHM_NOTIFY_PAGES]; /* nodes with pages to be dropped; each once */
    struct shm_notify slot[SHM_NOTIFY_SLOTS];
};

size_t shm_notify_size(const struct shm_sizes *sizes);
void shm_notify_init(struct shm *shm);
must_use int shm_notify_check(struct shm *shm, struct err *err);

/* Queue a notification (require shm->meta to be held); after unlocking the caller sets the
 * notifier's eventfd. Drops all pages and attributes of a node / one name in a directory. (The
 * content of a node is not a mere hint: it is never dropped from the ring.) */
void shm_notify_inode(struct shm *shm, uint32_t node);
void shm_notify_entry(struct shm *shm, uint32_t parent, const char *name, size_t len);

/* The same: asks the kernel to return up to SHM_NOTIFY_NODES nodes that seem to be unused. */
void shm_notify_prune(struct shm *shm, const uint64_t *node_ids, uint32_t n);

/* For the notifier; both take shm->meta themselves. The first copies the oldest, which stays: if a
 * notifier is killed before it has written it, the next one does. False if the ring is empty. The
 * second removes the oldest, which has been written. */
bool shm_notify_next(struct shm *shm, struct shm_notify *ret);
void shm_notify_written(struct shm *shm);

/* Under shm->meta: an OPEN of the node has to make the kernel drop its pages. */
bool shm_notify_stale(struct shm *shm, uint32_t node);

/* For the notifier; they take shm->meta themselves. Start of a new notifier: puts back into the
 * list what its predecessor was dropping. The list: nodes with pages to drop; their number, up to
 * SHM_NOTIFY_PAGES. Takes one of them: true if it exists, and nobody has it open for writing, so
 * that no page of it is dirty. Done: it has been written, and is removed. */
void shm_notify_resume(struct shm *shm);
uint32_t shm_notify_pages(struct shm *shm, uint64_t *ret_ids);
bool shm_notify_drop(struct shm *shm, uint64_t node_id);
void shm_notify_dropped(struct shm *shm);

#endif
