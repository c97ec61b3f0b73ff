/* Open files and directories. */
#include <errno.h>
#include <string.h>

#include "shm/shm_handle.h"
#include "tests/shm/fixture.h"
#include "tests/shm/stores.h"

static int64_t open_one(struct shm *shm, enum shm_handle_kind kind, uint32_t node)
{
    int64_t r;

    fx_lock(shm);
    r = shm_handle_new(shm, kind, node, 7);
    fx_unlock(shm);
    return r;
}

static void release(struct shm *shm, uint32_t idx)
{
    fx_lock(shm);
    shm_handle_free(shm, idx);
    fx_unlock(shm);
}

static void test_life(void **state)
{
    struct shm *shm = *state;
    uint32_t node = fx_put(shm, SHM_ROOT, "name", "1");
    int64_t idx = open_one(shm, SHM_HANDLE_FILE, node);
    const struct shm_handle *h = shm_handle_at(shm, (uint32_t)idx);
    uint64_t fh = shm_handle_fh(shm, (uint32_t)idx);

    assert_true(idx >= 0);
    assert_int_equal(h->node, node);
    assert_int_equal(h->flags, 7);
    assert_int_equal(h->session, SHM_NIL);
    assert_int_equal(shm_node_at(shm, node)->opens, 1);
    assert_int_equal(shm->nodes->evictable, 0);
    assert_int_equal(shm_handle_of_fh(shm, fh, SHM_HANDLE_FILE), idx);
    assert_int_equal(shm_handle_of_fh(shm, fh, SHM_HANDLE_DIR), SHM_NIL);
    fx_check(shm);
    release(shm, (uint32_t)idx);
    release(shm, (uint32_t)idx); /* once */
    assert_int_equal(shm_node_at(shm, node)->opens, 0);
    assert_int_equal(shm->nodes->evictable, 1);
    assert_int_equal(shm->handles->live, 0);
    assert_int_equal(shm_handle_of_fh(shm, fh, SHM_HANDLE_FILE), SHM_NIL);
}

/* The fh of a closed file does not name the next one. */
static void test_reuse_is_told(void **state)
{
    struct shm *shm = *state;
    uint32_t node = fx_put(shm, SHM_ROOT, "name", "1");
    uint32_t idx = (uint32_t)open_one(shm, SHM_HANDLE_FILE, node);
    uint64_t fh = shm_handle_fh(shm, idx);

    store_handle(shm, idx)->stream[0].window = 5;
    memcpy(store_handle(shm, idx)->start, "x", 2);
    release(shm, idx);
    assert_int_equal(open_one(shm, SHM_HANDLE_DIR, SHM_ROOT), idx);
    assert_int_not_equal(shm_handle_fh(shm, idx), fh);
    assert_int_equal(shm_handle_of_fh(shm, fh, SHM_HANDLE_FILE), SHM_NIL);
    assert_int_equal(shm_handle_of_fh(shm, fh, SHM_HANDLE_DIR), SHM_NIL);
    assert_int_equal(shm_handle_at(shm, idx)->stream[0].window, 0);
    assert_int_equal(shm_handle_at(shm, idx)->start[0], 0);
    release(shm, idx);
}

/* Where the page of a directory starts: in the handle, or beside it. */
static void test_starts(void **state)
{
    struct shm *shm = *state;
    uint32_t one = (uint32_t)open_one(shm, SHM_HANDLE_DIR, SHM_ROOT);
    uint32_t two = (uint32_t)open_one(shm, SHM_HANDLE_DIR, SHM_ROOT);
    static const size_t lens[] = {0, 1, SHM_START_INLINE, SHM_START_INLINE + 1, SHM_START_MAX, 7};
    char start[SHM_START_MAX], other[SHM_START_MAX];

    memset(other, 'o', sizeof(other));
    fx_lock(shm);
    shm_handle_set_start(shm, two, other, sizeof(other));
    fx_unlock(shm);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        memset(start, 'a' + (int)i, sizeof(start));
        fx_lock(shm);
        shm_handle_set_start(shm, one, start, lens[i]);
        fx_unlock(shm);
        assert_int_equal(shm_handle_at(shm, one)->start_len, lens[i]);
        assert_memory_equal(shm_handle_start(shm, one), start, lens[i]);
        assert_memory_equal(shm_handle_start(shm, two), other, sizeof(other));
        fx_check(shm);
    }
    store_handle(shm, one)->start_len = SHM_START_MAX + 1;
    assert_int_equal(shm_handle_check(shm, NULL), -EUCLEAN);
    store_handle(shm, one)->start_len = 0;
}

