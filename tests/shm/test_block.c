/* The pool of blocks: single flight, waiters, pins, eviction, the death of a worker. */
#include <errno.h>
#include <string.h>

#include "shm/shm_block.h"
#include "tests/shm/fixture.h"

static struct shm_block_key key(uint32_t node, uint32_t no)
{
    return (struct shm_block_key){.node = node, .content = 1, .no = no};
}

static uint32_t begin(struct shm *shm, struct shm_block_key k, uint32_t worker)
{
    uint32_t idx = shm_block_begin(shm, k, worker);

    if (idx == SHM_NIL)
        fail_msg("no block for %u/%u", k.node, k.no);
    return idx;
}

static uint32_t ready(struct shm *shm, struct shm_block_key k)
{
    uint32_t idx = begin(shm, k, 0);

    assert_int_equal(shm_block_ready(shm, idx, 100), 0);
    return idx;
}

static void test_single_flight(void **state)
{
    struct shm *shm = *state;
    uint32_t idx, got = 99;

    assert_int_equal(shm_block_get(shm, key(1, 0), 0, &got), SHM_BLOCK_MISS);
    assert_false(shm_block_known(shm, key(1, 0)));
    idx = begin(shm, key(1, 0), 0);
    assert_true(shm_block_known(shm, key(1, 0)));
    assert_int_equal(shm_block_begin(shm, key(1, 0), 1), SHM_NIL);
    assert_int_equal(shm_block_get(shm, key(1, 0), 0, &got), SHM_BLOCK_MINE);
    assert_int_equal(shm_block_get(shm, key(1, 0), 1, &got), SHM_BLOCK_BUSY);
    assert_int_equal(shm_block_get(shm, key(1, 0), 3, &got), SHM_BLOCK_BUSY);
    assert_int_equal(got, 99);
    memcpy(shm_block_data(shm, idx), "data", 4);
    assert_int_equal(shm_block_ready(shm, idx, 4), 1u << 1 | 1u << 3);
    fx_check(shm);
    assert_int_equal(shm_block_get(shm, key(1, 0), 3, &got), SHM_BLOCK_HIT);
    assert_int_equal(got, idx);
    assert_int_equal(shm_block_len(shm, got), 4);
    assert_memory_equal(shm_block_data(shm, got), "data", 4);
    shm_block_unpin(shm, got, 3);
    assert_int_equal(shm->blocks->ready, 1);
    assert_int_equal(shm->blocks->fetching, 0);
}

static void test_fail(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = begin(shm, key(1, 0), 2), got;

    assert_int_equal(shm_block_get(shm, key(1, 0), 1, &got), SHM_BLOCK_BUSY);
    assert_int_equal(shm_block_fail(shm, idx), 1u << 1);
    assert_false(shm_block_known(shm, key(1, 0)));
    assert_int_equal(shm_block_get(shm, key(1, 0), 1, &got), SHM_BLOCK_MISS);
    /* Who waited for the first fetch is not woken by the end of the second. */
    idx = begin(shm, key(1, 0), 1);
    assert_int_equal(shm_block_ready(shm, idx, 0), 0);
}

static void test_keys_differ(void **state)
{
    struct shm *shm = *state;
    struct shm_block_key keys[] = {{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2}};
    uint32_t idx[4], got;

    for (int i = 0; i < 4; i++)
        idx[i] = ready(shm, keys[i]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(shm_block_get(shm, keys[i], 0, &got), SHM_BLOCK_HIT);
        assert_int_equal(got, idx[i]);
        shm_block_unpin(shm, got, 0);
    }
}

static void test_eviction(void **state)
{
    struct shm *shm = *state;
    uint32_t got;

    for (uint32_t i = 0; i < 8; i++)
        ready(shm, key(1, i));
    ready(shm, key(1, 8)); /* a round takes the one use of each; the first goes */
    assert_false(shm_block_known(shm, key(1, 0)));
    assert_int_equal(shm_block_get(shm, key(1, 1), 0, &got), SHM_BLOCK_HIT);
    shm_block_unpin(shm, got, 0);
    ready(shm, key(1, 9)); /* the next, but it was used */
    assert_true(shm_block_known(shm, key(1, 1)));
    assert_false(shm_block_known(shm, key(1, 2)));
    assert_int_equal(shm->blocks->evictions, 2);
}

