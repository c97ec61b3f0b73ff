/* The table of baselines. It only stores them; workers/cas/ decides which one applies to a
 * write. */
#include "shm/shm_baseline.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "shm/shm_step.h"
#include "shm/shm_trace.h"

#define FILTER_PROBES 4

static_assert(sizeof(struct shm_baseline) == 1024, "a power of two of a page");
static_assert(sizeof(((struct shm_header *)0)->hash_key) >= crypto_generichash_KEYBYTES_MIN,
              "the segment's key serves the hash of keys");

/* ---- places ---- */

static uint32_t entries(const struct shm *shm)
{
    return shm->header->sizes.baselines;
}

size_t shm_baseline_size(const struct shm_sizes *s)
{
    return sizeof(struct shm_baseline_table) + shm_trace_size(s->baselines) +
           shm_trace_heads_size(s->baselines) +
           (size_t)s->baselines *
               (sizeof(uint32_t) + sizeof(struct shm_baseline) + SHM_BASELINE_FILTER);
}

void shm_baseline_init(struct shm *shm)
{
    shm->baselines->fresh_entry = 0;
}

static struct shm_baseline *first(struct shm *shm)
{
    return (void *)(shm->baselines + 1);
}

static uint32_t *baseline_heads(struct shm *shm)
{
    return (void *)((uint8_t *)(first(shm) + entries(shm)) + shm_trace_size(entries(shm)) +
                    shm_trace_heads_size(entries(shm)));
}

static uint8_t *filter(struct shm *shm)
{
    return (void *)(baseline_heads(shm) + entries(shm));
}

static struct shm_baseline *at(struct shm *shm, uint32_t link)
{
    assert(link && link <= entries(shm));
    return first(shm) + (link - 1);
}

static uint64_t word(const struct shm_baseline_key *key, int i)
{
    uint64_t v;

    memcpy(&v, key->bytes + 8 * i, sizeof(v));
    return v;
}

/* All baselines of a key are in one chain. */
static uint32_t *head(struct shm *shm, const struct shm_baseline_key *key)
{
    return baseline_heads(shm) + word(key, 0) % entries(shm);
}

struct shm_baseline_key shm_baseline_key(const struct shm *shm, const char *key, size_t len)
{
    struct shm_baseline_key ret;

    crypto_generichash(ret.bytes, sizeof(ret.bytes), (const uint8_t *)key, len,
                       shm->header->hash_key, sizeof(shm->header->hash_key));
    return ret;
}

/* The link that points to the entry, or to the end of its chain (0). */
static uint32_t *baseline_find(struct shm *shm, const struct shm_baseline_key *key,
                               const struct shm_baseline_who *who)
{
    uint32_t *link = head(shm, key);

    while (*link && (memcmp(&at(shm, *link)->key, key, sizeof(*key)) != 0 ||
                     !shm_baseline_same_who(&at(shm, *link)->who, who)))
        link = &at(shm, *link)->next;
    return link;
}

/* ---- the filter ---- */

/* Bit number i of the trace's owner. */
static uint64_t filter_bit(struct shm *shm, const struct shm_trace *t, int i)
{
    uint64_t mix = ((uint64_t)(uint32_t)t->tgid << 32 | t->start) * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t a = t->key ^ mix;
    uint64_t b = ((a >> 32 | a << 32) * UINT64_C(0xd6e8feb86659fd93)) | 1;

    return (a + (uint64_t)i * b) % ((uint64_t)entries(shm) * SHM_BASELINE_FILTER * 8);
}

static bool filter_has(struct shm *shm, const struct shm_baseline_key *key,
                       const struct shm_baseline_who *who)
{
    struct shm_trace t = shm_trace_owner(key, who);

    if (!shm->baselines->dropped)
        return false;
    for (int i = 0; i < FILTER_PROBES; i++) {
        uint64_t bit = filter_bit(shm, &t, i);

        if (!(filter(shm)[bit / 8] & 1u << bit % 8))
            return false;
    }
    return true;
}

static void filter_add(struct shm *shm, const struct shm_trace *t)
{
    for (int i = 0; i < FILTER_PROBES; i++) {
        uint64_t bit = filter_bit(shm, t, i);
        uint8_t *byte = filter(shm) + bit / 8;

        shm_set(shm, shm->meta, *byte, (uint8_t)(*byte | 1u << bit % 8));
    }
    shm_set(shm, shm->meta, shm->baselines->dropped, shm->baselines->dropped + 1);
}

