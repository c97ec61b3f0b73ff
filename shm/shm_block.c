/* The pool of blocks: hash table, single flight, clock eviction. workers/read/fetch.c decides what
 * is fetched. */
#include "shm/shm_block.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

/* Rounds of the clock hand that an unused block survives: blocks that are read repeatedly outlive
 * those that are read once in a stream. */
#define USES_MAX 3

static uint32_t n_heads(const struct shm_sizes *s)
{
    uint32_t n = 16;

    while (n < s->blocks)
        n *= 2;
    return n;
}

static uint32_t *block_heads(struct shm *shm)
{
    return (uint32_t *)(shm->blocks + 1);
}

static struct shm_block *at(struct shm *shm, uint32_t idx)
{
    struct shm_block *first = (struct shm_block *)(block_heads(shm) + n_heads(&shm->header->sizes));

    assert(idx < shm->header->sizes.blocks);
    return first + idx;
}

static struct shm_block *block_edit(struct shm *shm, uint32_t idx)
{
    struct shm_block *b = at(shm, idx);

    shm_save(shm, &shm->blocks->lock, b, sizeof(*b));
    return b;
}

size_t shm_block_size(const struct shm_sizes *s)
{
    return sizeof(struct shm_block_table) + n_heads(s) * sizeof(uint32_t) +
           (size_t)s->blocks * sizeof(struct shm_block);
}

void shm_block_init(struct shm *shm)
{
    shm_mutex_init(&shm->blocks->lock, SHM_RANK_BLOCK);
}

uint8_t *shm_block_data(struct shm *shm, uint32_t idx)
{
    return shm->block_data + (size_t)idx * SHM_BLOCK_SIZE;
}

uint32_t shm_block_len(struct shm *shm, uint32_t idx)
{
    return at(shm, idx)->len;
}

static void lock(struct shm *shm) lock_takes(shm->blocks->lock)
{
    shm_lock(shm, &shm->blocks->lock);
}

static void unlock(struct shm *shm) lock_gives(shm->blocks->lock)
{
    shm_unlock(shm, &shm->blocks->lock);
}

#define set(shm, lvalue, value) shm_set((shm), &(shm)->blocks->lock, lvalue, value)

static bool same_key(struct shm_block_key a, struct shm_block_key b)
{
    return a.node == b.node && a.content == b.content && a.no == b.no;
}

static uint32_t *chain_of(struct shm *shm, struct shm_block_key key)
{
    uint8_t out[crypto_shorthash_BYTES];
    uint32_t h;

    static_assert(sizeof(key) == 12, "a key has no padding to hash");
    crypto_shorthash(out, (const uint8_t *)&key, sizeof(key), shm->header->hash_key);
    memcpy(&h, out, sizeof(h));
    return &block_heads(shm)[h & (n_heads(&shm->header->sizes) - 1)];
}

static uint32_t block_find(struct shm *shm, struct shm_block_key key)
{
    uint32_t i = *chain_of(shm, key);

    while (i && !same_key(at(shm, i - 1)->key, key))
        i = at(shm, i - 1)->hash_next;
    return i ? i - 1 : SHM_NIL;
}

static void link_in(struct shm *shm, uint32_t idx, struct shm_block_key key)
{
    struct shm_block *b = block_edit(shm, idx);
    uint32_t *head = chain_of(shm, key);

    b->key = key;
    b->hash_next = *head;
    set(shm, *head, idx + 1);
}

static void link_out(struct shm *shm, uint32_t idx)
{
    struct shm_block *b = block_edit(shm, idx);
    uint32_t *link = chain_of(shm, b->key);

    while (*link && *link != idx + 1)
        link = &at(shm, *link - 1)->hash_next;
    if (*link)
        set(shm, *link, b->hash_next);
}

/* Removes the block from its chain and marks it FREE. */
static void block_release(struct shm *shm, uint32_t idx)
{
    struct shm_block *b = block_edit(shm, idx);

    link_out(shm, idx);
    if (b->state == SHM_BLOCK_READY)
        set(shm, shm->blocks->ready, shm->blocks->ready - 1);
    else
        set(shm, shm->blocks->fetching, shm->blocks->fetching - 1);
    b->state = SHM_BLOCK_FREE;
    b->hash_next = 0;
    b->len = 0;
    b->waiters = 0;
    b->used = 0;
    b->ordered = b->ahead = 0;
}