/* A block that is read again and again stays, however many pass by. */
static void test_used_blocks_stay(void **state)
{
    struct shm *shm = *state;
    uint32_t got;

    ready(shm, key(7, 0));
    for (uint32_t i = 0; i < 1000; i++) {
        ready(shm, key(1, i));
        assert_int_equal(shm_block_get(shm, key(7, 0), 0, &got), SHM_BLOCK_HIT);
        shm_block_unpin(shm, got, 0);
        fx_check(shm);
    }
}

/* A block that was read for the last time goes before those that may be read again. */
static void test_spent(void **state)
{
    struct shm *shm = *state;
    uint32_t spent = SHM_NIL;

    for (uint32_t i = 0; i < 8; i++) {
        uint32_t idx = ready(shm, key(1, i));

        if (i == 5)
            spent = idx;
    }
    shm_block_spent(shm, spent);
    assert_int_equal(ready(shm, key(2, 0)), spent);
    fx_check(shm);
}

/* None gets more than its turn: with all in use the same, each is evicted once in a round. */
static void test_clock_is_fair(void **state)
{
    struct shm *shm = *state;
    int taken[8] = {0};

    for (uint32_t i = 0; i < 8; i++)
        ready(shm, key(1, i));
    for (uint32_t i = 0; i < 800; i++)
        taken[ready(shm, key(2, i))]++;
    for (int i = 0; i < 8; i++)
        assert_in_range(taken[i], 90, 110);
}

static void test_pins(void **state)
{
    struct shm *shm = *state;
    uint32_t pinned = ready(shm, key(7, 0)), fetching = begin(shm, key(7, 1), 1), got;

    assert_int_equal(shm_block_get(shm, key(7, 0), 2, &got), SHM_BLOCK_HIT);
    assert_int_equal(shm_block_get(shm, key(7, 0), 3, &got), SHM_BLOCK_HIT);
    shm_block_unpin(shm, got, 2);
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t idx = ready(shm, key(1, i));

        assert_int_not_equal(idx, pinned);
        assert_int_not_equal(idx, fetching);
    }
    shm_block_drop(shm, key(7, 0));
    shm_block_drop(shm, key(7, 1));
    assert_true(shm_block_known(shm, key(7, 0)));
    assert_true(shm_block_known(shm, key(7, 1)));
    shm_block_unpin(shm, pinned, 3);
    shm_block_drop(shm, key(7, 0));
    assert_false(shm_block_known(shm, key(7, 0)));
    assert_true(shm_block_known(shm, key(7, 1)));
    shm_block_fail(shm, fetching);
}

static void test_drop(void **state)
{
    struct shm *shm = *state;
    struct shm_block_key other = {.node = 1, .content = 2};
    uint32_t dropped = ready(shm, key(1, 0));

    ready(shm, key(2, 0));
    ready(shm, other);
    shm_block_drop(shm, key(1, 0));
    shm_block_drop(shm, key(1, 5));
    assert_false(shm_block_known(shm, key(1, 0)));
    assert_true(shm_block_known(shm, key(2, 0)));
    assert_true(shm_block_known(shm, other));
    assert_int_equal(ready(shm, key(3, 0)), dropped); /* the next one to be taken */
}

static void test_exhausted(void **state)
{
    struct shm *shm = *state;
    uint32_t got;

    for (uint32_t i = 0; i < 4; i++)
        begin(shm, key(1, i), i);
    for (uint32_t i = 4; i < 8; i++) {
        ready(shm, key(1, i));
        assert_int_equal(shm_block_get(shm, key(1, i), 0, &got), SHM_BLOCK_HIT);
    }
    assert_int_equal(shm_block_begin(shm, key(2, 0), 0), SHM_NIL);
    assert_false(shm_block_known(shm, key(2, 0)));
    shm_block_unpin(shm, got, 0);
    assert_int_equal(begin(shm, key(2, 0), 0), got);
}

