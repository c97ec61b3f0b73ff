/* Arenas and records: where they are and what must hold of them. Their life is in workers/channel.c and op.c. */
#include "shm/shm_journal.h"

#include <assert.h>
#include <errno.h>

static_assert(sizeof(struct shm_record) == 1024, "a record is 1 KiB");

/* One arena: a page whose end is the request head, the payload, struct shm_arena, the records. */
static size_t arena_stride(const struct shm_sizes *s)
{
    size_t n = SHM_PAGE + s->payload + sizeof(struct shm_arena) +
               (size_t)s->records * sizeof(struct shm_record);

    return (n + SHM_PAGE - 1) & ~(size_t)(SHM_PAGE - 1);
}

static uint8_t *arena_base(struct shm *shm, uint32_t worker)
{
    assert(worker < shm->header->sizes.workers);
    return (uint8_t *)shm->arenas + worker * arena_stride(&shm->header->sizes);
}

size_t shm_arena_size(const struct shm_sizes *s)
{
    return (size_t)s->workers * arena_stride(s);
}

uint8_t *shm_arena_read_area(struct shm *shm, uint32_t worker)
{
    return arena_base(shm, worker) + SHM_PAGE - SHM_READ_HEAD;
}

void *shm_arena_span(struct shm *shm, uint32_t worker, size_t *ret_len)
{
    *ret_len = arena_stride(&shm->header->sizes);
    return arena_base(shm, worker);
}

struct shm_arena *shm_arena_of(struct shm *shm, uint32_t worker)
{
    return (struct shm_arena *)(arena_base(shm, worker) + SHM_PAGE +
                                shm->header->sizes.payload);
}

struct shm_record *shm_arena_record(struct shm *shm, uint32_t worker, uint32_t i)
{
    assert(i < shm->header->sizes.records);
    return (struct shm_record *)(shm_arena_of(shm, worker) + 1) + i;
}

void shm_arena_init(struct shm *shm)
{
    (void)shm; /* all FREE is all zero */
}

int shm_arena_check(struct shm *shm, struct err *err)
{
    for (uint32_t w = 0; w < shm->header->sizes.workers; w++) {
        if (shm_arena_of(shm, w)->counted_n > SHM_COUNTED_MAX)
            return err_set(err, EUCLEAN, "arena %u: %u counted nodes", w,
                           shm_arena_of(shm, w)->counted_n);
        for (uint32_t i = 0; i < shm->header->sizes.records; i++) {
            struct shm_record *r = shm_arena_record(shm, w, i);

            if (r->state > SHM_RECORD_APPLIED ||
                r->request_len > SHM_RECORD_REQUEST)
                return err_set(err, EUCLEAN, "arena %u, record %u: state %u", w,
                               i, r->state);
        }
    }
    return 0;
}