enum shm_block_found shm_block_get(struct shm *shm, struct shm_block_key key, uint32_t worker,
                                   uint32_t *ret_idx)
{
    enum shm_block_found found = SHM_BLOCK_MISS;
    uint32_t idx;

    lock(shm);
    idx = block_find(shm, key);
    if (idx != SHM_NIL) {
        struct shm_block *b = block_edit(shm, idx);

        if (b->state == SHM_BLOCK_READY) {
            b->pins |= (uint16_t)(1u << worker);
            if (b->used < USES_MAX)
                b->used++;
            *ret_idx = idx;
            found = SHM_BLOCK_HIT;
        } else if (b->owner == worker && !b->ordered) {
            found = SHM_BLOCK_MINE;
        } else {
            b->waiters |= (uint16_t)(1u << worker);
            found = SHM_BLOCK_BUSY;
        }
    }
    unlock(shm);
    return found;
}

void shm_block_unpin(struct shm *shm, uint32_t idx, uint32_t worker)
{
    lock(shm);
    block_edit(shm, idx)->pins &= (uint16_t) ~(1u << worker);
    unlock(shm);
}

void shm_block_spent(struct shm *shm, uint32_t idx)
{
    at(shm, idx)->used = 0; /* without the lock: losing a mark does no harm */
}

bool shm_block_known(struct shm *shm, struct shm_block_key key)
{
    bool known;

    lock(shm);
    known = block_find(shm, key) != SHM_NIL;
    unlock(shm);
    return known;
}

static bool is_ready(struct shm *shm, uint32_t idx)
{
    return idx != SHM_NIL && at(shm, idx)->state == SHM_BLOCK_READY;
}

bool shm_block_is_ready(struct shm *shm, struct shm_block_key key)
{
    bool ready;

    lock(shm);
    ready = is_ready(shm, block_find(shm, key));
    unlock(shm);
    return ready;
}

/* A free block, or the first that the clock hand finds unpinned and not used in its last rounds.
 * `used` is decremented without saving: losing a count does no harm, and a whole round would not
 * fit into the undo log. */
static uint32_t take_victim(struct shm *shm)
{
    struct shm_block_table *t = shm->blocks;
    uint32_t n = shm->header->sizes.blocks;

    for (uint32_t i = 0; i < (USES_MAX + 1) * n; i++) {
        uint32_t idx = (t->hand + i) % n;
        struct shm_block *b = at(shm, idx);

        if (b->state == SHM_BLOCK_READY && b->used && !b->pins) {
            b->used--;
            continue;
        }
        if (b->state == SHM_BLOCK_FETCHING || b->pins)
            continue;
        if (b->state == SHM_BLOCK_READY) {
            set(shm, t->evictions, t->evictions + 1);
            block_release(shm, idx);
        }
        set(shm, t->hand, (idx + 1) % n);
        return idx;
    }
    return SHM_NIL;
}

/* A free or evicted block for `worker` to fetch into. SHM_NIL if there is none. */
static uint32_t take(struct shm *shm, uint32_t worker)
{
    uint32_t idx = take_victim(shm);

    if (idx != SHM_NIL) {
        *block_edit(shm, idx) =
            (struct shm_block){.state = SHM_BLOCK_FETCHING, .owner = (uint8_t)worker};
        set(shm, shm->blocks->fetching, shm->blocks->fetching + 1);
    }
    return idx;
}

static uint32_t begin(struct shm *shm, struct shm_block_key key, uint32_t worker, bool ordered)
{
    uint32_t idx = SHM_NIL;

    lock(shm);
    if (block_find(shm, key) == SHM_NIL)
        idx = take(shm, worker);
    if (idx != SHM_NIL) {
        link_in(shm, idx, key);
        block_edit(shm, idx)->ordered = block_edit(shm, idx)->ahead = ordered;
    }
    unlock(shm);
    return idx;
}

uint32_t shm_block_begin(struct shm *shm, struct shm_block_key key, uint32_t worker)
{
    return begin(shm, key, worker, false);
}

/* ---- orders ---- */

uint32_t shm_block_order(struct shm *shm, struct shm_block_key key, uint32_t worker)
{
    return begin(shm, key, worker, true);
}

uint32_t shm_block_take(struct shm *shm, struct shm_block_key key, uint32_t worker)
{
    uint32_t idx;

    lock(shm);
    idx = block_find(shm, key);
    if (idx != SHM_NIL && at(shm, idx)->state == SHM_BLOCK_FETCHING && at(shm, idx)->ordered) {
        struct shm_block *b = block_edit(shm, idx);

        b->owner = (uint8_t)worker;
        b->ordered = 0;
    } else {
        idx = SHM_NIL;
    }
    unlock(shm);
    return idx;
}

