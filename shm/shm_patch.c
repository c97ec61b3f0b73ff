/* Which pieces of a file that is changed in place are in the spool. */
#include "shm/shm_patch.h"

#include <assert.h>
#include <errno.h>

#include "base/min.h"
#include "shm/shm_session.h"
#include "shm/shm_upload.h"

#define MIB (UINT64_C(1) << 20)

size_t shm_patch_size(const struct shm_sizes *s)
{
    return (size_t)s->sessions * sizeof(struct shm_patch);
}

static struct shm_patch *patch_at(struct shm *shm, uint32_t session)
{
    assert(session < shm->header->sizes.sessions);
    return &shm->patches[session];
}

/* ---- bits ---- */

static bool is_set(const uint64_t *bits, uint64_t no)
{
    return no < SHM_PATCH_UNITS && (bits[no / 64] >> no % 64 & 1);
}

static void set_bits(struct shm *shm, uint64_t *bits, uint64_t from, uint64_t to)
{
    to = min_u64(to, SHM_PATCH_UNITS);
    while (from < to) {
        uint64_t *word = &bits[from / 64];
        uint64_t end = min_u64(to, from / 64 * 64 + 64), mask = UINT64_MAX << from % 64;

        if (end % 64)
            mask &= ~(UINT64_MAX << end % 64);
        if ((*word & mask) != mask)
            shm_set(shm, shm->meta, *word, *word | mask);
        from = end;
    }
}

static void clear_bits(struct shm *shm, uint64_t *bits)
{
    for (uint32_t i = 0; i < SHM_PATCH_UNITS / 64; i++) {
        if (bits[i])
            shm_set(shm, shm->meta, bits[i], 0);
    }
}

/* ---- units ---- */

static uint64_t unit_size(uint64_t size)
{
    uint64_t share = (size + SHM_PATCH_UNITS - 1) / SHM_PATCH_UNITS;

    share = (share + MIB - 1) / MIB * MIB;
    return share > SHM_PATCH_UNIT_MIN ? share : SHM_PATCH_UNIT_MIN;
}

static uint64_t units_of(const struct shm_patch *p, uint64_t size)
{
    return size / p->unit + (size % p->unit != 0);
}

/* The unit has bytes of the version on S3 that are not in the spool. */
static bool is_missing(const struct shm_patch *p, uint64_t no)
{
    return no * p->unit < p->base && !is_set(p->held, no);
}

/* The first unit from `no` on, before `end`, of which is_missing() is `missing`; else `end`. */
static uint64_t find_unit(const struct shm_patch *p, uint64_t no, uint64_t end, bool missing)
{
    while (no < end && is_missing(p, no) != missing)
        no++;
    return no;
}

void shm_patch_begin(struct shm *shm, uint32_t session, uint64_t size)
{
    struct shm_patch *p = patch_at(shm, session);

    shm_set(shm, shm->meta, p->base, size);
    shm_set(shm, shm->meta, p->unit, unit_size(size));
    clear_bits(shm, p->held);
    clear_bits(shm, p->dirty);
}

bool shm_patch_holds(struct shm *shm, uint32_t session, uint64_t from, uint64_t to)
{
    const struct shm_patch *p = patch_at(shm, session);
    uint64_t end = units_of(p, min_u64(to, p->base));

    return from >= p->base || find_unit(p, from / p->unit, end, true) >= end;
}

struct shm_patch_piece shm_patch_lacks(struct shm *shm, uint32_t session, uint64_t from,
                                       uint64_t to)
{
    const struct shm_patch *p = patch_at(shm, session);
    uint64_t end = units_of(p, min_u64(to, p->base));
    uint64_t first = find_unit(p, from / p->unit, end, true);
    struct shm_patch_piece piece = {.off = from};

    if (from >= p->base || first >= end)
        return piece;
    while (!is_missing(p, end - 1))
        end--;
    if (first * p->unit > from)
        piece.off = first * p->unit;
    piece.len = min_u64(min_u64(end * p->unit, p->base), to) - piece.off;
    return piece;
}

/* How many units from `no` on are loaded at once, of those before `end`. */
static uint64_t load_ahead(const struct shm_patch *p, uint64_t no, uint64_t end)
{
    uint64_t n = 1, run = 0;

    while (run < SHM_PATCH_AHEAD && run < no && is_set(p->held, no - 1 - run))
        run++;
    if (run > n)
        n = run;
    if (end - no > n)
        n = end - no;
    return find_unit(p, no, no + n, false) - no;
}

