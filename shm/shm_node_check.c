/* Checks every invariant of the node table that shm_node.h names. */
#include "shm/shm_node.h"

#include <errno.h>

struct tally {
    uint32_t live, evictable, children, names[SHM_NAME_POOLS];
    uint64_t lookups;
};

/* Its name is in a pool: the entry is its own. */
static bool has_long_name(struct shm *shm, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);
    enum shm_name_pool_no no = shm_name_pool_of(n->name_len);

    return n->long_name < shm->nodes->names[no].fresh &&
           shm_long_name_at(shm, no, n->long_name)->link == idx;
}

static int check_name(struct shm *shm, uint32_t idx, struct err *err)
{
    const struct shm_node *n = shm_node_at(shm, idx);
    bool is_long = n->name_len > SHM_NAME_INLINE;

    if (n->name_len == 0 || n->name_len > SHM_NAME_MAX)
        return err_set(err, EUCLEAN, "node %u: name of %u bytes", idx, n->name_len);
    if (is_long ? !has_long_name(shm, idx) : n->long_name != SHM_NIL)
        return err_set(err, EUCLEAN, "node %u: long name %u is not its own", idx, n->long_name);
    if ((n->flags & SHM_NODE_CURRENT) &&
        shm_node_find(shm, n->parent, shm_node_name(shm, idx), n->name_len) != idx)
        return err_set(err, EUCLEAN, "node %u: its name maps elsewhere", idx);
    return 0;
}

static int check_node(struct shm *shm, uint32_t idx, struct tally *t, struct err *err)
{
    const struct shm_node *n = shm_node_at(shm, idx);
    bool pinned = n->nlookup || n->children || n->opens || n->busy || n->session != SHM_NIL ||
                  idx == SHM_ROOT;
    bool listed = n->lru_prev || n->lru_next || shm->nodes->lru_first == idx + 1;

    if (n->state == SHM_NODE_FREE)
        return 0;
    if (n->state != SHM_NODE_LIVE)
        return err_set(err, EUCLEAN, "node %u: state %u", idx, n->state);
    t->live++;
    t->lookups += n->nlookup;
    t->children += n->children;
    t->evictable += listed;
    t->names[shm_name_pool_of(n->name_len)] += n->long_name != SHM_NIL;
    if (pinned == listed)
        return err_set(err, EUCLEAN, "node %u: pinned %d, evictable %d", idx, pinned, listed);
    if (idx == SHM_ROOT)
        return 0;
    if (n->parent >= shm->header->sizes.nodes ||
        shm_node_at(shm, n->parent)->state != SHM_NODE_LIVE ||
        !(shm_node_at(shm, n->parent)->flags & SHM_NODE_DIR))
        return err_set(err, EUCLEAN, "node %u: parent %u is no live directory", idx, n->parent);
    return check_name(shm, idx, err);
}

static int check_children(struct shm *shm, struct err *err)
{
    for (uint32_t i = 0; i < shm->nodes->fresh_node; i++) {
        const struct shm_node *n = shm_node_at(shm, i);
        uint32_t found = 0, entries = 0;

        if (n->state != SHM_NODE_LIVE)
            continue;
        for (uint32_t k = 0; k < shm->nodes->fresh_node; k++) {
            const struct shm_node *child = shm_node_at(shm, k);

            if (child->state != SHM_NODE_LIVE || child->parent != i)
                continue;
            found++;
            entries += (child->flags & SHM_NODE_CURRENT) != 0;
        }
        if (found != n->children)
            return err_set(err, EUCLEAN, "node %u: %u children, counted %u", i, n->children, found);
        if ((n->flags & SHM_NODE_DIR) && entries != n->entries)
            return err_set(err, EUCLEAN, "node %u: %u entries, counted %u", i, n->entries, entries);
    }
    return 0;
}

static int check_lru(struct shm *shm, uint32_t expected, struct err *err)
{
    uint32_t n = 0, prev = 0;

    for (uint32_t at = shm->nodes->lru_first; at;
         prev = at, at = shm_node_at(shm, at - 1)->lru_next) {
        if (shm_node_at(shm, at - 1)->lru_prev != prev || ++n > expected)
            return err_set(err, EUCLEAN, "evictable list broken at %u", at - 1);
    }
    if (n != expected || shm->nodes->lru_last != prev || shm->nodes->evictable != n)
        return err_set(err, EUCLEAN, "evictable list has %u nodes, expected %u", n, expected);
    return 0;
}

