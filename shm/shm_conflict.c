/* The ring of conflicts. */
#include "shm/shm_conflict.h"

#include <errno.h>
#include <string.h>

size_t shm_conflict_size(const struct shm_sizes *s)
{
    size_t slots = s->baselines ? SHM_CONFLICTS : 0;

    return sizeof(struct shm_conflict_ring) + slots * sizeof(struct shm_conflict);
}

void shm_conflict_add(struct shm *shm, const struct shm_conflict *c)
{
    struct shm_conflict_ring *r = shm->conflicts;
    struct shm_conflict *slot = &r->slot[r->count % SHM_CONFLICTS];

    if (!shm->header->sizes.baselines)
        return;
    shm_save(shm, shm->meta, slot, sizeof(*slot));
    *slot = *c;
    shm_set(shm, shm->meta, r->count, r->count + 1);
}

static int check_slot(const struct shm_conflict *c, unsigned i, struct err *err)
{
    if (!memchr(c->key, '\0', sizeof(c->key)) || !memchr(c->expected, '\0', sizeof(c->expected)) ||
        !memchr(c->found, '\0', sizeof(c->found)) ||
        !memchr(c->write_id, '\0', sizeof(c->write_id)))
        return err_set(err, EUCLEAN, "conflict %u: a text without end", i);
    return 0;
}

int shm_conflict_check(struct shm *shm, struct err *err)
{
    unsigned n = shm->header->sizes.baselines ? SHM_CONFLICTS : 0;
    int r = 0;

    shm_lock(shm, shm->meta);
    for (unsigned i = 0; i < n && r == 0; i++)
        r = check_slot(&shm->conflicts->slot[i], i, err);
    shm_unlock(shm, shm->meta);
    return r;
}
