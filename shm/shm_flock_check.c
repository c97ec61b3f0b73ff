/* Checks the invariants of the table of file locks. It trusts no index that it finds. */
#include <errno.h>

#include "shm/shm_flock.h"
#include "shm/shm_handle.h"

static bool overlap(const struct shm_flock *a, const struct shm_flock *b)
{
    uint64_t gap = a->type == b->type; /* two of one type must not even touch */

    return a->start <= b->end + gap && b->start <= a->end + gap;
}

static int check_lock(struct shm *shm, const struct shm_flock_file *f,
                      const struct shm_flock_slot *s, struct err *err)
{
    const struct shm_flock_table *t = shm->flocks;
    const struct shm_flock *l = &s->lock;

    if (l->type >= SHM_FLOCK_NONE || l->whole > 1 || l->start > l->end || l->end > SHM_FLOCK_END)
        return err_set(err, EUCLEAN, "node %u: a lock makes no sense", f->node);
    if (l->handle >= shm->header->sizes.handles ||
        shm_handle_at(shm, l->handle)->kind != SHM_HANDLE_FILE ||
        shm_handle_at(shm, l->handle)->node != f->node)
        return err_set(err, EUCLEAN, "node %u: lock of handle %u, which is not open on it", f->node,
                       l->handle);
    for (uint32_t at = s->next; at; at = t->cell[at - 1].slot.next) {
        const struct shm_flock *o = &t->cell[at - 1].slot.lock;

        if (o->whole == l->whole && o->owner == l->owner && overlap(l, o))
            return err_set(err, EUCLEAN, "node %u: locks of owner %llx overlap", f->node,
                           (unsigned long long)l->owner);
    }
    return 0;
}

static int check_chain(struct shm *shm, const struct shm_flock_file *f, uint32_t *locks,
                       struct err *err)
{
    const struct shm_flock_table *t = shm->flocks;
    int r = 0;

    for (uint32_t at = f->first; at; at = t->cell[at - 1].slot.next) {
        if (at > t->fresh_lock || ++*locks > t->live)
            return err_set(err, EUCLEAN, "node %u: chain of locks broken", f->node);
    }
    for (uint32_t at = f->first; at && r == 0; at = t->cell[at - 1].slot.next)
        r = check_lock(shm, f, &t->cell[at - 1].slot, err);
    return r;
}

/* Walks a chain by node, or by key. 0, or -EUCLEAN if it leads outside the table or is circular. */
static int walk(const struct shm_flock_table *t, uint32_t first, bool by_key, uint32_t *files)
{
    for (uint32_t at = first; at;) {
        if (at > t->fresh_file || ++*files > t->fresh_file)
            return -EUCLEAN;
        at = by_key ? t->cell[at - 1].file.next_by_key : t->cell[at - 1].file.next_by_node;
    }
    return 0;
}

static bool is_chained_by_key(const struct shm_flock_table *t, uint32_t link)
{
    uint32_t at = t->by_key[shm_flock_key_bucket(t->cell[link - 1].file.ino)];

    while (at && at != link)
        at = t->cell[at - 1].file.next_by_key;
    return at;
}

/* The chains have been walked. */
static int check_files(struct shm *shm, uint32_t bucket, uint32_t *locks, struct err *err)
{
    const struct shm_flock_table *t = shm->flocks;

    for (uint32_t at = t->by_node[bucket]; at; at = t->cell[at - 1].file.next_by_node) {
        const struct shm_flock_file *f = &t->cell[at - 1].file;
        int r;

        if (f->node >= shm->header->sizes.nodes || f->node % SHM_FLOCK_BUCKETS != bucket ||
            !f->first || !is_chained_by_key(t, at))
            return err_set(err, EUCLEAN, "locks of node %u: not where they belong", f->node);
        r = check_chain(shm, f, locks, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_buckets(struct shm *shm, struct err *err)
{
    const struct shm_flock_table *t = shm->flocks;
    uint32_t by_node = 0, by_key = 0, locks = 0;

    for (uint32_t b = 0; b < SHM_FLOCK_BUCKETS; b++) {
        if (walk(t, t->by_node[b], false, &by_node) < 0 || walk(t, t->by_key[b], true, &by_key) < 0)
            return err_set(err, EUCLEAN, "chain of bucket %u broken", b);
    }
    for (uint32_t b = 0; b < SHM_FLOCK_BUCKETS; b++) {
        int r = check_files(shm, b, &locks, err);

        if (r < 0)
            return r;
    }
    if (locks != t->live || by_key != by_node)
        return err_set(err, EUCLEAN, "%u locks, counted %u; %u files, by key %u", t->live, locks,
                       by_node, by_key);
    if (walk(t, t->free_file, false, &by_node) < 0 || by_node != t->fresh_file)
        return err_set(err, EUCLEAN, "%u files in use or free, of %u", by_node, t->fresh_file);
    return 0;
}

static int flock_check_free(const struct shm_flock_table *t, struct err *err)
{
    uint32_t n = t->live;

    for (uint32_t at = t->free_lock; at; at = t->cell[at - 1].slot.next) {
        if (at > t->fresh_lock || ++n > t->fresh_lock)
            return err_set(err, EUCLEAN, "chain of free locks broken at %u", at);
    }
    if (n != t->fresh_lock)
        return err_set(err, EUCLEAN, "%u locks in use or free, of %u", n, t->fresh_lock);
    return 0;
}

int shm_flock_check(struct shm *shm, struct err *err)
{
    const struct shm_flock_table *t = shm->flocks;
    int r = 0;

    shm_lock(shm, shm->meta);
    if (t->fresh_lock > shm->header->sizes.handles || t->fresh_file > shm->header->sizes.handles)
        r = err_set(err, EUCLEAN, "more locks than there is room for");
    if (r == 0)
        r = check_buckets(shm, err);
    if (r == 0)
        r = flock_check_free(t, err);
    shm_unlock(shm, shm->meta);
    return r;
}