static void test_full(void **state)
{
    struct shm *shm = *state;
    uint32_t node = fx_put(shm, SHM_ROOT, "name", "1");
    uint32_t total = shm->header->sizes.handles;

    for (uint32_t i = 0; i < total; i++)
        assert_int_equal(open_one(shm, SHM_HANDLE_FILE, node), i);
    assert_int_equal(open_one(shm, SHM_HANDLE_FILE, node), -ENFILE);
    assert_int_equal(shm_node_at(shm, node)->opens, total);
    fx_check(shm);
    release(shm, 3);
    release(shm, 9);
    fx_check(shm);
    assert_int_equal(open_one(shm, SHM_HANDLE_FILE, node), 9);
    assert_int_equal(open_one(shm, SHM_HANDLE_DIR, SHM_ROOT), 3);
    assert_int_equal(open_one(shm, SHM_HANDLE_FILE, node), -ENFILE);
    for (uint32_t i = 0; i < total; i++)
        release(shm, i);
    assert_int_equal(shm_node_at(shm, node)->opens, 0);
}

static void test_strange_fh(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = (uint32_t)open_one(shm, SHM_HANDLE_DIR, SHM_ROOT);
    const uint64_t strange[] = {0,
                                1,
                                UINT64_MAX,
                                shm->header->sizes.handles,
                                shm_handle_fh(shm, idx) + 1,
                                shm_handle_fh(shm, idx) + (UINT64_C(1) << 32),
                                shm_handle_fh(shm, idx) | UINT32_MAX};

    for (size_t i = 0; i < sizeof(strange) / sizeof(*strange); i++)
        assert_int_equal(shm_handle_of_fh(shm, strange[i], SHM_HANDLE_DIR), SHM_NIL);
    release(shm, idx);
}

static void test_check(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = (uint32_t)open_one(shm, SHM_HANDLE_DIR, SHM_ROOT);
    struct shm_handle *h = store_handle(shm, idx), good = *h;
    struct err err;

    h->kind = SHM_HANDLE_FREE;
    assert_int_equal(shm_handle_check(shm, &err), -EUCLEAN);
    h->kind = 3;
    assert_int_equal(shm_handle_check(shm, &err), -EUCLEAN);
    *h = good;
    h->node = SHM_NIL;
    assert_int_equal(shm_handle_check(shm, &err), -EUCLEAN);
    h->node = 5;
    assert_int_equal(shm_handle_check(shm, &err), -EUCLEAN);
    *h = good;
    shm->handles->free_handle = idx + 1;
    assert_int_equal(shm_handle_check(shm, &err), -EUCLEAN);
    shm->handles->free_handle = 0;
    shm->handles->fresh_handle++;
    assert_int_equal(shm_handle_check(shm, &err), -EUCLEAN);
    shm->handles->fresh_handle--;
    release(shm, idx);
    h->next_free = idx + 1; /* a ring */
    assert_int_equal(shm_handle_check(shm, &err), -EUCLEAN);
    h->next_free = 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_life),   TEST(test_reuse_is_told), TEST(test_full),
        TEST(test_starts), TEST(test_strange_fh),    TEST(test_check),
    };

    return cmocka_run_group_tests_name("shm_handle", tests, NULL, NULL);
}
