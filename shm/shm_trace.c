/* Traces of evicted baselines: a ring, with a hash table over it. */
#include "shm/shm_trace.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

static_assert(sizeof(struct shm_trace) == 40, "cas.baselines says what one costs");

static uint32_t trace_count(const struct shm *shm)
{
    return shm->header->sizes.baselines * SHM_TRACES_EACH;
}

size_t shm_trace_size(uint32_t baselines)
{
    return (size_t)baselines * SHM_TRACES_EACH * sizeof(struct shm_trace);
}

size_t shm_trace_heads_size(uint32_t baselines)
{
    return (size_t)baselines * SHM_TRACES_EACH * sizeof(uint32_t);
}

static struct shm_trace *trace_at(struct shm *shm, uint32_t link)
{
    assert(link && link <= trace_count(shm));
    return (struct shm_trace *)((uint8_t *)shm->baselines + sizeof(struct shm_baseline_table) +
                                (size_t)shm->header->sizes.baselines *
                                    sizeof(struct shm_baseline)) +
           (link - 1);
}

static uint32_t *trace_heads(struct shm *shm)
{
    return (uint32_t *)(trace_at(shm, 1) + trace_count(shm));
}

struct shm_trace shm_trace_owner(const struct shm_baseline_key *key,
                                 const struct shm_baseline_who *who)
{
    struct shm_trace t = {.tgid = who->tgid, .start = (uint32_t)who->start};

    memcpy(&t.key, key->bytes + sizeof(t.key), sizeof(t.key));
    return t;
}

static uint32_t *trace_head(struct shm *shm, const struct shm_trace *t)
{
    return trace_heads(shm) + t->key % trace_count(shm);
}

static uint64_t hash_text(const struct shm *shm, const char *text, size_t max)
{
    uint8_t out[crypto_shorthash_BYTES];
    uint64_t h;

    crypto_shorthash(out, (const uint8_t *)text, strnlen(text, max), shm->header->hash_key);
    memcpy(&h, out, sizeof(h));
    return h;
}

/* The upper bits of `flags`: of the write-id, or that there is none; 0 if that is not known. */
static uint32_t id_bits(const struct shm *shm, const struct shm_baseline_value *v)
{
    uint64_t h;

    if (!(v->flags & SHM_BASELINE_LINEAGE))
        return 0;
    h = hash_text(shm, v->lineage, SHM_ID_LEN);
    return ((uint32_t)h | 1u) << SHM_TRACE_ID_SHIFT;
}

static bool has_same_owner(const struct shm_trace *a, const struct shm_trace *b)
{
    return a->key == b->key && a->tgid == b->tgid && a->start == b->start;
}

/* The link that points to the trace, or to the end of its chain (0). */
static uint32_t *trace_link(struct shm *shm, const struct shm_baseline_key *key,
                            const struct shm_baseline_who *who)
{
    struct shm_trace t = shm_trace_owner(key, who);
    uint32_t *link = trace_head(shm, &t);

    while (*link && !has_same_owner(trace_at(shm, *link), &t))
        link = &trace_at(shm, *link)->next;
    return link;
}

/* *link points to it, and to the next one afterwards. */
static void take_out(struct shm *shm, uint32_t *link)
{
    struct shm_baseline_table *table = shm->baselines;
    struct shm_trace *t = trace_at(shm, *link);

    shm_set(shm, shm->meta, *link, t->next);
    shm_save(shm, shm->meta, t, sizeof(*t));
    *t = (struct shm_trace){0};
    shm_set(shm, shm->meta, table->traces, table->traces - 1);
}

/* True if the place was taken; *ret_lost was there. */
static bool trace_make_room(struct shm *shm, uint32_t link, struct shm_trace *ret_lost)
{
    const struct shm_trace *t = trace_at(shm, link);
    uint32_t *at;

    if (!(t->flags & SHM_TRACE_LIVE))
        return false;
    *ret_lost = *t;
    at = trace_head(shm, t);
    while (*at != link)
        at = &trace_at(shm, *at)->next;
    take_out(shm, at);
    return true;
}