bool shm_order_post(struct shm *shm, uint32_t worker, const struct shm_order *order)
{
    struct shm_order_ring *ring = &shm->blocks->orders[worker];
    bool room;

    lock(shm);
    room = ring->tail - ring->head < SHM_ORDERS;
    if (room) {
        set(shm, ring->order[ring->tail % SHM_ORDERS], *order);
        set(shm, ring->tail, ring->tail + 1);
    }
    unlock(shm);
    return room;
}

bool shm_order_look(struct shm *shm, uint32_t worker, struct shm_order *ret)
{
    struct shm_order_ring *ring = &shm->blocks->orders[worker];
    bool any;

    lock(shm);
    any = ring->head != ring->tail;
    if (any)
        *ret = ring->order[ring->head % SHM_ORDERS];
    unlock(shm);
    return any;
}

void shm_order_drop(struct shm *shm, uint32_t worker)
{
    struct shm_order_ring *ring = &shm->blocks->orders[worker];

    lock(shm);
    if (ring->head != ring->tail)
        set(shm, ring->head, ring->head + 1);
    unlock(shm);
}

uint32_t shm_order_waiting(struct shm *shm, uint32_t worker)
{
    const struct shm_order_ring *ring = &shm->blocks->orders[worker];
    uint32_t head = ring->head, n = ring->tail - head, blocks = 0;

    for (uint32_t i = 0; i < n && i < SHM_ORDERS; i++)
        blocks += ring->order[(head + i) % SHM_ORDERS].n;
    return blocks;
}

/* ---- the end of a fetch ---- */

/* Returns the workers that wait, to be woken. */
static uint32_t make_ready(struct shm *shm, uint32_t idx, uint32_t len)
{
    struct shm_block *b = block_edit(shm, idx);
    uint32_t waiters = b->waiters;

    assert(b->state == SHM_BLOCK_FETCHING && len <= SHM_BLOCK_SIZE);
    b->state = SHM_BLOCK_READY;
    b->len = len;
    b->used = b->ahead ? USES_MAX : 1;
    b->waiters = 0;
    set(shm, shm->blocks->fetching, shm->blocks->fetching - 1);
    set(shm, shm->blocks->ready, shm->blocks->ready + 1);
    return waiters;
}

uint32_t shm_block_ready(struct shm *shm, uint32_t idx, uint32_t len)
{
    uint32_t waiters = 0;

    lock(shm);
    if (at(shm, idx)->key.node == SHM_NIL)
        block_release(shm, idx);
    else
        waiters = make_ready(shm, idx, len);
    unlock(shm);
    return waiters;
}

/* ---- putting ---- */

/* A key that no reader looks up. */
static struct shm_block_key nobodys(uint32_t idx)
{
    return (struct shm_block_key){.node = SHM_NIL, .no = idx};
}

static uint32_t begin_put(struct shm *shm, struct shm_block_key key, uint32_t worker)
{
    uint32_t idx = SHM_NIL;

    lock(shm);
    if (!is_ready(shm, block_find(shm, key)))
        idx = take(shm, worker);
    if (idx != SHM_NIL)
        link_in(shm, idx, nobodys(idx));
    unlock(shm);
    return idx;
}

/* Its key is needed for another block. Returns its waiters, who will find that one. */
static uint32_t set_aside(struct shm *shm, uint32_t idx)
{
    struct shm_block *b = block_edit(shm, idx);
    uint32_t waiters = b->waiters;

    if (b->ordered) { /* nobody has begun */
        block_release(shm, idx);
        return waiters;
    }
    link_out(shm, idx);
    link_in(shm, idx, nobodys(idx));
    b->waiters = 0;
    return waiters;
}

uint32_t shm_block_put(struct shm *shm, struct shm_block_key key, uint32_t worker,
                       const uint8_t *data, uint32_t len, uint32_t *ret_wake)
{
    uint32_t idx = begin_put(shm, key, worker), other;

    *ret_wake = 0;
    if (idx == SHM_NIL)
        return SHM_NIL;
    memcpy(shm_block_data(shm, idx), data, len);
    lock(shm);
    other = block_find(shm, key);
    if (is_ready(shm, other)) {
        block_release(shm, idx);
        idx = SHM_NIL;
    } else {
        if (other != SHM_NIL)
            *ret_wake = set_aside(shm, other);
        link_out(shm, idx);
        link_in(shm, idx, key);
        (void)make_ready(shm, idx, len);
    }
    unlock(shm);
    return idx;
}

