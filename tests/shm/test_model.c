/* Random operations on the tables under shm->meta, against the model next door, compared and
 * checked after each. Some sections are rolled back instead of committed, as if their owner had
 * died. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shm/shm_handle.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"
#include "tests/shm/model.h"

struct run {
    struct shm *shm;
    struct model m;
    uint64_t seed;
};

static uint32_t below(struct run *r, uint32_t n)
{
    return fx_below(&r->seed, n);
}

/* A live node, SHM_NIL if chance found none. */
static uint32_t some_node(struct run *r, bool dir)
{
    for (int tries = 0; tries < 50; tries++) {
        uint32_t i = below(r, MODEL_NODES);

        if (r->m.n[i].live && (!dir || r->m.n[i].dir))
            return i;
    }
    return dir ? SHM_ROOT : SHM_NIL;
}

/* One of 40 names, some of them long, and some of these longer than elsewhere. */
static size_t some_name(struct run *r, char *name)
{
    uint32_t i = below(r, 40);
    size_t len = i % 4 ? 2 + i % 7 : i % 8 ? 73 + i * 4 : 250 + i * 20;

    fx_name(name, len, 'n', i);
    return len;
}

static void do_intern(struct run *r)
{
    const char *etags[] = {"1", "2", "3"};
    struct shm_version v = below(r, 4) ? fx_file(etags[below(r, 3)]) : fx_dir();
    uint32_t parent = some_node(r, true);
    char name[SHM_NAME_MAX + 1];
    size_t len = some_name(r, name);
    int64_t got = shm_node_intern(r->shm, parent, name, len, &v, 1);

    model_intern(&r->m, r->shm, parent, name, len, &v, got);
}

static void do_move(struct run *r)
{
    uint32_t idx = some_node(r, false), to = some_node(r, true);
    char name[SHM_NAME_MAX + 1];
    size_t len = some_name(r, name);

    if (idx == SHM_NIL || idx == SHM_ROOT)
        return;
    model_move(&r->m, r->shm, idx, to, name, len, shm_node_move(r->shm, idx, to, name, len));
}

static void do_detach(struct run *r)
{
    uint32_t idx = some_node(r, false);

    if (idx == SHM_NIL || idx == SHM_ROOT)
        return;
    shm_node_detach(r->shm, idx);
    model_detach(&r->m, idx);
}

static void do_ref(struct run *r)
{
    uint32_t idx = some_node(r, false), n = 1 + below(r, 3);

    if (idx == SHM_NIL)
        return;
    shm_node_ref(r->shm, idx, n);
    r->m.n[idx].nlookup += n;
    model_update(&r->m, idx);
}

static void do_forget(struct run *r)
{
    uint32_t idx = some_node(r, false), n = 1 + below(r, 5);

    if (idx == SHM_NIL || idx == SHM_ROOT)
        return;
    shm_node_forget(r->shm, idx, n);
    r->m.n[idx].nlookup -= n < r->m.n[idx].nlookup ? n : r->m.n[idx].nlookup;
    model_update(&r->m, idx);
}

static void do_busy(struct run *r)
{
    uint32_t idx = some_node(r, false), tag = below(r, 3);

    if (idx == SHM_NIL)
        return;
    shm_node_set_busy(r->shm, idx, tag);
    r->m.n[idx].busy = tag;
    model_update(&r->m, idx);
}

static uint32_t free_handles(const struct run *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < MODEL_HANDLES; i++)
        n += !r->m.handle[i].live;
    return n;
}

static void do_handle_new(struct run *r)
{
    uint32_t node = some_node(r, false);
    int64_t got;

    if (node == SHM_NIL)
        return;
    got = shm_handle_new(r->shm, SHM_HANDLE_FILE, node, 0);
    if (free_handles(r) == 0) {
        assert_int_equal(got, -ENFILE);
        return;
    }
    assert_in_range(got, 0, MODEL_HANDLES - 1);
    assert_false(r->m.handle[got].live);
    r->m.handle[got].live = true;
    r->m.handle[got].node = node;
    assert_int_not_equal(r->m.handle[got].fh, shm_handle_fh(r->shm, (uint32_t)got));
    r->m.handle[got].fh = shm_handle_fh(r->shm, (uint32_t)got);
    r->m.n[node].opens++;
    model_update(&r->m, node);
}

