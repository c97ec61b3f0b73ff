/* The check of the node table: every invariant that shm_node.h names. */
#include "shm/shm_node.h"

#include <errno.h>

struct tally {
    uint32_t live, evictable;
    uint64_t lookups;
};

static int check_node(struct shm *shm, uint32_t idx, struct tally *t,
                      struct err *err)
{
    struct shm_node *n = shm_node_at(shm, idx);
    bool pinned = n->nlookup || n->children || n->opens || n->busy ||
                  n->session != SHM_NIL || idx == SHM_ROOT;
    bool listed = n->lru_prev || n->lru_next || shm->nodes->lru_first == idx + 1;

    if (n->state == SHM_NODE_FREE)
        return 0;
    t->live++;
    t->lookups += n->nlookup;
    t->evictable += listed;
    if (pinned == listed)
        return err_set(err, EUCLEAN, "node %u: pinned %d, evictable %d", idx,
                       pinned, listed);
    if (idx == SHM_ROOT)
        return 0;
    if (n->parent >= shm->header->sizes.nodes ||
        shm_node_at(shm, n->parent)->state != SHM_NODE_LIVE)
        return err_set(err, EUCLEAN, "node %u: dead parent %u", idx, n->parent);
    if (n->name_len == 0 || n->name_len > SHM_NAME_MAX)
        return err_set(err, EUCLEAN, "node %u: name of %u bytes", idx,
                       n->name_len);
    if ((n->flags & SHM_NODE_CURRENT) &&
        shm_node_find(shm, n->parent, shm_node_name(shm, idx), n->name_len) != idx)
        return err_set(err, EUCLEAN, "node %u: its name maps elsewhere", idx);
    return 0;
}

static int check_children(struct shm *shm, struct err *err)
{
    for (uint32_t i = 0; i < shm->nodes->fresh_node; i++) {
        struct shm_node *n = shm_node_at(shm, i);
        uint32_t found = 0;

        if (n->state != SHM_NODE_LIVE || !(n->flags & SHM_NODE_DIR))
            continue;
        for (uint32_t k = 0; k < shm->nodes->fresh_node; k++)
            found += shm_node_at(shm, k)->state == SHM_NODE_LIVE &&
                     shm_node_at(shm, k)->parent == i;
        if (found != n->children)
            return err_set(err, EUCLEAN, "node %u: %u children, counted %u", i,
                           n->children, found);
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
    if (n != expected || shm->nodes->lru_last != prev ||
        shm->nodes->evictable != n)
        return err_set(err, EUCLEAN, "evictable list has %u nodes, expected %u",
                       n, expected);
    return 0;
}

static int check_locked(struct shm *shm, struct err *err)
{
    struct tally t = {0};
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < shm->nodes->fresh_node; i++)
        r = check_node(shm, i, &t, err);
    if (r == 0)
        r = check_lru(shm, t.evictable, err);
    /* Quadratic, so only where the table is small enough not to stop the mount. */
    if (r == 0 && shm->nodes->fresh_node <= 4096)
        r = check_children(shm, err);
    if (r == 0 && (t.live != shm->nodes->live || t.lookups != shm->nodes->lookups))
        r = err_set(err, EUCLEAN, "%u nodes live, counted %u; lookups %llu, %llu",
                    shm->nodes->live, t.live,
                    (unsigned long long)shm->nodes->lookups,
                    (unsigned long long)t.lookups);
    return r;
}

int shm_node_check(struct shm *shm, struct err *err)
{
    int r;

    shm_lock(shm, shm->meta);
    r = check_locked(shm, err);
    shm_unlock(shm, shm->meta);
    return r;
}