/* It had a baseline once, which is no longer in the table. */
static bool is_dropped(struct shm *shm, const struct shm_baseline_key *key,
                       const struct shm_baseline_who *who)
{
    return shm_trace_find(shm, key, who) || filter_has(shm, key, who);
}

/* ---- the list by use ---- */

static void lru_take_off(struct shm *shm, const struct shm_baseline *b)
{
    struct shm_baseline_table *t = shm->baselines;
    uint32_t *from_prev = b->lru_prev ? &at(shm, b->lru_prev)->lru_next : &t->lru_first;
    uint32_t *from_next = b->lru_next ? &at(shm, b->lru_next)->lru_prev : &t->lru_last;

    shm_set(shm, shm->meta, *from_prev, b->lru_next);
    shm_set(shm, shm->meta, *from_next, b->lru_prev);
}

/* The caller has saved the entry. */
static void lru_put_first(struct shm *shm, uint32_t link)
{
    struct shm_baseline_table *t = shm->baselines;
    struct shm_baseline *b = at(shm, link);
    uint32_t *from_next = t->lru_first ? &at(shm, t->lru_first)->lru_prev : &t->lru_last;

    b->lru_prev = 0;
    b->lru_next = t->lru_first;
    shm_set(shm, shm->meta, *from_next, link);
    shm_set(shm, shm->meta, t->lru_first, link);
}

static void use(struct shm *shm, uint32_t link)
{
    if (shm->baselines->lru_first == link)
        return;
    lru_take_off(shm, at(shm, link));
    shm_save(shm, shm->meta, at(shm, link), sizeof(struct shm_baseline));
    lru_put_first(shm, link);
}

/* ---- entries ---- */

/* *link points to it, and to the next one afterwards. */
static void remove_entry(struct shm *shm, uint32_t *link)
{
    struct shm_baseline_table *t = shm->baselines;
    uint32_t idx = *link;
    struct shm_baseline *b = at(shm, idx);

    lru_take_off(shm, b);
    shm_set(shm, shm->meta, *link, b->next);
    shm_save(shm, shm->meta, b, sizeof(*b));
    memset(b, 0, sizeof(*b));
    b->next = t->free_entry;
    shm_set(shm, shm->meta, t->free_entry, idx);
    shm_set(shm, shm->meta, t->live, t->live - 1);
}

static void drop_oldest(struct shm *shm)
{
    const struct shm_baseline *b = at(shm, shm->baselines->lru_last);
    struct shm_trace lost;

    if (b->who.tgid >= 0 && shm_trace_add(shm, b, &lost))
        filter_add(shm, &lost);
    remove_entry(shm, baseline_find(shm, &b->key, &b->who));
}

/* A free entry, as index + 1. */
static uint32_t take_free(struct shm *shm)
{
    struct shm_baseline_table *t = shm->baselines;
    uint32_t link;

    if (!t->free_entry && t->fresh_entry == entries(shm))
        drop_oldest(shm);
    link = t->free_entry;
    if (link) {
        shm_set(shm, shm->meta, t->free_entry, at(shm, link)->next);
    } else {
        link = t->fresh_entry + 1;
        shm_set(shm, shm->meta, t->fresh_entry, link);
    }
    return link;
}

static uint32_t add_entry(struct shm *shm, const struct shm_baseline_key *key,
                          const struct shm_baseline_who *who)
{
    struct shm_baseline_table *t = shm->baselines;
    uint32_t link = take_free(shm), *chain = head(shm, key);
    struct shm_baseline *b = at(shm, link);

    shm_save(shm, shm->meta, b, sizeof(*b));
    *b = (struct shm_baseline){.key = *key, .who = *who, .next = *chain};
    shm_set(shm, shm->meta, *chain, link);
    shm_set(shm, shm->meta, t->live, t->live + 1);
    lru_put_first(shm, link);
    return link;
}

static enum shm_baseline_state get_dropped(struct shm *shm, const struct shm_baseline_key *key,
                                           const struct shm_baseline_who *who,
                                           struct shm_baseline_value *ret)
{
    const struct shm_trace *t = shm_trace_find(shm, key, who);

    if (!t && !filter_has(shm, key, who))
        return SHM_BASELINE_NONE;
    *ret = (struct shm_baseline_value){.flags = t ? t->flags & SHM_TRACE_FLAGS : SHM_BASELINE_READ};
    return SHM_BASELINE_DROPPED;
}