bool shm_trace_add(struct shm *shm, const struct shm_baseline *b, struct shm_trace *ret_lost)
{
    struct shm_baseline_table *table = shm->baselines;
    struct shm_trace t = shm_trace_owner(&b->key, &b->who);
    uint32_t link = table->next_trace + 1, *head = trace_head(shm, &t);
    bool lost = trace_make_room(shm, link, ret_lost);

    t.version = hash_text(shm, b->value.etag, SHM_ETAG_MAX);
    t.next = *head;
    t.version_ticks = b->version_ticks;
    t.first_ticks = b->first_ticks;
    t.flags = (b->value.flags & SHM_TRACE_FLAGS) | SHM_TRACE_LIVE | id_bits(shm, &b->value);
    shm_set(shm, shm->meta, *trace_at(shm, link), t);
    shm_set(shm, shm->meta, *head, link);
    shm_set(shm, shm->meta, table->next_trace, link % trace_count(shm));
    shm_set(shm, shm->meta, table->traces, table->traces + 1);
    return lost;
}

const struct shm_trace *shm_trace_find(struct shm *shm, const struct shm_baseline_key *key,
                                       const struct shm_baseline_who *who)
{
    uint32_t link = shm->baselines->traces ? *trace_link(shm, key, who) : 0;

    return link ? trace_at(shm, link) : NULL;
}

bool shm_trace_is_of(const struct shm *shm, const struct shm_trace *t,
                     const struct shm_baseline_value *now, bool exact)
{
    uint32_t then_id = t->flags >> SHM_TRACE_ID_SHIFT << SHM_TRACE_ID_SHIFT;
    uint32_t now_id = id_bits(shm, now);

    if (t->version != hash_text(shm, now->etag, SHM_ETAG_MAX))
        return false;
    return then_id && now_id ? then_id == now_id : !exact;
}

void shm_trace_drop(struct shm *shm, const struct shm_baseline_key *key,
                    const struct shm_baseline_who *who)
{
    uint32_t *link = shm->baselines->traces ? trace_link(shm, key, who) : NULL;

    if (link && *link)
        take_out(shm, link);
}

void shm_trace_copied(struct shm *shm, const struct shm_baseline_key *key,
                      const char from[SHM_ETAG_MAX], const char to[SHM_ETAG_MAX], unsigned max)
{
    uint64_t old = hash_text(shm, from, SHM_ETAG_MAX), new = hash_text(shm, to, SHM_ETAG_MAX);
    const struct shm_baseline_who any = {0};
    struct shm_trace of = shm_trace_owner(key, &any);
    uint32_t link = shm->baselines->traces ? *trace_head(shm, &of) : 0;

    for (; link && max; link = trace_at(shm, link)->next) {
        struct shm_trace *t = trace_at(shm, link);

        if (t->key != of.key || t->version != old)
            continue;
        shm_set(shm, shm->meta, t->version, new);
        max--;
    }
}

int shm_trace_check(struct shm *shm, struct err *err)
{
    const struct shm_baseline_table *table = shm->baselines;
    uint32_t n = 0, live = 0;

    for (uint32_t i = 0; i < trace_count(shm); i++) {
        live += trace_at(shm, i + 1)->flags & SHM_TRACE_LIVE ? 1 : 0;
        for (uint32_t l = trace_heads(shm)[i]; l; l = trace_at(shm, l)->next) {
            if (l > trace_count(shm) || ++n > table->traces ||
                !(trace_at(shm, l)->flags & SHM_TRACE_LIVE) ||
                trace_head(shm, trace_at(shm, l)) != &trace_heads(shm)[i])
                return err_set(err, EUCLEAN, "chain %u of traces broken", i);
        }
    }
    if (n != table->traces || live != n ||
        (trace_count(shm) && table->next_trace >= trace_count(shm)))
        return err_set(err, EUCLEAN, "traces: %u in chains, %u live, %u counted", n, live,
                       table->traces);
    return 0;
}
