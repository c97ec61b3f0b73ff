/* Which units of a file that is changed in place are here, and the parts of its upload; random
 * changes are compared with a plain list. */
#include "shm/shm_patch.h"

#include <string.h>

#include "base/min.h"
#include "shm/shm_session.h"
#include "shm/shm_upload.h"
#include "tests/shm/fixture.h"

#define MIB (UINT64_C(1) << 20)
#define UNIT SHM_PATCH_UNIT_MIN
#define UNITS 24u

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A session that patches a file of this size. */
static uint32_t begin(struct shm *shm, uint64_t size)
{
    uint32_t node = fx_put(shm, SHM_ROOT, "f", "1");
    int64_t session;

    fx_lock(shm);
    session = shm_session_new(shm, node);
    assert_true(session >= 0);
    shm_session_edit(shm, (uint32_t)session)->size = size;
    shm_session_edit(shm, (uint32_t)session)->content = SHM_CONTENT_PATCH;
    shm_patch_begin(shm, (uint32_t)session, size);
    fx_unlock(shm);
    fx_check(shm);
    return (uint32_t)session;
}

static void set_size(struct shm *shm, uint32_t session, uint64_t size)
{
    shm_session_edit(shm, session)->size = size;
}

static void load(struct shm *shm, uint32_t session, uint64_t from, uint64_t to)
{
    struct shm_patch_piece piece;

    fx_lock(shm);
    while ((piece = shm_patch_needs(shm, session, from, to)).len)
        shm_patch_loaded(shm, session, piece);
    fx_unlock(shm);
}

static void change(struct shm *shm, uint32_t session, uint64_t from, uint64_t to)
{
    load(shm, session, from, to);
    fx_lock(shm);
    set_size(shm, session, max_u64(shm_session_at(shm, session)->size, to));
    shm_patch_changed(shm, session, from, to);
    fx_unlock(shm);
    fx_check(shm);
}

static void assert_piece(struct shm_patch_piece piece, uint64_t off, uint64_t len)
{
    assert_int_equal(piece.len, len);
    if (len)
        assert_int_equal(piece.off, off);
}

static void test_units_are_loaded_once(void **state)
{
    struct shm *shm = *state;
    uint32_t s = begin(shm, 10 * UNIT + 7);

    fx_lock(shm);
    assert_piece(shm_patch_needs(shm, s, 0, 1), 0, UNIT);
    assert_piece(shm_patch_needs(shm, s, UNIT - 1, UNIT + 1), 0, 2 * UNIT);
    assert_piece(shm_patch_needs(shm, s, UNIT, UNIT + 1), UNIT, UNIT);
    assert_piece(shm_patch_needs(shm, s, 10 * UNIT + 1, 10 * UNIT + 2), 10 * UNIT, 7);
    assert_false(shm_patch_holds(shm, s, 0, 1));
    shm_patch_loaded(shm, s, (struct shm_patch_piece){0, UNIT});
    assert_true(shm_patch_holds(shm, s, 0, UNIT));
    assert_false(shm_patch_holds(shm, s, 0, UNIT + 1));
    assert_piece(shm_patch_needs(shm, s, 0, 1), 0, 0);
    assert_piece(shm_patch_lacks(shm, s, UNIT - 5, UNIT + 9), UNIT, 9);
    assert_piece(shm_patch_lacks(shm, s, 3, 9), 0, 0);
    assert_piece(shm_patch_lacks(shm, s, 10 * UNIT - 1, 11 * UNIT), 10 * UNIT - 1, 8);
    fx_unlock(shm);
}

/* Behind the end everything is here, but the unit in which it ends has to be. */
static void test_what_goes_on_behind_the_end(void **state)
{
    struct shm *shm = *state;
    uint32_t s = begin(shm, 2 * UNIT + 7);

    fx_lock(shm);
    assert_true(shm_patch_holds(shm, s, 2 * UNIT + 7, 9 * UNIT));
    assert_piece(shm_patch_needs(shm, s, 9 * UNIT, 9 * UNIT + 1), 2 * UNIT, 7);
    assert_piece(shm_patch_needs(shm, s, 2 * UNIT + 7, 2 * UNIT + 7), 0, 0);
    shm_patch_cut(shm, s, 2 * UNIT);
    set_size(shm, s, 2 * UNIT);
    assert_piece(shm_patch_needs(shm, s, 9 * UNIT, 9 * UNIT + 1), 0, 0);
    shm_patch_cut(shm, s, UNIT + 1);
    set_size(shm, s, UNIT + 1);
    assert_piece(shm_patch_needs(shm, s, 2 * UNIT, 2 * UNIT), UNIT, 1);
    assert_piece(shm_patch_needs(shm, s, 0, UINT64_MAX), 0, UNIT + 1);
    fx_unlock(shm);
    fx_check(shm);
}

