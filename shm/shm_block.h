/* Blocks of object data, and pages of directory listings, shared by all workers.
 *
 * A block has a key. It is fetched once, however many readers want it (FETCHING has one owner); it
 * is pinned, with a bit for each worker, while its bytes are copied to the kernel; a clock evicts
 * it when it is unpinned. All functions take shm->blocks->lock themselves. */
#ifndef SHM_SHM_BLOCK_H
#define SHM_SHM_BLOCK_H

#include "shm/shm_segment.h"

enum shm_block_state { SHM_BLOCK_FREE, SHM_BLOCK_FETCHING, SHM_BLOCK_READY };

/* For the bytes of a node: (node index, struct shm_node.content, offset / SHM_BLOCK_SIZE); for a
 * listing see workers/names/list.h. */
struct shm_block_key {
    uint32_t node;
    uint32_t content;
    uint32_t no;
};

/* Writer: any worker, under the table's lock. Only the owner writes the bytes, while FETCHING,
 * without the lock; they are constant while READY. If the owner of the lock dies: rolled back. If
 * the owner of a FETCHING block dies: its replacement calls shm_block_worker_gone(). States: FREE
 * -> FETCHING -> READY -> FREE; FETCHING -> FREE if the fetch failed, or if another worker put the
 * bytes meanwhile (then the block has no key: node is SHM_NIL). */
struct shm_block {
    uint32_t state;
    uint32_t hash_next; /* index + 1 */
    struct shm_block_key key;
    uint32_t len;     /* valid bytes, READY */
    uint16_t pins;    /* a bit for each worker that is copying from this block */
    uint16_t waiters; /* a bit for each worker to wake when the fetch ends */
    uint8_t owner;    /* of FETCHING */
    uint8_t used;     /* clock: uses since the hand passed, up to a maximum */
    uint8_t ordered;  /* FETCHING: another worker is asked to fetch it, and has not begun */
    uint8_t ahead;    /* fetched before anybody needed it: kept until it has been read */
};

/* Blocks [first.no, first.no + n) of a file that a worker is asked to fetch for another
 * (workers/read/ahead.c). */
struct shm_order {
    uint32_t of; /* the node being read; its blocks carry first.node */
    struct shm_block_key first;
    uint32_t n;
};

#define SHM_ORDERS 64u /* that can wait for one worker */

/* The orders that wait for one worker. Writers: any worker appends, the worker itself removes,
 * under the table's lock. An order is posted after its blocks were marked, and removed after they
 * were taken: so whoever of the two dies, either its replacement does the rest, or the blocks are
 * FREE again. */
struct shm_order_ring {
    uint32_t head, tail; /* numbers of the next to remove and to append; they wrap */
    struct shm_order order[SHM_ORDERS];
};

/* Followed in memory by the hash heads (index + 1) and the blocks. */
struct shm_block_table {
    struct shm_mutex lock; /* rank BLOCK */
    uint32_t hand;
    uint32_t ready, fetching;
    uint32_t unused;
    uint64_t evictions;
    struct shm_order_ring orders[SHM_WORKERS_MAX];
};

size_t shm_block_size(const struct shm_sizes *sizes);
void shm_block_init(struct shm *shm);
must_use int shm_block_check(struct shm *shm, struct err *err);

/* The bytes of a block: SHM_BLOCK_SIZE of them. */
uint8_t *shm_block_data(struct shm *shm, uint32_t idx);

/* Valid bytes of a block that the caller has pinned. */
uint32_t shm_block_len(struct shm *shm, uint32_t idx);

enum shm_block_found {
    SHM_BLOCK_HIT,  /* pinned for `worker`: *ret_idx; call shm_block_unpin() when done */
    SHM_BLOCK_BUSY, /* another fetch is under way, or ordered: `worker` will be woken */
    SHM_BLOCK_MINE, /* `worker` itself is fetching it */
    SHM_BLOCK_MISS,
};

/* Looks up and pins, or registers as a waiter. */
enum shm_block_found shm_block_get(struct shm *shm, struct shm_block_key key, uint32_t worker,
                                   uint32_t *ret_idx);
void shm_block_unpin(struct shm *shm, uint32_t idx, uint32_t worker);

/* A sequential reader has finished with a block that it has pinned: it is evicted before blocks
 * that are still to be read. */
void shm_block_spent(struct shm *shm, uint32_t idx);

/* True if the block is present or being fetched: read-ahead need not request it. */
bool shm_block_known(struct shm *shm, struct shm_block_key key);

/* True if the block is present. False if it is being fetched: that worker may die, and the version
 * may be gone when it is requested again. */
bool shm_block_is_ready(struct shm *shm, struct shm_block_key key);

/* A FETCHING block owned by `worker`; evicts if necessary. Its index, or SHM_NIL: the key is known
 * already (shm_block_known), or every block is pinned or being fetched. */
uint32_t shm_block_begin(struct shm *shm, struct shm_block_key key, uint32_t worker);

/* The same, for another worker to fetch: until that one takes the block it belongs to `worker`,
 * whose death frees it. */
uint32_t shm_block_order(struct shm *shm, struct shm_block_key key, uint32_t worker);

/* `worker` fetches this block, if it is ordered and not taken yet. Its index, or SHM_NIL. */
uint32_t shm_block_take(struct shm *shm, struct shm_block_key key, uint32_t worker);

/* Appends to the orders of `worker`. False if too many wait. */
must_use bool shm_order_post(struct shm *shm, uint32_t worker, const struct shm_order *order);
/* The oldest order of `worker`, which remains: false if there is none. */
must_use bool shm_order_look(struct shm *shm, uint32_t worker, struct shm_order *ret);
/* Removes it. */
void shm_order_drop(struct shm *shm, uint32_t worker);
/* How many blocks wait for `worker`; without the lock, a hint. */
uint32_t shm_order_waiting(struct shm *shm, uint32_t worker);

/* Ends a fetch of `worker`: READY with len bytes, or FREE (fail). Returns the mask of workers to
 * wake. */
uint32_t shm_block_ready(struct shm *shm, uint32_t idx, uint32_t len);
uint32_t shm_block_fail(struct shm *shm, uint32_t idx);

/* Stores the bytes of a block that were obtained without a fetch of it: READY when this returns,
 * even if another worker is fetching it (that fetch continues, but its result is dropped). The
 * block is not visible before; if a worker dies in here, the table is as before. `worker`: the
 * caller; `len` up to SHM_BLOCK_SIZE; *ret_wake: the mask of workers to wake. The block's index;
 * SHM_NIL, and nothing changed: it is READY already, or every block is pinned or being fetched. */
uint32_t shm_block_put(struct shm *shm, struct shm_block_key key, uint32_t worker,
                       const uint8_t *data, uint32_t len, uint32_t *ret_wake);

/* Drops a block that is no longer needed, if it is READY and unpinned. It is the next one to be
 * reused, so that a stream through the pool stays in little memory. */
void shm_block_drop(struct shm *shm, struct shm_block_key key);

/* A worker died: its fetches have failed, its pins are released. Returns the mask of workers to
 * wake: all others. */
uint32_t shm_block_worker_gone(struct shm *shm, uint32_t worker);

#endif
