/* Which nodes go when the table is full, and that nothing else does. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/shm/fixture.h"
#include "tests/shm/stores.h"

/* Interns "<prefix><number>"; its index or -errno. */
static int64_t put(struct shm *shm, uint32_t parent, const char *prefix, unsigned number)
{
    struct shm_version v = fx_file("1");
    char name[SHM_NAME_MAX + 1];
    int64_t r;

    snprintf(name, sizeof(name), "%s%u", prefix, number);
    fx_lock(shm);
    r = shm_node_intern(shm, parent, name, strlen(name), &v, 1);
    if (r < 0)
        assert_int_equal(shm->meta->log_used, 0); /* it undid itself */
    fx_unlock(shm);
    return r;
}

static void fill(struct shm *shm, const char *prefix)
{
    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++)
        assert_true(put(shm, SHM_ROOT, prefix, i) >= 0);
}

static void test_order(void **state)
{
    struct shm *shm = *state;

    fill(shm, "f");
    fx_put(shm, SHM_ROOT, "f1", "1"); /* used again */
    assert_true(put(shm, SHM_ROOT, "new", 0) >= 0);
    assert_int_equal(fx_find(shm, SHM_ROOT, "f0"), SHM_NIL);
    assert_int_not_equal(fx_find(shm, SHM_ROOT, "f1"), SHM_NIL);
    assert_true(put(shm, SHM_ROOT, "new", 1) >= 0);
    assert_int_equal(fx_find(shm, SHM_ROOT, "f2"), SHM_NIL);
    assert_int_not_equal(fx_find(shm, SHM_ROOT, "f1"), SHM_NIL);
    assert_int_equal(shm->nodes->evictions, 2);
}

/* A node that no name maps to any more goes before all others. */
static void test_detached_first(void **state)
{
    struct shm *shm = *state;
    uint32_t idx = fx_put(shm, SHM_ROOT, "again", "1");
    uint64_t id = shm_node_id(shm, idx);

    fx_ref(shm, idx, 1);
    fill(shm, "f");
    fx_put(shm, SHM_ROOT, "again", "2"); /* evicts f0 */
    assert_int_equal(fx_find(shm, SHM_ROOT, "f0"), SHM_NIL);
    fx_forget(shm, idx, 1); /* the youngest of the list, were it current */
    assert_true(put(shm, SHM_ROOT, "new", 0) >= 0);
    assert_int_equal(shm_node_of_id(shm, id), SHM_NIL);
    assert_int_not_equal(fx_find(shm, SHM_ROOT, "f1"), SHM_NIL);
}

static void test_pinned_stay(void **state)
{
    struct shm *shm = *state;
    uint32_t dir, kept[4];
    uint64_t id[4];

    dir = fx_mkdir(shm, SHM_ROOT, "dir");
    kept[0] = fx_put(shm, dir, "child", "1"); /* so dir stays as well */
    fx_ref(shm, kept[0], 1);
    kept[1] = fx_put(shm, SHM_ROOT, "open", "1");
    kept[2] = fx_put(shm, SHM_ROOT, "busy", "1");
    kept[3] = fx_put(shm, SHM_ROOT, "session", "1");
    fx_lock(shm);
    shm_node_open(shm, kept[1]);
    shm_node_set_busy(shm, kept[2], 1);
    shm_node_set_session(shm, kept[3], 0);
    fx_unlock(shm);
    for (int i = 0; i < 4; i++)
        id[i] = shm_node_id(shm, kept[i]);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(put(shm, SHM_ROOT, "f", i) >= 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(shm_node_of_id(shm, id[i]), kept[i]);
    assert_int_equal(fx_find(shm, SHM_ROOT, "dir"), dir);
    assert_int_equal(fx_find(shm, dir, "child"), kept[0]);
    fx_lock(shm);
    shm_node_set_session(shm, kept[3], SHM_NIL);
    fx_unlock(shm);
}

/* All pinned: an error, nothing changed; and it works again as soon as one is let go. */
static void test_exhausted(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("2");
    uint32_t first;

    fill(shm, "f");
    for (uint32_t i = 1; i < shm->header->sizes.nodes; i++)
        fx_ref(shm, i, 1);
    assert_int_equal(shm->nodes->evictable, 0);
    assert_int_equal(put(shm, SHM_ROOT, "new", 0), -ENOMEM);
    first = fx_find(shm, SHM_ROOT, "f0");
    fx_lock(shm); /* a new version of a known name: the old one stays in place */
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, "f0", 2, &v, 1), -ENOMEM);
    fx_unlock(shm);
    assert_int_equal(fx_find(shm, SHM_ROOT, "f0"), first);
    fx_check(shm);
    fx_forget(shm, first, 1);
    assert_true(put(shm, SHM_ROOT, "new", 0) >= 0);
}