uint32_t shm_block_fail(struct shm *shm, uint32_t idx)
{
    uint32_t waiters;

    lock(shm);
    assert(at(shm, idx)->state == SHM_BLOCK_FETCHING);
    waiters = at(shm, idx)->waiters;
    block_release(shm, idx);
    unlock(shm);
    return waiters;
}

void shm_block_drop(struct shm *shm, struct shm_block_key key)
{
    uint32_t idx;

    lock(shm);
    idx = block_find(shm, key);
    if (idx != SHM_NIL && at(shm, idx)->state == SHM_BLOCK_READY && !at(shm, idx)->pins) {
        block_release(shm, idx);
        set(shm, shm->blocks->hand, idx);
    }
    unlock(shm);
}

/* All workers are woken, not only those that wait for its fetches: it may have died between the end
 * of a fetch and waking them. */
uint32_t shm_block_worker_gone(struct shm *shm, uint32_t worker)
{
    uint16_t bit = (uint16_t)(1u << worker);

    for (uint32_t i = 0; i < shm->header->sizes.blocks; i++) {
        struct shm_block *b = at(shm, i);

        lock(shm);
        if ((b->pins | b->waiters) & bit) {
            b = block_edit(shm, i);
            b->pins &= (uint16_t)~bit;
            b->waiters &= (uint16_t)~bit;
        }
        if (b->state == SHM_BLOCK_FETCHING && b->owner == worker)
            block_release(shm, i);
        unlock(shm);
    }
    return ((UINT32_C(1) << shm->header->sizes.workers) - 1) & ~(uint32_t)bit;
}

static int check_block(struct shm *shm, uint32_t i, uint32_t count[3], struct err *err)
{
    const struct shm_block *b = at(shm, i);

    if (b->state > SHM_BLOCK_READY || (b->pins && b->state != SHM_BLOCK_READY) ||
        (b->waiters && b->state != SHM_BLOCK_FETCHING) ||
        (b->ordered && b->state != SHM_BLOCK_FETCHING))
        return err_set(err, EUCLEAN, "block %u: state %u, pins %x, waiters %x", i, b->state,
                       b->pins, b->waiters);
    count[b->state]++;
    if (b->len > SHM_BLOCK_SIZE)
        return err_set(err, EUCLEAN, "block %u: %u bytes", i, b->len);
    return 0;
}

/* Each chain holds blocks in use, of its own bucket, each once; together all that are in use. */
static int block_check_chains(struct shm *shm, uint32_t in_use, struct err *err)
{
    uint32_t n = 0;

    for (uint32_t h = 0; h < n_heads(&shm->header->sizes); h++) {
        uint32_t *head = &block_heads(shm)[h];

        for (uint32_t i = *head; i; i = at(shm, i - 1)->hash_next) {
            const struct shm_block *b = at(shm, i - 1);

            if (b->state == SHM_BLOCK_FREE || chain_of(shm, b->key) != head ||
                block_find(shm, b->key) != i - 1 || ++n > in_use)
                return err_set(err, EUCLEAN, "block %u: in a wrong chain", i - 1);
        }
    }
    if (n != in_use)
        return err_set(err, EUCLEAN, "%u blocks in use, %u in chains", in_use, n);
    return 0;
}

static int block_check_locked(struct shm *shm, struct err *err)
{
    uint32_t count[3] = {0};

    for (uint32_t i = 0; i < SHM_WORKERS_MAX; i++) {
        const struct shm_order_ring *ring = &shm->blocks->orders[i];

        if (ring->tail - ring->head > SHM_ORDERS)
            return err_set(err, EUCLEAN, "worker %u: %u orders", i, ring->tail - ring->head);
    }

    for (uint32_t i = 0; i < shm->header->sizes.blocks; i++) {
        int r = check_block(shm, i, count, err);

        if (r < 0)
            return r;
    }
    if (count[SHM_BLOCK_READY] != shm->blocks->ready ||
        count[SHM_BLOCK_FETCHING] != shm->blocks->fetching)
        return err_set(err, EUCLEAN, "%u blocks ready, %u fetching, counted %u, %u",
                       shm->blocks->ready, shm->blocks->fetching, count[SHM_BLOCK_READY],
                       count[SHM_BLOCK_FETCHING]);
    return block_check_chains(shm, shm->blocks->ready + shm->blocks->fetching, err);
}

int shm_block_check(struct shm *shm, struct err *err)
{
    int r;

    lock(shm);
    r = block_check_locked(shm, err);
    unlock(shm);
    return r;
}