enum shm_baseline_state shm_baseline_get(struct shm *shm, const struct shm_baseline_key *key,
                                         const struct shm_baseline_who *who,
                                         struct shm_baseline_value *ret)
{
    uint32_t link;

    if (!entries(shm))
        return SHM_BASELINE_NONE;
    link = *baseline_find(shm, key, who);
    if (!link)
        return get_dropped(shm, key, who, ret);
    use(shm, link);
    *ret = at(shm, link)->value;
    return SHM_BASELINE_KNOWN;
}

/* Versions with the same content have the same ETag, as all empty files do: their write-ids
 * distinguish them, if both are known. */
static bool is_other(const struct shm_baseline_value *a, const struct shm_baseline_value *b)
{
    return strcmp(a->etag, b->etag) != 0 || ((a->flags & b->flags & SHM_BASELINE_LINEAGE) &&
                                             strncmp(a->lineage, b->lineage, SHM_ID_LEN) != 0);
}

/* An entry for `who`, which has none; since when it knows the key, and this version, is in its
 * trace, if it has left one. */
static uint32_t add_known(struct shm *shm, const struct shm_baseline_key *key,
                          const struct shm_baseline_who *who,
                          const struct shm_baseline_value *value, uint32_t now_ticks)
{
    const struct shm_trace *t = shm_trace_find(shm, key, who);
    uint32_t first_ticks = t ? t->first_ticks : now_ticks, version_ticks = now_ticks, link;

    if (t && shm_trace_is_of(shm, t, value, false))
        version_ticks = t->version_ticks;
    shm_trace_drop(shm, key, who);
    link = add_entry(shm, key, who);
    at(shm, link)->first_ticks = first_ticks; /* (add_entry has saved it) */
    at(shm, link)->version_ticks = version_ticks;
    return link;
}

void shm_baseline_set(struct shm *shm, const struct shm_baseline_key *key,
                      const struct shm_baseline_who *who, const struct shm_baseline_value *value,
                      uint32_t now_ticks)
{
    struct shm_baseline *b;
    uint32_t link;

    assert(!*value->etag == !!(value->flags & SHM_BASELINE_ABSENT));
    if (!entries(shm))
        return;
    shm_step_forget(shm, key, who);
    link = *baseline_find(shm, key, who);
    if (!link) {
        link = add_known(shm, key, who, value, now_ticks);
        at(shm, link)->value = *value;
        return;
    }
    use(shm, link);
    b = at(shm, link);
    shm_save(shm, shm->meta, b, sizeof(*b));
    if (is_other(&b->value, value))
        b->version_ticks = now_ticks;
    b->value = *value;
}

void shm_baseline_recall(struct shm *shm, const struct shm_baseline_key *key,
                         const struct shm_baseline_who *who, const struct shm_baseline_value *now,
                         bool exact)
{
    const struct shm_trace *found = entries(shm) ? shm_trace_find(shm, key, who) : NULL;
    struct shm_baseline *b;
    uint32_t flags;

    if (!found || !shm_trace_is_of(shm, found, now, exact) ||
        (found->flags ^ now->flags) & SHM_BASELINE_ABSENT)
        return;
    flags = found->flags & SHM_TRACE_FLAGS;
    b = at(shm, add_known(shm, key, who, now, 0));
    b->value = *now;
    b->value.flags = flags | (now->flags & SHM_BASELINE_LINEAGE);
}

bool shm_baseline_evicted(struct shm *shm, const struct shm_baseline_key *key,
                          const struct shm_baseline_who *who)
{
    return entries(shm) && !*baseline_find(shm, key, who) && shm_trace_find(shm, key, who);
}

