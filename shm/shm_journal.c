/* Arenas and records: their place in the segment, and their invariants. workers/process/channel.c
 * and op.c change their states. */
#include "shm/shm_journal.h"

#include <assert.h>
#include <errno.h>

static_assert(sizeof(struct shm_record) == 1152, "records are aligned to cache lines");

static size_t whole_pages(const struct shm_sizes *s, size_t n)
{
    return (n + s->page - 1) & ~(size_t)(s->page - 1);
}

/* A page with the request head at its end, the payload, struct shm_arena, the records. */
size_t shm_arena_filled(const struct shm_sizes *s)
{
    size_t n = s->page + s->payload + sizeof(struct shm_arena) +
               (size_t)s->records * sizeof(struct shm_record);

    return whole_pages(s, n);
}

/* One arena: that, and the long requests. */
static size_t arena_stride(const struct shm_sizes *s)
{
    return shm_arena_filled(s) + whole_pages(s, (size_t)s->records * SHM_REQUEST_MAX);
}

static uint8_t *arena_base(struct shm *shm, uint32_t worker)
{
    assert(worker < shm->header->sizes.workers);
    return (uint8_t *)shm->arenas + worker * arena_stride(&shm->header->sizes);
}

const char *shm_http_op_name(uint32_t opcode, const char *other)
{
    switch (opcode) {
    case SHM_OP_HTTP_PUT:
        return "HTTP-PUT";
    case SHM_OP_HTTP_DELETE:
        return "HTTP-DELETE";
    case SHM_OP_HTTP_META:
        return "HTTP-META";
    default:
        return other;
    }
}

size_t shm_arena_size(const struct shm_sizes *s)
{
    return (size_t)s->workers * arena_stride(s);
}

uint8_t *shm_arena_read_area(struct shm *shm, uint32_t worker)
{
    return arena_base(shm, worker) + shm->header->sizes.page - SHM_READ_HEAD;
}

void *shm_arena_span(struct shm *shm, uint32_t worker, size_t *ret_len)
{
    *ret_len = shm_arena_filled(&shm->header->sizes);
    return arena_base(shm, worker);
}

struct shm_arena *shm_arena_of(struct shm *shm, uint32_t worker)
{
    const struct shm_sizes *s = &shm->header->sizes;

    return (struct shm_arena *)(arena_base(shm, worker) + s->page + s->payload);
}

struct shm_record *shm_arena_record(struct shm *shm, uint32_t worker, uint32_t i)
{
    assert(i < shm->header->sizes.records);
    return (struct shm_record *)(shm_arena_of(shm, worker) + 1) + i;
}

uint8_t *shm_arena_beside(struct shm *shm, uint32_t worker, uint32_t i)
{
    return arena_base(shm, worker) + shm_arena_filled(&shm->header->sizes) +
           (size_t)i * SHM_REQUEST_MAX;
}

uint8_t *shm_arena_request(struct shm *shm, uint32_t worker, uint32_t i, size_t len)
{
    assert(len <= SHM_REQUEST_MAX);
    return len <= SHM_RECORD_REQUEST ? shm_arena_record(shm, worker, i)->request
                                     : shm_arena_beside(shm, worker, i);
}

const struct shm_record *shm_in_flight_next(struct shm *shm, struct shm_in_flight *at)
{
    uint32_t records = shm->header->sizes.records;

    for (; at->worker < shm->header->sizes.workers; at->worker++, at->next = 0) {
        while (at->next <= records) {
            uint32_t i = at->next++;
            const struct shm_record *r = i == records ? &shm_arena_of(shm, at->worker)->current
                                                      : shm_arena_record(shm, at->worker, i);
            uint32_t state = atomic_load(&r->state);

            if (state == SHM_RECORD_IN_FLIGHT || state == SHM_RECORD_APPLIED)
                return r;
        }
    }
    return NULL;
}

void shm_arena_init(struct shm *shm)
{
    (void)shm; /* all FREE is all zero */
}

static int check_record(const struct shm_record *r, uint32_t worker, uint32_t i, struct err *err)
{
    uint32_t state = atomic_load_explicit(&r->state, memory_order_relaxed);

    if (state > SHM_RECORD_APPLIED || r->request_len > SHM_REQUEST_MAX ||
        r->aside_len > SHM_REQUEST_MAX ||
        (r->reply_len > SHM_RECORD_REPLY && r->reply_len != SHM_REPLY_IN_ARENA))
        return err_set(err, EUCLEAN, "arena %u, record %u: state %u, request %u, reply %u", worker,
                       i, state, r->request_len, r->reply_len);
    return 0;
}

static int check_arena(struct shm *shm, uint32_t worker, struct err *err)
{
    const struct shm_arena *a = shm_arena_of(shm, worker);
    uint32_t records = shm->header->sizes.records;
    int r = check_record(&a->current, worker, records, err);

    if (a->counted_n > SHM_COUNTED_MAX || a->reply_len > SHM_REPLY_MAX)
        return err_set(err, EUCLEAN, "arena %u: %u counted nodes, reply of %u", worker,
                       a->counted_n, a->reply_len);
    for (uint32_t i = 0; r == 0 && i < records; i++)
        r = check_record(shm_arena_record(shm, worker, i), worker, i, err);
    return r;
}

int shm_arena_check(struct shm *shm, struct err *err)
{
    int r = 0;

    for (uint32_t w = 0; r == 0 && w < shm->header->sizes.workers; w++)
        r = check_arena(shm, w, err);
    return r;
}

const struct shm_record *shm_record_of_tag(struct shm *shm, uint32_t tag)
{
    uint32_t worker = (tag >> 16) - 1, record = (tag & 0xffff) - 1;

    if (worker >= shm->header->sizes.workers || record >= shm->header->sizes.records)
        return NULL;
    return shm_arena_record(shm, worker, record);
}

/* Under shm->meta. */
static bool is_noted(struct shm *shm, uint32_t node, uint32_t tag)
{
    const struct shm_record *r = shm_record_of_tag(shm, tag);

    return r && atomic_load(&r->state) == SHM_RECORD_IN_FLIGHT &&
           (r->node == node || r->target == node);
}

int shm_arena_check_holds(struct shm *shm, struct err *err)
{
    int r = 0;

    shm_lock(shm, shm->meta);
    for (uint32_t i = 0; r == 0 && i < shm->nodes->fresh_node; i++) {
        const struct shm_node *n = shm_node_at(shm, i);

        if (n->state == SHM_NODE_LIVE && n->busy && !is_noted(shm, i, n->busy))
            r = err_set(err, EUCLEAN, "node %u is held by request %x, which does not note it", i,
                        n->busy);
    }
    shm_unlock(shm, shm->meta);
    return r;
}