/* Before names are looked up: a circular chain would make that endless. */
static int node_check_chains(struct shm *shm, struct err *err)
{
    const uint32_t *heads = (const uint32_t *)(shm->nodes + 1);
    uint32_t in_chains = 0, current = 0;

    for (uint32_t i = 0; i < shm->nodes->fresh_node; i++)
        current += shm_node_at(shm, i)->state == SHM_NODE_LIVE &&
                   (shm_node_at(shm, i)->flags & SHM_NODE_CURRENT);
    for (uint32_t h = 0; h < shm->header->sizes.nodes; h++) {
        for (uint32_t at = heads[h]; at; at = shm_node_at(shm, at - 1)->hash_next) {
            const struct shm_node *n = shm_node_at(shm, at - 1);

            if (n->state != SHM_NODE_LIVE || !(n->flags & SHM_NODE_CURRENT) ||
                ++in_chains > current)
                return err_set(err, EUCLEAN, "chain %u broken at node %u", h, at - 1);
        }
    }
    if (in_chains != current)
        return err_set(err, EUCLEAN, "%u current nodes, %u in chains", current, in_chains);
    return 0;
}

/* Everything that is not in use is in the free chain. */
static int node_check_free(struct shm *shm, const struct tally *t, struct err *err)
{
    uint32_t nodes = t->live, at;

    for (at = shm->nodes->free_node; at && nodes <= shm->nodes->fresh_node;
         at = shm_node_at(shm, at - 1)->hash_next) {
        if (shm_node_at(shm, at - 1)->state != SHM_NODE_FREE)
            return err_set(err, EUCLEAN, "node %u: live and free", at - 1);
        nodes++;
    }
    if (nodes != shm->nodes->fresh_node)
        return err_set(err, EUCLEAN, "%u of %u nodes in use or free", nodes,
                       shm->nodes->fresh_node);
    return 0;
}

static int check_free_names(struct shm *shm, enum shm_name_pool_no no, uint32_t used,
                            struct err *err)
{
    const struct shm_name_pool *pool = &shm->nodes->names[no];

    for (uint32_t at = pool->free; at && used <= pool->fresh;
         at = shm_long_name_at(shm, no, at - 1)->link)
        used++;
    if (used != pool->fresh)
        return err_set(err, EUCLEAN, "pool %d: %u of %u long names in use or free", (int)no, used,
                       pool->fresh);
    return 0;
}

/* Each node but the root is in the chain of its number. */
static int check_inos(struct shm *shm, uint32_t live, struct err *err)
{
    uint32_t nodes = shm->header->sizes.nodes, found = 0;
    const uint32_t *heads = shm_node_ino_heads(shm);

    for (uint32_t h = 0; h < nodes; h++) {
        for (uint32_t at = heads[h]; at; at = shm_node_at(shm, at - 1)->ino_next) {
            const struct shm_node *n = shm_node_at(shm, at - 1);

            if (n->state != SHM_NODE_LIVE || ((n->ino >> 2) & (nodes - 1)) != h || ++found >= live)
                return err_set(err, EUCLEAN, "chain of numbers %u broken at node %u", h, at - 1);
        }
    }
    if (found != live - 1)
        return err_set(err, EUCLEAN, "%u nodes, %u in chains of numbers", live, found);
    return 0;
}

static int check_tally(struct shm *shm, const struct tally *t, struct err *err)
{
    if (t->live != shm->nodes->live || t->lookups != shm->nodes->lookups ||
        t->children != t->live - 1)
        return err_set(err, EUCLEAN,
                       "%u nodes live, counted %u, %u of them children; lookups "
                       "%llu, counted %llu",
                       shm->nodes->live, t->live, t->children,
                       (unsigned long long)shm->nodes->lookups, (unsigned long long)t->lookups);
    return 0;
}

static int node_check_locked(struct shm *shm, struct err *err)
{
    struct tally t = {0};
    int r = node_check_chains(shm, err);

    for (uint32_t i = 0; r == 0 && i < shm->nodes->fresh_node; i++)
        r = check_node(shm, i, &t, err);
    if (r == 0)
        r = check_tally(shm, &t, err);
    if (r == 0)
        r = check_inos(shm, t.live, err);
    if (r == 0)
        r = check_lru(shm, t.evictable, err);
    if (r == 0)
        r = node_check_free(shm, &t, err);
    for (unsigned i = 0; r == 0 && i < SHM_NAME_POOLS; i++)
        r = check_free_names(shm, i, t.names[i], err);
    /* Quadratic, so only if the table is small enough not to stall the mount. */
    if (r == 0 && shm->nodes->fresh_node <= 4096)
        r = check_children(shm, err);
    return r;
}

int shm_node_check(struct shm *shm, struct err *err)
{
    int r;

    shm_lock(shm, shm->meta);
    r = node_check_locked(shm, err);
    shm_unlock(shm, shm->meta);
    return r;
}