static bool is_later(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

enum shm_baseline_state shm_baseline_get_at(struct shm *shm, const struct shm_baseline_key *key,
                                            const struct shm_baseline_who *who, uint32_t ticks,
                                            struct shm_baseline_value *ret)
{
    enum shm_baseline_state r = shm_baseline_get(shm, key, who, ret);
    const struct shm_baseline *b;

    if (r != SHM_BASELINE_KNOWN)
        return r;
    b = at(shm, *baseline_find(shm, key, who));
    if (!is_later(b->version_ticks, ticks))
        return SHM_BASELINE_KNOWN;
    return is_later(b->first_ticks, ticks) && !is_dropped(shm, key, who) ? SHM_BASELINE_NONE
                                                                         : SHM_BASELINE_DROPPED;
}

void shm_baseline_copied(struct shm *shm, const struct shm_baseline_key *key,
                         const char from[SHM_ETAG_MAX], const char to[SHM_ETAG_MAX])
{
    unsigned moved = 0;

    if (!entries(shm))
        return;
    for (uint32_t link = *head(shm, key); link && moved < SHM_BASELINE_MOVES;
         link = at(shm, link)->next) {
        struct shm_baseline *b = at(shm, link);

        if (memcmp(&b->key, key, sizeof(*key)) != 0 || strcmp(b->value.etag, from) != 0)
            continue;
        shm_save(shm, shm->meta, b->value.etag, SHM_ETAG_MAX);
        shm_etag_copy(b->value.etag, to);
        moved++;
    }
    shm_trace_copied(shm, key, from, to, SHM_BASELINE_MOVES - moved);
}

void shm_baseline_forget(struct shm *shm, const struct shm_baseline_key *key,
                         const struct shm_baseline_who *who)
{
    uint32_t *link;

    if (!entries(shm))
        return;
    shm_step_forget(shm, key, who);
    shm_trace_drop(shm, key, who);
    link = baseline_find(shm, key, who);
    if (*link)
        remove_entry(shm, link);
}

/* ---- the check ---- */

static int check_entry(struct shm *shm, uint32_t link, struct err *err)
{
    const struct shm_baseline *b = at(shm, link);

    if (*baseline_find(shm, &b->key, &b->who) != link)
        return err_set(err, EUCLEAN, "baseline %u is not in its chain, or not alone", link - 1);
    if (!memchr(b->value.etag, '\0', SHM_ETAG_MAX) ||
        !memchr(b->value.lineage, '\0', SHM_LINEAGE_MAX) ||
        !*b->value.etag != !!(b->value.flags & SHM_BASELINE_ABSENT))
        return err_set(err, EUCLEAN, "baseline %u makes no sense", link - 1);
    return 0;
}

static int check_lru(struct shm *shm, struct err *err)
{
    const struct shm_baseline_table *t = shm->baselines;
    uint32_t prev = 0, n = 0;

    for (uint32_t l = t->lru_first; l; prev = l, l = at(shm, l)->lru_next) {
        if (l > t->fresh_entry || ++n > t->live || at(shm, l)->lru_prev != prev)
            return err_set(err, EUCLEAN, "list of baselines broken at %u", l - 1);
    }
    if (n != t->live || t->lru_last != prev)
        return err_set(err, EUCLEAN, "%u baselines in the list, %u in all", n, t->live);
    return 0;
}

static int baseline_check_chains(struct shm *shm, struct err *err)
{
    const struct shm_baseline_table *t = shm->baselines;
    uint32_t n = 0, n_free = 0;

    for (uint32_t i = 0; i < entries(shm); i++) {
        for (uint32_t l = baseline_heads(shm)[i]; l; l = at(shm, l)->next) {
            if (l > t->fresh_entry || ++n > t->live)
                return err_set(err, EUCLEAN, "chain %u of baselines broken", i);
        }
    }
    for (uint32_t l = t->free_entry; l; l = at(shm, l)->next) {
        if (l > t->fresh_entry || ++n_free > t->fresh_entry)
            return err_set(err, EUCLEAN, "chain of free baselines broken");
    }
    if (n != t->live || n + n_free != t->fresh_entry)
        return err_set(err, EUCLEAN, "baselines: %u in chains, %u free, %u live, %u used", n,
                       n_free, t->live, t->fresh_entry);
    return 0;
}

static int baseline_check_locked(struct shm *shm, struct err *err)
{
    int r;

    if (shm->baselines->fresh_entry > entries(shm))
        return err_set(err, EUCLEAN, "more baselines than there are");
    r = baseline_check_chains(shm, err);
    if (r == 0)
        r = check_lru(shm, err);
    if (r == 0)
        r = shm_step_check(shm, err);
    if (r == 0)
        r = shm_trace_check(shm, err);
    for (uint32_t l = shm->baselines->lru_first; l && r == 0; l = at(shm, l)->lru_next)
        r = check_entry(shm, l, err);
    return r;
}

int shm_baseline_check(struct shm *shm, struct err *err)
{
    int r;

    shm_lock(shm, shm->meta);
    r = baseline_check_locked(shm, err);
    shm_unlock(shm, shm->meta);
    return r;
}