/* A failure within a section takes back its own changes, not those before it. */
static void test_exhausted_in_section(void **state)
{
    struct shm *shm = *state;
    struct shm_version v = fx_file("1");
    uint32_t first;

    fill(shm, "f");
    for (uint32_t i = 1; i < shm->header->sizes.nodes; i++)
        fx_ref(shm, i, 1);
    first = fx_find(shm, SHM_ROOT, "f0");
    fx_lock(shm);
    shm_node_ref(shm, first, 5);
    assert_int_equal(shm_node_intern(shm, SHM_ROOT, "new", 3, &v, 1), -ENOMEM);
    fx_unlock(shm);
    assert_int_equal(shm_node_at(shm, first)->nlookup, 6);
}

/* The directory of the new node is evictable itself, and the only one. */
static void test_parent_is_kept(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir");

    fill(shm, "f");
    for (uint32_t i = 1; i < shm->header->sizes.nodes; i++) {
        if (i != dir)
            fx_ref(shm, i, 1);
    }
    assert_int_equal(shm->nodes->evictable, 1);
    assert_int_equal(put(shm, dir, "new", 0), -ENOMEM);
    fx_check(shm);
    fx_forget(shm, fx_find(shm, SHM_ROOT, "f3"), 1);
    assert_true(put(shm, dir, "new", 0) >= 0);
    assert_int_equal(fx_find(shm, SHM_ROOT, "dir"), dir);
}