static void test_worker_gone(void **state)
{
    struct shm *shm = *state;
    uint32_t mine = begin(shm, key(1, 0), 1), theirs = begin(shm, key(1, 1), 2);
    uint32_t pinned = ready(shm, key(1, 2)), got;

    assert_int_equal(shm_block_get(shm, key(1, 0), 3, &got), SHM_BLOCK_BUSY);
    assert_int_equal(shm_block_get(shm, key(1, 1), 1, &got), SHM_BLOCK_BUSY);
    assert_int_equal(shm_block_get(shm, key(1, 1), 3, &got), SHM_BLOCK_BUSY);
    assert_int_equal(shm_block_get(shm, key(1, 2), 1, &got), SHM_BLOCK_HIT);
    assert_int_equal(shm_block_get(shm, key(1, 2), 3, &got), SHM_BLOCK_HIT);
    /* All others: it may have ended a fetch and died before it woke those who waited. */
    assert_int_equal(shm_block_worker_gone(shm, 1), 1u << 0 | 1u << 2 | 1u << 3);
    fx_check(shm);
    assert_false(shm_block_known(shm, key(1, 0)));
    assert_int_not_equal(begin(shm, key(9, 9), 0), SHM_NIL);
    assert_int_equal(shm_block_ready(shm, theirs, 1), 1u << 3);
    shm_block_drop(shm, key(1, 2));
    assert_true(shm_block_known(shm, key(1, 2))); /* worker 3 still copies */
    shm_block_unpin(shm, pinned, 3);
    shm_block_drop(shm, key(1, 2));
    assert_false(shm_block_known(shm, key(1, 2)));
    (void)mine;
}

static uint32_t put(struct shm *shm, struct shm_block_key k, const char *data, uint32_t *ret_wake)
{
    return shm_block_put(shm, k, 0, (const uint8_t *)data, (uint32_t)strlen(data), ret_wake);
}

static void assert_bytes(struct shm *shm, struct shm_block_key k, const char *want)
{
    uint32_t idx;

    assert_int_equal(shm_block_get(shm, k, 3, &idx), SHM_BLOCK_HIT);
    assert_int_equal(shm_block_len(shm, idx), strlen(want));
    assert_memory_equal(shm_block_data(shm, idx), want, strlen(want));
    shm_block_unpin(shm, idx, 3);
}

static void test_put(void **state)
{
    struct shm *shm = *state;
    uint32_t wake = 99;

    assert_false(shm_block_is_ready(shm, key(1, 0)));
    assert_int_not_equal(put(shm, key(1, 0), "bytes", &wake), SHM_NIL);
    assert_int_equal(wake, 0);
    assert_true(shm_block_is_ready(shm, key(1, 0)));
    assert_bytes(shm, key(1, 0), "bytes");
    assert_int_equal(put(shm, key(1, 0), "BYTES", &wake), SHM_NIL); /* the first stay */
    assert_int_equal(wake, 0);
    assert_bytes(shm, key(1, 0), "bytes");
    assert_int_equal(shm->blocks->ready, 1);
    assert_int_equal(shm->blocks->fetching, 0);
}

/* Whatever becomes of the fetch. */
static void test_put_while_it_is_fetched(void **state)
{
    struct shm *shm = *state;
    uint32_t fetched, got, wake;

    for (int how = 0; how < 3; how++) {
        struct shm_block_key k = key(1, (uint32_t)how);

        fetched = begin(shm, k, 1);
        assert_int_equal(shm_block_get(shm, k, 2, &got), SHM_BLOCK_BUSY);
        assert_true(shm_block_known(shm, k));
        assert_false(shm_block_is_ready(shm, k));
        assert_int_not_equal(put(shm, k, "put", &wake), fetched);
        assert_int_equal(wake, 1u << 2);
        assert_bytes(shm, k, "put");
        fx_check(shm);
        memcpy(shm_block_data(shm, fetched), "got", 3);
        if (how == 0)
            assert_int_equal(shm_block_ready(shm, fetched, 3), 0);
        else if (how == 1)
            assert_int_equal(shm_block_fail(shm, fetched), 0);
        else
            (void)shm_block_worker_gone(shm, 1);
        fx_check(shm);
        assert_bytes(shm, k, "put");
        assert_int_equal(shm->blocks->ready, how + 1);
        assert_int_equal(shm->blocks->fetching, 0);
    }
}

static void test_put_without_room(void **state)
{
    struct shm *shm = *state;
    uint32_t wake = 99;

    for (uint32_t i = 0; i < 8; i++)
        begin(shm, key(1, i), 1);
    assert_int_equal(put(shm, key(1, 3), "put", &wake), SHM_NIL);
    assert_int_equal(put(shm, key(2, 0), "put", &wake), SHM_NIL);
    assert_int_equal(wake, 0);
    assert_int_equal(shm->blocks->fetching, 8);
}

