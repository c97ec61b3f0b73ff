/* How much of the undo log each call needs, at its worst: full tables, neighbours on all sides,
 * long names, evictions. What one request does in one section must fit many times over. */
#include <stdio.h>
#include <string.h>

#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"
#include "tests/shm/fixture.h"

#define LONG_LEN SHM_NAME_MAX

static uint32_t put_long(struct shm *shm, uint32_t parent, char c, unsigned number,
                         const char *etag)
{
    char name[SHM_NAME_MAX + 1];

    fx_name(name, LONG_LEN, c, number);
    return fx_put(shm, parent, name, etag);
}

/* A full table. The least recently used node is the only one in its directory, and so is one with
 * the long name that is evicted first; so each eviction makes a directory evictable. In between
 * lie "from" and "to" (empty), a directory with one entry, and a long name in "to". */
struct full {
    uint32_t to, moved, replaced;
};

static struct full fill(struct shm *shm)
{
    struct full f;
    uint32_t dir;
    char name[16];

    dir = fx_mkdir(shm, SHM_ROOT, "of the first");
    put_long(shm, dir, 'v', 1, "1"); /* the hand of long names begins here */
    dir = fx_mkdir(shm, SHM_ROOT, "of the last");
    fx_put(shm, dir, "last", "1");
    fx_mkdir(shm, SHM_ROOT, "neighbour");
    dir = fx_mkdir(shm, SHM_ROOT, "from");
    f.moved = put_long(shm, dir, 'm', 1, "1");
    f.to = fx_mkdir(shm, SHM_ROOT, "to");
    f.replaced = put_long(shm, f.to, 'r', 1, "1");
    for (unsigned i = 3; i < shm->header->sizes.longest_names; i++)
        put_long(shm, SHM_ROOT, 'l', i, "1");
    for (unsigned i = 0; shm->nodes->live < shm->header->sizes.nodes; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        fx_put(shm, SHM_ROOT, name, "1");
    }
    /* Used: not the oldest any more. "last" is, and then the neighbour. */
    put_long(shm, fx_find(shm, SHM_ROOT, "of the first"), 'v', 1, "1");
    return f;
}

static void begin(struct shm *shm)
{
    fx_lock(shm);
}

/* Ends the section, undone, and returns what it used. */
static uint32_t end(struct shm *shm, const char *what)
{
    uint32_t used = shm->meta->log_used;

    shm_rollback(shm, shm->meta);
    fx_unlock(shm);
    fx_check(shm);
    if (what)
        print_message("  %-28s %5u bytes\n", what, used);
    return used;
}

static int64_t intern_long(struct shm *shm, uint32_t parent, char c)
{
    struct shm_version v = fx_file("2");
    char name[SHM_NAME_MAX + 1];

    fx_name(name, LONG_LEN, c, 1);
    return shm_node_intern(shm, parent, name, LONG_LEN, &v, 1);
}

static void test_intern(void **state)
{
    struct shm *shm = *state;
    struct full f = fill(shm);
    uint64_t evictions = shm->nodes->evictions;

    begin(shm);
    assert_true(intern_long(shm, f.to, 'x') >= 0);
    assert_int_equal(shm->nodes->evictions, evictions + 2);
    assert_in_range(end(shm, "intern, new, evicting"), 4096, 8192);

    fx_ref(shm, f.replaced, 1); /* not to be the first that is evicted */
    begin(shm);
    assert_true(intern_long(shm, f.to, 'r') >= 0);
    assert_int_equal(shm->nodes->evictions, evictions + 2);
    assert_in_range(end(shm, "intern, replacing, evicting"), 4096, 8192);
}

static void test_move(void **state)
{
    struct shm *shm = *state;
    struct full f = fill(shm);
    char name[SHM_NAME_MAX + 1];

    fx_name(name, LONG_LEN, 'r', 1);
    begin(shm);
    assert_int_equal(shm_node_move(shm, f.moved, f.to, name, LONG_LEN), 0);
    assert_in_range(end(shm, "move, replacing"), 2048, 8192);

    begin(shm);
    f.moved = shm_node_find(shm, SHM_ROOT, "n5", 2);
    assert_int_equal(shm_node_move(shm, f.moved, f.to, name, LONG_LEN), 0);
    assert_in_range(end(shm, "move, evicting a long name"), 4096, 8192);
}