static void test_a_run_is_loaded_ahead(void **state)
{
    struct shm *shm = *state;
    uint32_t s = begin(shm, 64 * UNIT), gets = 0;
    struct shm_patch_piece piece;

    fx_lock(shm);
    for (uint64_t at = 0; at < 64 * UNIT; at += MIB) {
        while ((piece = shm_patch_needs(shm, s, at, at + 1)).len) {
            assert_true(piece.len <= SHM_PATCH_AHEAD * UNIT);
            shm_patch_loaded(shm, s, piece);
            gets++;
        }
    }
    fx_unlock(shm);
    assert_in_range(gets, 8, 10);
}

/* All parts: each as large as S3 wants it, of one kind, and together the file. */
static uint32_t check_parts(struct shm *shm, uint32_t s, uint64_t send, uint64_t copy,
                            uint64_t *ret_copied)
{
    uint64_t size = shm_session_at(shm, s)->size, off = 0;
    uint32_t n = 0;

    *ret_copied = 0;
    while (off < size) {
        bool copied;
        uint64_t len = shm_patch_part(shm, s, off, size, send, copy, &copied);

        assert_true(len >= UNIT || off + len == size);
        assert_true(len <= SHM_UPLOAD_PART_MAX);
        assert_true(len < 2 * max_u64(copied ? copy : send, UNIT) || len == size - off);
        assert_true(copied || shm_patch_holds(shm, s, off, off + len));
        *ret_copied += copied ? len : 0;
        off += len;
        n++;
    }
    assert_int_equal(off, size);
    return n;
}

static void test_parts(void **state)
{
    struct shm *shm = *state;
    uint32_t s = begin(shm, 10 * UNIT + 7);
    uint64_t copied;

    change(shm, s, 4 * UNIT - 1, 4 * UNIT);
    fx_lock(shm);
    assert_int_equal(check_parts(shm, s, UNIT, 512 * MIB, &copied), 3);
    assert_int_equal(copied, 9 * UNIT + 7);
    assert_int_equal(check_parts(shm, s, UNIT, UNIT, &copied), 10);
    fx_unlock(shm);
    change(shm, s, 10 * UNIT + 7, 10 * UNIT + 9);
    change(shm, s, 4 * UNIT, 4 * UNIT + 1);
    fx_lock(shm);
    assert_int_equal(check_parts(shm, s, UNIT, 512 * MIB, &copied), 5);
    assert_int_equal(check_parts(shm, s, 2 * UNIT, 512 * MIB, &copied), 4);
    assert_int_equal(copied, 8 * UNIT);
    assert_true(shm_patch_published(shm, s, 10 * UNIT + 9));
    assert_int_equal(check_parts(shm, s, UNIT, 512 * MIB, &copied), 1);
    assert_true(shm_patch_holds(shm, s, 10 * UNIT, 10 * UNIT + 9));
    fx_unlock(shm);
}

static void test_units_of_large_files(void **state)
{
    struct shm *shm = *state;
    uint64_t tib = UINT64_C(1) << 40, gib = UINT64_C(1) << 30, copied;
    uint32_t s = begin(shm, 48 * tib);

    change(shm, s, 7 * tib, 7 * tib + 1);
    fx_lock(shm);
    assert_true(check_parts(shm, s, 5 * gib, 5 * gib, &copied) <= SHM_UPLOAD_PARTS);
    assert_in_range(48 * tib - copied, 1, 6 * gib);
    assert_true(shm_patch_fits(shm, s, 48 * tib));
    fx_unlock(shm);
    fx_check(shm);
}

