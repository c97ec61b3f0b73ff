/* The writes that were accepted: a short ring. */
#include "shm/shm_win.h"

#include <string.h>

size_t shm_win_size(const struct shm_sizes *s)
{
    (void)s;
    return sizeof(struct shm_win_table);
}

/* (A write of what is there already may succeed any number of times.) */
bool shm_win_add(struct shm *shm, const char *key, const char *from, const char *to,
                 uint64_t sent_ns, uint64_t now_ns)
{
    struct shm_win_table *t = shm->wins;
    struct shm_win *slot = &t->slot[t->count % SHM_WINS];
    uint64_t h = shm_hash_text(shm, key);
    bool alone = true;

    if (strcmp(from, to) == 0)
        return true;
    for (unsigned i = 0; i < SHM_WINS; i++) {
        const struct shm_win *w = &t->slot[i];

        if (w->key == h && w->at_ns > sent_ns && strcmp(w->from, from) == 0)
            alone = false;
    }
    shm_save(shm, shm->meta, slot, sizeof(*slot));
    *slot = (struct shm_win){.key = h, .at_ns = now_ns};
    shm_etag_copy(slot->from, from);
    shm_set(shm, shm->meta, t->count, t->count + 1);
    return alone;
}

void shm_win_forget(struct shm *shm, const char *key)
{
    uint64_t h = shm_hash_text(shm, key);

    for (unsigned i = 0; i < SHM_WINS; i++) {
        if (shm->wins->slot[i].key == h)
            shm_set(shm, shm->meta, shm->wins->slot[i].key, 0);
    }
}