static void test_others(void **state)
{
    struct shm *shm = *state;
    struct full f = fill(shm);
    int64_t session, handle;

    begin(shm);
    shm_node_detach(shm, f.replaced);
    assert_in_range(end(shm, "detach"), 1, 2048);
    begin(shm);
    shm_node_ref(shm, f.replaced, 1);
    assert_in_range(end(shm, "ref"), 1, 1024);
    begin(shm);
    session = shm_session_new(shm, f.replaced);
    assert_true(session >= 0);
    assert_in_range(end(shm, "session_new"), 1, 2400);
    begin(shm);
    session = shm_session_new(shm, f.replaced);
    assert_true(session >= 0);
    shm_session_set_xattr(shm, (uint32_t)session, "x");
    assert_in_range(end(shm, "session_set_xattr"), 1024, 6144);
    begin(shm);
    handle = shm_handle_new(shm, SHM_HANDLE_FILE, f.replaced, 0);
    assert_true(handle >= 0);
    assert_in_range(end(shm, "handle_new"), 1, 2048);
    begin(shm);
    shm_node_list_stale(shm, SHM_ROOT);
    assert_in_range(end(shm, "list_stale"), 1, 512);
    begin(shm);
    shm_notify_entry(shm, f.to, "name", 4);
    assert_in_range(end(shm, "notify"), 1, 512);
}

/* A CREATE that replaces a node, begins a session, notes the process, tells the kernel and stores
 * its answer, and a RENAME on top: more than any request does in one section. */
static void test_one_request(void **state)
{
    struct shm *shm = *state;
    struct full f = fill(shm);
    struct shm_record *rec = &shm_arena_of(shm, 0)->current;
    int64_t node, session, handle;
    uint32_t used;

    begin(shm);
    node = intern_long(shm, f.to, 'r');
    assert_true(node >= 0);
    shm_node_ref(shm, (uint32_t)node, 1);
    session = shm_session_new(shm, (uint32_t)node);
    assert_true(session >= 0);
    assert_non_null(shm_session_pid(shm, (uint32_t)session, 1, 1, 1));
    shm_session_edit(shm, (uint32_t)session)->size = 1;
    handle = shm_handle_new(shm, SHM_HANDLE_FILE, (uint32_t)node, 0);
    assert_true(handle >= 0);
    shm_handle_edit(shm, (uint32_t)handle)->session = (uint32_t)session;
    shm_node_list_stale(shm, f.to);
    shm_notify_entry(shm, f.to, "name", 4);
    shm_notify_inode(shm, (uint32_t)node);
    shm_save(shm, shm->meta, rec, sizeof(*rec));
    shm_save(shm, shm->meta, rec, sizeof(*rec));
    assert_int_equal(shm_node_move(shm, (uint32_t)node, SHM_ROOT, "elsewhere", 9), 0);
    shm_node_list_stale(shm, SHM_ROOT);
    used = end(shm, "all of one request");
    assert_in_range(used, 8192, SHM_UNDO_MAX / 3);
}

/* The block table has a lock, and a log, of its own. */
static void test_block(void **state)
{
    struct shm *shm = *state;
    struct shm_block_key key = {.node = 1};
    uint32_t most = 0;

    for (; key.no < 100; key.no++) {
        uint32_t idx = shm_block_begin(shm, key, 0);

        assert_int_not_equal(idx, SHM_NIL);
        shm_block_ready(shm, idx, 1);
    }
    shm_lock(shm, &shm->blocks->lock);
    for (size_t i = 0; i < SHM_UNDO_MAX; i++) {
        if (shm->blocks->lock.log[i])
            most = (uint32_t)i + 1;
    }
    shm_unlock(shm, &shm->blocks->lock);
    print_message("  %-28s %5u bytes\n", "block_begin, evicting", most);
    assert_in_range(most, 1, 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_intern, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_move, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_others, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_one_request, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_block, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests_name("shm_undo", tests, NULL, NULL);
}