/* A directory goes after its last entry. */
static void test_directories_follow(void **state)
{
    struct shm *shm = *state;
    uint32_t a = fx_mkdir(shm, SHM_ROOT, "a"), b = fx_mkdir(shm, a, "b");
    uint32_t leaf = fx_put(shm, b, "leaf", "1");
    uint64_t ids[] = {shm_node_id(shm, a), shm_node_id(shm, b), shm_node_id(shm, leaf)};

    for (unsigned i = 0; i < 500; i++) {
        assert_true(put(shm, SHM_ROOT, "f", i) >= 0);
        fx_check(shm);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(shm_node_of_id(shm, ids[i]), SHM_NIL);
}

static void test_listing_is_no_longer_complete(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir"), content;

    fx_put(shm, dir, "child", "1");
    fx_ref(shm, dir, 1);
    fx_lock(shm);
    shm_node_edit(shm, dir)->flags |= SHM_NODE_COMPLETE;
    fx_unlock(shm);
    content = shm_node_at(shm, dir)->content;
    for (unsigned i = 0; i < 62; i++)
        assert_true(put(shm, SHM_ROOT, "f", i) >= 0);
    assert_int_equal(fx_find(shm, dir, "child"), SHM_NIL);
    assert_false(shm_node_at(shm, dir)->flags & SHM_NODE_COMPLETE);
    assert_int_equal(shm_node_at(shm, dir)->content, content); /* its pages are still true */
    fx_forget(shm, dir, 1);
}

/* An id or a content number never comes back for another node. */
static void test_reuse_is_told(void **state)
{
    struct shm *shm = *state;
    uint32_t last = 0;

    for (unsigned i = 0; i < 5000; i++) {
        int64_t idx = put(shm, SHM_ROOT, "f", i);
        const struct shm_node *n = shm_node_at(shm, (uint32_t)idx);

        assert_true(n->content > last);
        last = n->content;
        assert_true(n->generation >= i / shm->header->sizes.nodes);
    }
}

/* The number that tells reuses apart may wrap. */
static void test_generation_wraps(void **state)
{
    struct shm *shm = *state;
    uint64_t old;
    uint32_t idx;

    fill(shm, "f");
    idx = fx_find(shm, SHM_ROOT, "f0");
    store_node(shm, idx)->generation =
        UINT32_MAX; /* f0 is in the root's chain: no child depends on it */
    old = shm_node_id(shm, idx);
    assert_int_equal(put(shm, SHM_ROOT, "new", 0), idx);
    assert_int_equal(shm_node_at(shm, idx)->generation, 0);
    assert_int_equal(shm_node_of_id(shm, old), SHM_NIL);
    assert_int_equal(shm_node_of_id(shm, shm_node_id(shm, idx)), idx);
    assert_int_not_equal(shm_node_id(shm, idx), 0);
    assert_int_not_equal(shm_node_id(shm, idx), 1);
    fx_mkdir(shm, SHM_ROOT, "d");
    fx_check(shm);
}

/* ---- long names ---- */

static int64_t put_name(struct shm *shm, size_t len, unsigned number)
{
    struct shm_version v = fx_file("1");
    char name[SHM_NAME_MAX + 1];
    int64_t r;

    fx_name(name, len, 'l', number);
    fx_lock(shm);
    r = shm_node_intern(shm, SHM_ROOT, name, len, &v, 1);
    if (r < 0)
        assert_int_equal(shm->meta->log_used, 0);
    fx_unlock(shm);
    return r;
}

static int64_t put_long(struct shm *shm, unsigned number)
{
    size_t len = SHM_NAME_INLINE + 1 + number % (SHM_NAME_LONG - SHM_NAME_INLINE);

    return put_name(shm, len, number);
}

static int64_t put_longest(struct shm *shm, unsigned number)
{
    return put_name(shm, SHM_NAME_LONG + 1 + number % (SHM_NAME_MAX - SHM_NAME_LONG), number);
}

/* There are fewer long names than nodes: nodes that have one go though others are free. */
static void test_long_names_run_out(void **state)
{
    struct shm *shm = *state;

    for (unsigned i = 0; i < 1000; i++) {
        assert_true(put_long(shm, i) >= 0);
        if (i % 100 == 0)
            fx_check(shm);
    }
    assert_int_equal(shm->nodes->live, 1 + shm->header->sizes.long_names);
    assert_int_equal(shm->nodes->names[SHM_NAMES_LONG].fresh, shm->header->sizes.long_names);
    assert_int_equal(shm->nodes->names[SHM_NAMES_LONGEST].fresh, 0);
}

/* The longest have a pool of their own: they take nothing from the others, and the other way
 * round. */
static void test_longest_names_run_out(void **state)
{
    struct shm *shm = *state;
    uint32_t total = shm->header->sizes.longest_names;
    uint32_t first = (uint32_t)put_long(shm, 0);

    for (unsigned i = 0; i < 2000; i++) {
        assert_true(put_longest(shm, i) >= 0);
        if (i % 200 == 0)
            fx_check(shm);
    }
    assert_int_equal(put_long(shm, 0), first);
    assert_int_equal(shm->nodes->live, 2 + total);
    assert_int_equal(shm->nodes->names[SHM_NAMES_LONGEST].fresh, total);
    for (unsigned i = 0; i < total; i++)
        fx_ref(shm, (uint32_t)put_longest(shm, i), 1);
    assert_int_equal(put_longest(shm, 3000), -ENOMEM);
    assert_true(put_long(shm, 3000) >= 0);
    fx_check(shm);
}

static void test_long_names_pinned(void **state)
{
    struct shm *shm = *state;
    uint32_t total = shm->header->sizes.long_names;
    uint32_t idx[8], file = fx_put(shm, SHM_ROOT, "file", "1");
    uint64_t evictions;
    char name[SHM_NAME_MAX + 1];

    assert_int_equal(total, 8);
    for (unsigned i = 0; i < total; i++) {
        idx[i] = (uint32_t)put_long(shm, i);
        fx_ref(shm, idx[i], 1);
    }
    fx_name(name, 100, 'x', 1);
    evictions = shm->nodes->evictions;
    assert_int_equal(put_long(shm, 100), -ENOMEM);
    fx_lock(shm);
    assert_int_equal(shm_node_move(shm, file, SHM_ROOT, name, 100), -ENOMEM);
    fx_unlock(shm);
    assert_int_equal(fx_find(shm, SHM_ROOT, "file"), file);
    assert_int_equal(shm->nodes->evictions, evictions);
    fx_check(shm);

    fx_lock(shm); /* a node that has one keeps it: no second is needed */
    assert_int_equal(shm_node_move(shm, idx[2], SHM_ROOT, name, 100), 0);
    fx_unlock(shm);
    fx_forget(shm, idx[5], 1);
    assert_true(put_long(shm, 100) >= 0);
    assert_int_equal(put_long(shm, 101), put_long(shm, 101));
    fx_check(shm);
    fx_lock(shm); /* moving evicts as well */
    assert_int_equal(shm_node_move(shm, file, SHM_ROOT, name, 99), 0);
    fx_unlock(shm);
    assert_int_equal(fx_find(shm, SHM_ROOT, "file"), SHM_NIL);
}

static void test_no_long_names_at_all(void **state)
{
    struct shm_sizes sizes = fx_small;
    struct shm *shm;

    (void)state;
    sizes.long_names = sizes.longest_names = 0;
    shm = fx_new(&sizes);
    assert_int_equal(put_long(shm, 1), -ENOMEM);
    assert_int_equal(put_longest(shm, 1), -ENOMEM);
    fx_check(shm);
    shm_close(shm);
}

/* A search looks at so many only, and the next one goes on where it stopped. */
static void test_long_name_search_is_bounded(void **state)
{
    struct shm_sizes sizes = fx_small;
    uint32_t last = 0;
    struct shm *shm;
    int tries = 0;

    (void)state;
    sizes.nodes = 4096;
    sizes.long_names = 3000;
    shm = fx_new(&sizes);
    for (unsigned i = 0; i < 3000; i++) {
        last = (uint32_t)put_long(shm, i);
        fx_ref(shm, last, 1);
    }
    fx_forget(shm, last, 1);
    while (put_long(shm, 5000) < 0)
        assert_true(++tries < 3);
    assert_int_equal(tries, 2);
    fx_check(shm);
    shm_close(shm);
}

/* ---- pressure ---- */

#define MANY 1000000u

/* A million names through 64 nodes, a tenth of them long, in directories that come and go. */
static void test_a_million_names(void **state)
{
    struct shm *shm = *state;
    unsigned many = fx_under_valgrind() ? MANY / 50 : MANY;
    char name[16];
    uint32_t dir = SHM_ROOT;

    for (unsigned i = 0; i < many; i++) {
        if (i % 17 == 0) {
            snprintf(name, sizeof(name), "d%u", i);
            dir = fx_mkdir(shm, i % 3 ? SHM_ROOT : dir, name);
            fx_ref(shm, dir, 1);
        }
        assert_true((i % 10   ? put(shm, dir, "f", i)
                     : i % 20 ? put_long(shm, i)
                              : put_longest(shm, i)) >= 0);
        if (i % 17 == 16)
            fx_forget(shm, dir, 1);
        assert_true(shm->nodes->live <= shm->header->sizes.nodes);
        if (i % 1000 == 0)
            fx_check(shm);
    }
    assert_true(shm->nodes->evictions > many - 100);
}

/* A directory whose time was forgotten with its node shows no earlier one than it had. */
static void test_times_of_directories(void **state)
{
    struct shm *shm = *state;
    uint32_t dir = fx_mkdir(shm, SHM_ROOT, "dir"), other = fx_mkdir(shm, SHM_ROOT, "other");
    int64_t before = shm_node_at(shm, other)->mtime_ns;

    fx_lock(shm);
    shm_node_names_changed(shm, dir, 1000);
    shm_node_names_changed(shm, SHM_NIL, 2000);
    fx_unlock(shm);
    assert_int_equal(shm_node_at(shm, dir)->mtime_ns, 1000);
    assert_int_equal(shm_node_at(shm, dir)->ctime_ns, 1000);
    assert_int_equal(shm_node_at(shm, other)->mtime_ns, before);
    fill(shm, "f");
    for (unsigned i = 0; fx_find(shm, SHM_ROOT, "dir") != SHM_NIL; i++)
        assert_true(put(shm, SHM_ROOT, "new", i) >= 0);
    assert_int_equal(shm_node_at(shm, fx_mkdir(shm, SHM_ROOT, "dir"))->mtime_ns, 1000);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_detached_first),
        TEST(test_pinned_stay),
        TEST(test_exhausted),
        TEST(test_exhausted_in_section),
        TEST(test_parent_is_kept),
        TEST(test_directories_follow),
        TEST(test_listing_is_no_longer_complete),
        TEST(test_reuse_is_told),
        TEST(test_generation_wraps),
        TEST(test_times_of_directories),
        TEST(test_long_names_run_out),
        TEST(test_longest_names_run_out),
        TEST(test_long_names_pinned),
        cmocka_unit_test(test_no_long_names_at_all),
        cmocka_unit_test(test_long_name_search_is_bounded),
        TEST(test_a_million_names),
    };

    return cmocka_run_group_tests_name("shm_node_evict", tests, NULL, NULL);
}
