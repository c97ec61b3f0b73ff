/* The table of version ids: what is kept, what is found, and what goes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "shm/shm_version_id.h"

static void told(struct shm *shm, uint32_t node, const char *key, const char *id)
{
    fx_lock(shm);
    shm_version_id_told(shm, node, key, id);
    fx_unlock(shm);
}

/* The id of the node's bytes under this key; "" if none is known. */
static const char *id_of(struct shm *shm, uint32_t node, const char *key)
{
    const struct shm_node *n = shm_node_at(shm, node);
    const struct shm_version_id *v;

    fx_lock(shm);
    v = shm_version_id_find(shm, n->bytes_node, n->content, key);
    fx_unlock(shm);
    return v ? v->id : "";
}

static uint32_t put(struct shm *shm, unsigned number)
{
    char name[16];

    snprintf(name, sizeof(name), "f%u", number);
    return fx_put(shm, SHM_ROOT, name, "1");
}

/* Other bytes, under a number of content that has the same places. */
static void next_content(struct shm *shm, uint32_t node, uint32_t content)
{
    fx_lock(shm);
    shm_node_edit(shm, node)->content = content;
    fx_unlock(shm);
}

static void test_of_one_key_and_content(void **state)
{
    struct shm *shm = *state;
    uint32_t node = put(shm, 1);

    assert_string_equal(id_of(shm, node, "p/f1"), "");
    told(shm, node, "p/f1", "v1");
    assert_string_equal(id_of(shm, node, "p/f1"), "v1");
    assert_string_equal(id_of(shm, node, "p/f2"), ""); /* renamed: it names nothing there */
    told(shm, node, "p/f1", "v2");                     /* the same bytes were put again */
    assert_string_equal(id_of(shm, node, "p/f1"), "v2");
    fx_lock(shm);
    shm_node_new_content(shm, node);
    fx_unlock(shm);
    assert_string_equal(id_of(shm, node, "p/f1"), "");
}

static void test_what_is_kept(void **state)
{
    struct shm *shm = *state;
    char id[SHM_VERSION_ID_MAX + 1];
    uint32_t node = put(shm, 1);

    told(shm, node, "p/f1", "");
    told(shm, node, "p/f1", "null");
    memset(id, 'x', sizeof(id));
    id[SHM_VERSION_ID_MAX] = '\0';
    told(shm, node, "p/f1", id);
    assert_string_equal(id_of(shm, node, "p/f1"), "");
    id[SHM_VERSION_ID_MAX - 1] = '\0';
    told(shm, node, "p/f1", id);
    assert_string_equal(id_of(shm, node, "p/f1"), id);
    told(shm, node, "p/f1", "null"); /* the one before is still there */
    assert_string_equal(id_of(shm, node, "p/f1"), id);
}

static void test_replaced(void **state)
{
    struct shm *shm = *state;
    uint32_t node = put(shm, 1), content = shm_node_at(shm, node)->content;
    const struct shm_version_id *v;

    told(shm, node, "p/f1", "v1");
    fx_lock(shm);
    v = shm_version_id_find(shm, node, content, "p/f1");
    assert_false(v->replaced);
    shm_version_id_replaced(shm, v);
    fx_unlock(shm);
    assert_true(v->replaced);
    told(shm, node, "p/f1", "v2"); /* the key has these bytes again */
    assert_false(v->replaced);
    fx_lock(shm);
    shm_version_id_forget(shm, v);
    fx_unlock(shm);
    assert_string_equal(id_of(shm, node, "p/f1"), "");
}

/* More than have a place: first goes what no node is of, then what nobody has open, the oldest
 * first; what is open stays. */
static void test_the_one_that_goes(void **state)
{
    struct shm *shm = *state;
    uint32_t node[SHM_VERSION_WAYS + 3];
    unsigned n = SHM_VERSION_WAYS;

    for (unsigned i = 0; i < n + 3; i++) {
        node[i] = put(shm, i);
        next_content(shm, node[i], 1000 + i * (SHM_VERSION_IDS / SHM_VERSION_WAYS));
    }
    for (unsigned i = 0; i < n; i++)
        told(shm, node[i], "k", "v");
    next_content(shm, node[3], 1); /* its bytes are others now */
    fx_lock(shm);
    shm_node_open(shm, node[0]);
    fx_unlock(shm);
    told(shm, node[n], "k", "v");
    for (unsigned i = 0; i <= n; i++)
        assert_string_equal(id_of(shm, node[i], "k"), i == 3 ? "" : "v");
    told(shm, node[n + 1], "k", "v");
    assert_string_equal(id_of(shm, node[0], "k"), "v");
    assert_string_equal(id_of(shm, node[1], "k"), "");
    assert_string_equal(id_of(shm, node[2], "k"), "v");
    fx_lock(shm);
    for (unsigned i = 2; i < n + 2; i++)
        shm_node_open(shm, node[i]);
    fx_unlock(shm);
    told(shm, node[n + 2], "k", "v");
    assert_string_equal(id_of(shm, node[n + 2], "k"), "");
    fx_lock(shm);
    shm_node_close(shm, node[0]);
    for (unsigned i = 2; i < n + 2; i++)
        shm_node_close(shm, node[i]);
    fx_unlock(shm);
    told(shm, node[n + 2], "k", "v");
    assert_string_equal(id_of(shm, node[n + 2], "k"), "v");
}

/* Two nodes may be of the same bytes: as long as one is open, the id stays. */
static void test_a_copy(void **state)
{
    struct shm *shm = *state;
    uint32_t a = put(shm, 1), b = put(shm, 2);
    const struct shm_version_id *v;

    fx_lock(shm);
    shm_node_edit(shm, b)->content = shm_node_at(shm, a)->content;
    shm_node_edit(shm, b)->bytes_node = a;
    shm_node_open(shm, a);
    fx_unlock(shm);
    told(shm, a, "k", "v1");
    told(shm, b, "k", "v2");
    assert_string_equal(id_of(shm, a, "k"), "v2");
    fx_lock(shm);
    v = shm_version_id_find(shm, a, shm_node_at(shm, a)->content, "k");
    assert_int_equal(v->node, a);
    shm_node_close(shm, a);
    shm_node_open(shm, b);
    shm_version_id_told(shm, b, "k", "v3");
    assert_int_equal(v->node, b);
    shm_node_close(shm, b);
    fx_unlock(shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_of_one_key_and_content, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_kept, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_replaced, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_the_one_that_goes, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_a_copy, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests_name("shm_version_id", tests, NULL, NULL);
}
