/* The ring of kernel notifications. */
#include <errno.h>
#include <string.h>

#include "shm/shm_notify.h"
#include "tests/shm/fixture.h"

static void put_inode(struct shm *shm, uint32_t node)
{
    fx_lock(shm);
    shm_notify_inode(shm, node);
    fx_unlock(shm);
}

static void put_entry(struct shm *shm, uint32_t parent, const char *name, size_t len)
{
    fx_lock(shm);
    shm_notify_entry(shm, parent, name, len);
    fx_unlock(shm);
}

/* As the notifier does it, and once more in between: the oldest stays until it has been written. */
static bool take(struct shm *shm, struct shm_notify *ret)
{
    struct shm_notify again;

    if (!shm_notify_next(shm, ret))
        return false;
    assert_true(shm_notify_next(shm, &again));
    assert_memory_equal(&again, ret, sizeof(again));
    shm_notify_written(shm);
    return true;
}

static void test_both_kinds(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");
    uint64_t id = shm_node_id(shm, dir);
    struct shm_notify n;

    assert_false(take(shm, &n));
    put_inode(shm, dir);
    put_entry(shm, dir, "name", 4);
    assert_true(take(shm, &n));
    assert_int_equal(n.kind, SHM_NOTIFY_INODE);
    assert_int_equal(n.node_id, id);
    assert_int_equal(n.n, 0);
    assert_true(take(shm, &n));
    assert_int_equal(n.kind, SHM_NOTIFY_ENTRY);
    assert_int_equal(n.node_id, id);
    assert_int_equal(n.n, 4);
    assert_string_equal(n.name, "name");
    assert_false(take(shm, &n));
    shm_notify_written(shm); /* nothing there: nothing goes */
    assert_int_equal(shm->notify->written, 2);
}

static void test_nodes(void **state)
{
    struct shm *shm = *state;
    uint64_t ids[SHM_NOTIFY_NODES + 1];
    struct shm_notify n;

    for (uint32_t i = 0; i <= SHM_NOTIFY_NODES; i++)
        ids[i] = 100 + i;
    fx_lock(shm);
    shm_notify_prune(shm, ids, 0); /* neither of these is one */
    shm_notify_prune(shm, ids, SHM_NOTIFY_NODES + 1);
    shm_notify_prune(shm, ids, SHM_NOTIFY_NODES);
    fx_unlock(shm);
    assert_true(take(shm, &n));
    assert_int_equal(n.kind, SHM_NOTIFY_PRUNE);
    assert_int_equal(n.n, SHM_NOTIFY_NODES);
    assert_memory_equal(n.nodes, ids, sizeof(n.nodes));
    assert_false(take(shm, &n));
}

static void test_long_names(void **state)
{
    struct shm *shm = *state;
    char name[SHM_NAME_MAX + 2];
    struct shm_notify n;

    fx_name(name, SHM_NAME_MAX + 1, 'n', 1);
    put_entry(shm, SHM_ROOT, name, SHM_NAME_MAX + 1); /* not a name */
    assert_false(take(shm, &n));
    put_entry(shm, SHM_ROOT, name, SHM_NAME_MAX);
    assert_true(take(shm, &n));
    name[SHM_NAME_MAX] = '\0';
    assert_string_equal(n.name, name);
}

static void test_overflow(void **state)
{
    struct shm *shm = *state;
    struct shm_notify n;

    shm->notify->head = shm->notify->tail = UINT32_MAX - 10; /* they wrap */
    for (unsigned i = 0; i < SHM_NOTIFY_SLOTS + 5; i++) {
        char name[8] = {(char)('a' + i % 26)};

        put_entry(shm, SHM_ROOT, name, 1);
    }
    assert_int_equal(shm->notify->dropped, 5);
    fx_check(shm);
    for (unsigned i = 0; i < SHM_NOTIFY_SLOTS; i++) {
        assert_true(take(shm, &n));
        assert_int_equal(n.name[0], 'a' + i % 26);
        assert_int_equal(n.name[1], 0);
    }
    assert_false(take(shm, &n));
    put_inode(shm, SHM_ROOT);
    assert_true(take(shm, &n));
    assert_int_equal(n.node_id, 1);
}

static void test_check(void **state)
{
    struct shm *shm = *state;
    struct err err;

    shm->notify->tail = shm->notify->head + SHM_NOTIFY_SLOTS + 1;
    assert_int_equal(shm_notify_check(shm, &err), -EUCLEAN);
    shm->notify->tail = shm->notify->head;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_kinds), TEST(test_nodes), TEST(test_long_names),
        TEST(test_overflow),   TEST(test_check),
    };

    return cmocka_run_group_tests_name("shm_notify", tests, NULL, NULL);
}
