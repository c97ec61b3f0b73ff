/* The table of uploads that are to be aborted. */
#include "shm/shm_abort.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

size_t shm_abort_size(const struct shm_sizes *s)
{
    (void)s;
    return sizeof(struct shm_abort_table);
}

int shm_abort_check(struct shm *shm, struct err *err)
{
    for (unsigned i = 0; i < SHM_ABORTS; i++) {
        const struct shm_abort *a = &shm->aborts->slot[i];
        uint32_t owner = shm->aborts->owner[i];

        if (owner && (owner > shm->header->sizes.workers || !memchr(a->key, '\0', sizeof(a->key)) ||
                      !memchr(a->id, '\0', sizeof(a->id))))
            return err_set(err, EUCLEAN, "abort %u: of worker %u, or a broken name", i, owner);
    }
    return 0;
}

uint32_t shm_abort_note(struct shm *shm, uint32_t owner, const char *key, const char *id)
{
    for (uint32_t i = 0; i < SHM_ABORTS; i++) {
        struct shm_abort *a = &shm->aborts->slot[i];

        if (shm->aborts->owner[i])
            continue;
        shm_set(shm, shm->meta, shm->aborts->owner[i], owner + 1);
        shm_save(shm, shm->meta, a, sizeof(*a));
        *a = (struct shm_abort){0};
        memcpy(a->key, key, strnlen(key, sizeof(a->key) - 1));
        memcpy(a->id, id, strnlen(id, sizeof(a->id) - 1));
        return i + 1;
    }
    return 0;
}

void shm_abort_done(struct shm *shm, uint32_t note)
{
    assert(note <= SHM_ABORTS);
    if (note)
        shm_set(shm, shm->meta, shm->aborts->owner[note - 1], 0);
}

uint32_t shm_abort_next(struct shm *shm, uint32_t owner, uint32_t note)
{
    while (note < SHM_ABORTS) {
        if (shm->aborts->owner[note++] == owner + 1)
            return note;
    }
    return 0;
}

const struct shm_abort *shm_abort_at(struct shm *shm, uint32_t note)
{
    assert(note && note <= SHM_ABORTS);
    return &shm->aborts->slot[note - 1];
}