static void do_handle_free(struct run *r)
{
    uint32_t i = below(r, MODEL_HANDLES), node = r->m.handle[i].node;

    if (!r->m.handle[i].live)
        return;
    assert_int_equal(shm_handle_of_fh(r->shm, r->m.handle[i].fh, SHM_HANDLE_FILE), i);
    shm_handle_free(r->shm, i);
    assert_int_equal(shm_handle_of_fh(r->shm, r->m.handle[i].fh, SHM_HANDLE_FILE), SHM_NIL);
    r->m.handle[i].live = false;
    r->m.n[node].opens--;
    model_update(&r->m, node);
}

static void do_session_new(struct run *r)
{
    uint32_t node = some_node(r, false), room = 0;
    int64_t got;

    if (node == SHM_NIL || r->m.n[node].session != SHM_NIL)
        return;
    for (int i = 0; i < MODEL_SESSIONS; i++)
        room += r->m.session_node[i] == SHM_NIL;
    got = shm_session_new(r->shm, node);
    if (!room) {
        assert_int_equal(got, -ENFILE);
        return;
    }
    assert_in_range(got, 0, MODEL_SESSIONS - 1);
    assert_int_equal(r->m.session_node[got], SHM_NIL);
    r->m.session_node[got] = node;
    r->m.n[node].session = (uint32_t)got;
    model_update(&r->m, node);
}

static void do_session_end(struct run *r)
{
    uint32_t i = below(r, MODEL_SESSIONS), node = r->m.session_node[i];

    if (node == SHM_NIL)
        return;
    shm_session_close(r->shm, i, 0);
    shm_session_free(r->shm, i);
    r->m.session_node[i] = SHM_NIL;
    r->m.n[node].session = SHM_NIL;
    model_update(&r->m, node);
}

static void do_notify(struct run *r)
{
    uint32_t node = some_node(r, false);

    if (node == SHM_NIL)
        return;
    shm_notify_inode(r->shm, node);
    if (r->m.notifications < SHM_NOTIFY_SLOTS)
        r->m.notifications++;
}

static void (*const operations[])(struct run *r) = {
    do_intern,      do_intern,      do_intern,      do_intern,      do_intern,
    do_intern,      do_move,        do_detach,      do_ref,         do_forget,
    do_forget,      do_forget,      do_busy,        do_handle_new,  do_handle_free,
    do_handle_free, do_session_new, do_session_end, do_session_end, do_notify,
};

#define OPERATIONS (sizeof(operations) / sizeof(*operations))

/* A section of one to four operations. */
static void one_section(struct run *r)
{
    struct model before = r->m;
    bool undone = below(r, 8) == 0;

    fx_lock(r->shm);
    for (uint32_t n = 1 + below(r, 4); n; n--)
        operations[below(r, OPERATIONS)](r);
    model_compare(&r->m, r->shm);
    if (undone) {
        shm_rollback(r->shm, r->shm->meta);
        r->m = before;
        model_compare(&r->m, r->shm);
    }
    fx_unlock(r->shm);
    fx_check(r->shm);
}

/* Takes away what keeps nodes from being evicted, so that a run does not end with all of them
 * pinned. */
static void let_go(struct run *r)
{
    struct shm_notify n;

    while (shm_notify_next(r->shm, &n)) {
        shm_notify_written(r->shm);
        r->m.notifications--;
    }
    for (uint32_t i = 1; i < MODEL_NODES; i++) {
        if (!r->m.n[i].live || below(r, 3) == 0)
            continue;
        fx_lock(r->shm);
        shm_node_forget(r->shm, i, UINT64_MAX);
        r->m.n[i].nlookup = 0;
        model_update(&r->m, i);
        shm_node_set_busy(r->shm, i, 0);
        r->m.n[i].busy = 0;
        model_update(&r->m, i);
        fx_unlock(r->shm);
    }
}

static void test_random(void **state)
{
    unsigned sections = fx_under_valgrind() ? 500 : fx_under_asan() ? 8000 : 40000;
    struct run r = {.shm = *state, .seed = fx_seed()};

    model_init(&r.m);
    for (unsigned i = 0; i < sections; i++) {
        one_section(&r);
        if (i % 50 == 49)
            let_go(&r);
    }
    print_message("  %llu evictions\n", (unsigned long long)r.shm->nodes->evictions);
    assert_true(r.shm->nodes->evictions > sections / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests_name("shm_model", tests, NULL, NULL);
}