/* ---- orders ---- */

static uint32_t order(struct shm *shm, struct shm_block_key k, uint32_t worker)
{
    uint32_t idx = shm_block_order(shm, k, worker);

    assert_int_not_equal(idx, SHM_NIL);
    return idx;
}

static void test_ordered_block_is_taken_once(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = order(shm, key(1, 0), 0), got;

    assert_int_equal(shm_block_begin(shm, key(1, 0), 1), SHM_NIL);
    assert_int_equal(shm_block_get(shm, key(1, 0), 0, &got), SHM_BLOCK_BUSY);
    assert_int_equal(shm_block_get(shm, key(1, 0), 2, &got), SHM_BLOCK_BUSY);
    assert_int_equal(shm_block_take(shm, key(1, 1), 1), SHM_NIL);
    assert_int_equal(shm_block_take(shm, key(1, 0), 1), idx);
    assert_int_equal(shm_block_take(shm, key(1, 0), 1), SHM_NIL);
    assert_int_equal(shm_block_take(shm, key(1, 0), 0), SHM_NIL);
    assert_int_equal(shm_block_get(shm, key(1, 0), 1, &got), SHM_BLOCK_MINE);
    fx_check(shm);
    assert_int_equal(shm_block_ready(shm, idx, 5), 1u << 0 | 1u << 2);
    assert_int_equal(shm_block_take(shm, key(1, 0), 1), SHM_NIL);
    fx_check(shm);
}

/* Until it is taken it belongs to who ordered it, then to who took it. */
static void test_ordered_block_and_deaths(void **state)
{
    struct shm *shm = *state;
    uint32_t got;

    (void)order(shm, key(1, 0), 0);
    (void)shm_block_worker_gone(shm, 1);
    assert_int_not_equal(shm_block_take(shm, key(1, 0), 1), SHM_NIL);
    (void)shm_block_worker_gone(shm, 0);
    assert_int_equal(shm_block_get(shm, key(1, 0), 2, &got), SHM_BLOCK_BUSY);
    (void)shm_block_worker_gone(shm, 1);
    assert_int_equal(shm_block_get(shm, key(1, 0), 2, &got), SHM_BLOCK_MISS);
    (void)order(shm, key(1, 0), 0);
    (void)shm_block_worker_gone(shm, 0);
    assert_int_equal(shm_block_take(shm, key(1, 0), 1), SHM_NIL);
    assert_int_equal(shm->blocks->fetching, 0);
    fx_check(shm);
}

static void test_put_over_an_ordered_block(void **state)
{
    struct shm *shm = *state;
    uint32_t wake, got;

    (void)order(shm, key(1, 0), 0);
    assert_int_equal(shm_block_get(shm, key(1, 0), 2, &got), SHM_BLOCK_BUSY);
    assert_int_not_equal(put(shm, key(1, 0), "put", &wake), SHM_NIL);
    assert_int_equal(wake, 1u << 2);
    assert_int_equal(shm->blocks->fetching, 0);
    assert_int_equal(shm_block_take(shm, key(1, 0), 1), SHM_NIL);
    assert_bytes(shm, key(1, 0), "put");
    fx_check(shm);
}

static void test_orders_queue_up(void **state)
{
    struct shm *shm = *state;
    struct shm_order o = {.of = 7, .first = key(1, 0), .n = 2}, got;

    for (uint32_t round = 0; round < 3; round++) {
        assert_false(shm_order_look(shm, 1, &got));
        for (o.of = 0; o.of < SHM_ORDERS; o.of++)
            assert_true(shm_order_post(shm, 1, &o));
        assert_false(shm_order_post(shm, 1, &o));
        assert_false(shm_order_look(shm, 0, &got));
        assert_int_equal(shm_order_waiting(shm, 1), 2 * SHM_ORDERS);
        assert_int_equal(shm_order_waiting(shm, 0), 0);
        for (uint32_t i = 0; i < SHM_ORDERS; i++) {
            assert_true(shm_order_look(shm, 1, &got));
            assert_int_equal(got.of, i);
            assert_int_equal(got.n, 2);
            shm_order_drop(shm, 1);
        }
        shm_order_drop(shm, 1);
        fx_check(shm);
    }
}