struct shm_patch_piece shm_patch_needs(struct shm *shm, uint32_t session, uint64_t from,
                                       uint64_t to)
{
    const struct shm_patch *p = patch_at(shm, session);
    uint64_t end = units_of(p, min_u64(to, p->base)), no = from / p->unit;
    struct shm_patch_piece piece = {0};

    if (to > p->base && p->base % p->unit) /* the file goes on in the unit in which it ends */
        no = min_u64(no, p->base / p->unit);
    no = find_unit(p, no, end, true);
    if (no >= end || (from >= to && to <= p->base))
        return piece;
    piece.off = no * p->unit;
    piece.len = min_u64((no + load_ahead(p, no, end)) * p->unit, p->base) - piece.off;
    return piece;
}

bool shm_patch_is_short(struct shm *shm, uint32_t session)
{
    const struct shm_session *s = shm_session_at(shm, session);

    return s->content == SHM_CONTENT_PATCH ? shm_patch_needs(shm, session, 0, UINT64_MAX).len != 0
                                           : !shm_session_is_loaded(s);
}

void shm_patch_loaded(struct shm *shm, uint32_t session, struct shm_patch_piece piece)
{
    struct shm_patch *p = patch_at(shm, session);

    set_bits(shm, p->held, piece.off / p->unit, units_of(p, piece.off + piece.len));
}

void shm_patch_changed(struct shm *shm, uint32_t session, uint64_t from, uint64_t to)
{
    struct shm_patch *p = patch_at(shm, session);

    if (from >= to)
        return;
    assert(shm_patch_holds(shm, session, from, to));
    set_bits(shm, p->held, from / p->unit, units_of(p, to));
    set_bits(shm, p->dirty, from / p->unit, units_of(p, to));
}

void shm_patch_cut(struct shm *shm, uint32_t session, uint64_t size)
{
    struct shm_patch *p = patch_at(shm, session);

    if (size < p->base)
        shm_set(shm, shm->meta, p->base, size);
}

bool shm_patch_fits(struct shm *shm, uint32_t session, uint64_t size)
{
    return units_of(patch_at(shm, session), size) <= SHM_PATCH_UNITS;
}

bool shm_patch_published(struct shm *shm, uint32_t session, uint64_t size)
{
    struct shm_patch *p = patch_at(shm, session);

    if (!shm_patch_fits(shm, session, size))
        return false;
    set_bits(shm, p->held, units_of(p, p->base), units_of(p, size));
    shm_set(shm, shm->meta, p->base, size);
    clear_bits(shm, p->dirty);
    return true;
}

/* ---- parts ---- */

static bool is_copied(const struct shm_patch *p, uint64_t no)
{
    return no * p->unit < p->base && !is_set(p->dirty, no);
}

uint64_t shm_patch_part(struct shm *shm, uint32_t session, uint64_t off, uint64_t size,
                        uint64_t send, uint64_t copy, bool *ret_copied)
{
    const struct shm_patch *p = patch_at(shm, session);
    uint64_t no = off / p->unit, units = units_of(p, size), end, step;
    bool copied = is_copied(p, no);

    while (no < units && is_copied(p, no) == copied)
        no++;
    end = min_u64(no * p->unit, size);
    step = copied ? copy : send;
    *ret_copied = copied;
    if ((end - off) / step >= 2)
        return step;
    return end - off > SHM_UPLOAD_PART_MAX ? (end - off) / 2 : end - off;
}

/* ---- check ---- */

static int patch_check_slot(struct shm *shm, uint32_t i, struct err *err)
{
    const struct shm_patch *p = patch_at(shm, i);
    const struct shm_session *s = shm_session_at(shm, i);

    if (s->state != SHM_SESSION_LIVE || s->content != SHM_CONTENT_PATCH)
        return 0;
    if (p->unit < SHM_PATCH_UNIT_MIN || p->base > s->size)
        return err_set(err, EUCLEAN, "patch %u: %llu bytes of a file of %llu, in units of %llu", i,
                       (unsigned long long)p->base, (unsigned long long)s->size,
                       (unsigned long long)p->unit);
    if (s->size > p->base && p->base % p->unit && is_missing(p, p->base / p->unit))
        return err_set(err, EUCLEAN, "patch %u: the unit at its end is missing", i);
    for (uint32_t w = 0; w < SHM_PATCH_UNITS / 64; w++) {
        if (p->dirty[w] & ~p->held[w])
            return err_set(err, EUCLEAN, "patch %u: a unit was changed, and is not here", i);
    }
    return 0;
}

int shm_patch_check(struct shm *shm, struct err *err)
{
    int r = 0;

    shm_lock(shm, shm->meta);
    for (uint32_t i = 0; i < shm->header->sizes.sessions && r == 0; i++)
        r = patch_check_slot(shm, i, err);
    shm_unlock(shm, shm->meta);
    return r;
}