static void test_a_file_that_has_grown_too_large(void **state)
{
    struct shm *shm = *state;
    uint32_t s = begin(shm, 2 * UNIT);

    fx_lock(shm);
    assert_true(shm_patch_fits(shm, s, SHM_PATCH_UNITS * UNIT));
    assert_false(shm_patch_fits(shm, s, SHM_PATCH_UNITS * UNIT + 1));
    assert_false(shm_patch_published(shm, s, SHM_PATCH_UNITS * UNIT + 1));
    fx_unlock(shm);
}

/* ---- random changes, compared with two lists ---- */

struct model {
    uint64_t size, base;
    bool here[UNITS], changed[UNITS];
};

static void compare(struct shm *shm, uint32_t s, const struct model *m)
{
    uint64_t copied, least = 0;

    fx_lock(shm);
    for (uint64_t i = 0; i * UNIT < m->size; i++) {
        uint64_t end = min_u64((i + 1) * UNIT, m->size);
        bool here = m->here[i] || i * UNIT >= m->base;

        assert_int_equal(shm_patch_holds(shm, s, i * UNIT, end), here);
        if (i * UNIT < m->base && !m->changed[i])
            least += end - i * UNIT;
    }
    if (m->size)
        (void)check_parts(shm, s, UNIT, 64 * MIB, &copied);
    assert_int_equal(m->size ? copied : 0, least);
    fx_unlock(shm);
    fx_check(shm);
}

static void model_change(struct model *m, uint64_t from, uint64_t to)
{
    for (uint64_t i = from / UNIT; i * UNIT < to; i++)
        m->here[i] = m->changed[i] = true;
}

/* What a write needs is here then; what is loaded ahead counts too. */
static void model_load(struct shm *shm, uint32_t s, struct model *m, uint64_t from, uint64_t to)
{
    struct shm_patch_piece piece;

    fx_lock(shm);
    while ((piece = shm_patch_needs(shm, s, from, to)).len) {
        assert_int_equal(piece.off % UNIT, 0);
        assert_true(piece.off + piece.len <= m->base);
        for (uint64_t i = piece.off / UNIT; i * UNIT < piece.off + piece.len; i++) {
            assert_false(m->here[i]);
            m->here[i] = true;
        }
        shm_patch_loaded(shm, s, piece);
    }
    fx_unlock(shm);
}

static void model_step(struct shm *shm, uint32_t s, struct model *m, uint64_t *rand)
{
    uint64_t at = fx_below(rand, UNITS * (uint32_t)UNIT), len = 1 + fx_below(rand, 1 << 20);
    uint64_t from = min_u64(at, m->size), to = min_u64(at + len, UNITS * UNIT);

    switch (fx_below(rand, 6)) {
    case 0: /* cut */
        m->size = from;
        m->base = min_u64(m->base, from);
        fx_lock(shm);
        set_size(shm, s, m->size);
        shm_patch_cut(shm, s, m->size);
        fx_unlock(shm);
        break;
    case 1: /* published */
        for (uint64_t i = 0; i < UNITS; i++) {
            m->here[i] |= i * UNIT >= m->base && i * UNIT < m->size;
            m->changed[i] = false;
        }
        m->base = m->size;
        fx_lock(shm);
        assert_true(shm_patch_published(shm, s, m->size));
        fx_unlock(shm);
        break;
    default: /* written, perhaps behind a hole */
        model_load(shm, s, m, at, to);
        change(shm, s, from, to);
        model_change(m, from, to);
        m->size = max_u64(m->size, to);
    }
}

static void test_random(void **state)
{
    struct shm *shm = *state;
    uint64_t rand = fx_seed();
    struct model m = {.size = 9 * UNIT + 4711};
    uint32_t s = begin(shm, m.size);

    m.base = m.size;
    for (int i = 0; i < 2000; i++) {
        model_step(shm, s, &m, &rand);
        compare(shm, s, &m);
        if (m.size == 0) { /* an empty file: begin again */
            memset(&m, 0, sizeof(m));
            m.size = m.base = 1 + fx_below(&rand, UNITS * (uint32_t)UNIT);
            fx_lock(shm);
            set_size(shm, s, m.size);
            shm_patch_begin(shm, s, m.size);
            fx_unlock(shm);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_units_are_loaded_once, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_what_goes_on_behind_the_end, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_a_run_is_loaded_ahead, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_parts, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_units_of_large_files, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_has_grown_too_large, fx_setup,
                                        fx_teardown),
        cmocka_unit_test_setup_teardown(test_random, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