/* What is fetched ahead stays until it is read, whatever else is read once meanwhile. */
static void test_ahead_stays(void **state)
{
    struct shm *shm = *state;
    uint32_t idx, got;

    (void)order(shm, key(2, 0), 0);
    idx = shm_block_take(shm, key(2, 0), 1);
    (void)shm_block_ready(shm, idx, 100);
    for (uint32_t i = 0; i < 14; i++)
        ready(shm, key(1, i));
    assert_int_equal(shm_block_get(shm, key(2, 0), 0, &got), SHM_BLOCK_HIT);
    shm_block_spent(shm, got);
    shm_block_unpin(shm, got, 0);
    for (uint32_t i = 0; i < 8; i++)
        ready(shm, key(3, i));
    assert_int_equal(shm_block_get(shm, key(2, 0), 0, &got), SHM_BLOCK_MISS);
}

static void test_many_keys(void **state)
{
    struct shm_sizes sizes = fx_small;
    struct shm *shm;
    uint64_t seed = fx_seed();

    (void)state;
    sizes.blocks = 37; /* not a power of two */
    shm = fx_new(&sizes);
    for (int i = 0; i < 20000; i++) {
        struct shm_block_key k = key(fx_below(&seed, 4), fx_below(&seed, 40));
        uint32_t idx, worker = fx_below(&seed, 4);

        switch (shm_block_get(shm, k, worker, &idx)) {
        case SHM_BLOCK_HIT:
            assert_int_equal(shm_block_data(shm, idx)[0], k.node * 40 + k.no);
            shm_block_unpin(shm, idx, worker);
            break;
        case SHM_BLOCK_MISS:
            if (fx_below(&seed, 4) == 0) {
                uint8_t byte = (uint8_t)(k.node * 40 + k.no);
                uint32_t wake;

                assert_int_not_equal(shm_block_put(shm, k, worker, &byte, 1, &wake), SHM_NIL);
                break;
            }
            idx = begin(shm, k, worker);
            shm_block_data(shm, idx)[0] = (uint8_t)(k.node * 40 + k.no);
            if (fx_below(&seed, 10))
                shm_block_ready(shm, idx, 1);
            else
                shm_block_fail(shm, idx);
            break;
        default:
            fail();
        }
        if (i % 100 == 0) {
            shm_block_drop(shm, key(fx_below(&seed, 4), 0));
            fx_check(shm);
        }
    }
    shm_close(shm);
}

static void test_check(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = ready(shm, key(1, 0));
    uint32_t *heads = (uint32_t *)(shm->blocks + 1);
    struct shm_block *b = (struct shm_block *)(heads + 16) + idx, good = *b;
    struct err err;

    assert_int_equal(b->key.node, 1);
#define SEEN(change)                                                                               \
    do {                                                                                           \
        change;                                                                                    \
        assert_int_equal(shm_block_check(shm, &err), -EUCLEAN);                                    \
        *b = good;                                                                                 \
        assert_int_equal(shm_block_check(shm, &err), 0);                                           \
    } while (0)
    SEEN(b->state = 3);
    SEEN(b->state = SHM_BLOCK_FREE);
    SEEN(b->state = SHM_BLOCK_FETCHING);
    SEEN(b->len = SHM_BLOCK_SIZE + 1);
    SEEN(b->waiters = 1);
    SEEN(b->ordered = 1);
    SEEN(b->hash_next = idx + 2);
    for (uint32_t other = 1; other < 50; other++) { /* some of them hash to the same chain */
        int r;

        b->key.no = other;
        r = shm_block_check(shm, &err);
        assert_true(r == 0 || r == -EUCLEAN);
    }
#undef SEEN
    *b = good;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_single_flight),
        TEST(test_fail),
        TEST(test_keys_differ),
        TEST(test_eviction),
        TEST(test_used_blocks_stay),
        TEST(test_spent),
        TEST(test_clock_is_fair),
        TEST(test_pins),
        TEST(test_drop),
        TEST(test_exhausted),
        TEST(test_worker_gone),
        TEST(test_put),
        TEST(test_put_while_it_is_fetched),
        TEST(test_put_without_room),
        TEST(test_ordered_block_is_taken_once),
        TEST(test_ordered_block_and_deaths),
        TEST(test_put_over_an_ordered_block),
        TEST(test_orders_queue_up),
        TEST(test_ahead_stays),
        cmocka_unit_test(test_many_keys),
        TEST(test_check),
    };

    return cmocka_run_group_tests_name("shm_block", tests, NULL, NULL);
}
