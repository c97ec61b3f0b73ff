/* Four processes at work on all tables, one of them killed every moment and replaced, a thousand
 * times. What a process holds is noted in its arena, in the same section in which it gets it; so
 * in the end everything can be given back, and nothing may be left over. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"
#include "tests/shm/fixture.h"

#define WORKERS 4
#define KILLS 1000
#define REFS_MAX 40
#define HANDLES_MAX 6
#define SESSIONS_MAX 2
#define TIMEOUT_S 120

static const struct shm_sizes storm_sizes = {
    .workers = WORKERS,
    .nodes = 256,
    .long_names = 24,
    .longest_names = 8,
    .handles = 32,
    .sessions = 6,
    .records = 1,
    .blocks = 8,
    .payload = SHM_PAYLOAD_MIN,
};

/* In arena->reply, which survives. */
struct held {
    uint64_t seed;
    uint64_t operations;
    uint32_t n_refs, n_handles, n_sessions;
    uint32_t busy; /* node, SHM_NIL */
    struct {
        uint64_t id;
        uint64_t count;
        uint32_t node;
    } ref[REFS_MAX];
    struct {
        uint64_t fh;
        uint32_t idx;
    } handle[HANDLES_MAX];
    uint32_t session[SESSIONS_MAX];
};

struct storm {
    struct shm *shm;
    uint32_t slot;
    struct held *held;
};

static struct held *held_of(struct shm *shm, uint32_t slot)
{
    return (struct held *)shm_arena_of(shm, slot)->reply;
}

static uint32_t below(struct storm *s, uint32_t n)
{
    return fx_below(&s->held->seed, n);
}

/* In a worker an assertion of cmocka would jump into the parent's test: say it and end. */
static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "storm: %s\n", what);
    _exit(1);
}

/* Saves what is held and returns it: the lock is held. */
static struct held *edit(struct storm *s)
{
    shm_save(s->shm, s->shm->meta, s->held, sizeof(*s->held));
    return s->held;
}

/* ---- what workers do: each is one section ---- */

static void hold_ref(struct storm *s, uint32_t node)
{
    struct held *h = edit(s);
    uint32_t i = 0;

    while (i < h->n_refs && h->ref[i].node != node)
        i++;
    if (i == REFS_MAX)
        return;
    if (i == h->n_refs) {
        h->ref[i].node = node;
        h->ref[i].id = shm_node_id(s->shm, node);
        h->ref[i].count = 0;
        h->n_refs++;
    }
    shm_node_ref(s->shm, node, 1);
    h->ref[i].count++;
}

static uint32_t some_dir(struct storm *s)
{
    struct held *h = s->held;
    uint32_t node = SHM_ROOT;

    if (h->n_refs && below(s, 2))
        node = h->ref[below(s, h->n_refs)].node;
    return shm_node_at(s->shm, node)->flags & SHM_NODE_DIR ? node : SHM_ROOT;
}

static void do_intern(struct storm *s)
{
    struct shm_version v = below(s, 5) ? fx_file(below(s, 3) ? "1" : "2") : fx_dir();
    uint32_t i = below(s, 200);
    char name[SHM_NAME_MAX + 1];
    size_t len = i % 8 == 0 ? 90 + i % 100 : 6;
    int64_t node;

    fx_name(name, len, 'n', i);
    node = shm_node_intern(s->shm, some_dir(s), name, len, &v, 1);
    must(node > 0 || node == -ENOMEM, "intern");
    if (node > 0)
        hold_ref(s, (uint32_t)node);
}

static void do_forget(struct storm *s)
{
    struct held *h = edit(s);
    uint32_t i;

    if (!h->n_refs)
        return;
    i = below(s, h->n_refs);
    must(shm_node_of_id(s->shm, h->ref[i].id) == h->ref[i].node, "a held node is gone");
    shm_node_forget(s->shm, h->ref[i].node, h->ref[i].count);
    h->ref[i] = h->ref[--h->n_refs];
}

static void do_change(struct storm *s)
{
    struct held *h = s->held;
    uint32_t node;
    char name[SHM_NAME_MAX + 1];

    if (!h->n_refs)
        return;
    node = h->ref[below(s, h->n_refs)].node;
    switch (below(s, 4)) {
    case 0:
        shm_node_detach(s->shm, node);
        break;
    case 1:
        fx_name(name, below(s, 2) ? 100 : 5, 'm', below(s, 50));
        /* -ELOOP and -ENOMEM are fine as well */
        (void)!shm_node_move(s->shm, node, some_dir(s), name, strlen(name));
        break;
    case 2:
        shm_notify_inode(s->shm, node);
        break;
    default:
        shm_node_list_stale(s->shm, node);
    }
}

static void do_busy(struct storm *s)
{
    struct held *h = edit(s);

    if (h->busy != SHM_NIL) {
        shm_node_set_busy(s->shm, h->busy, 0);
        h->busy = SHM_NIL;
    } else if (h->n_refs) {
        uint32_t node = h->ref[below(s, h->n_refs)].node;

        if (shm_node_at(s->shm, node)->busy)
            return;
        h->busy = node;
        shm_node_set_busy(s->shm, node, shm_record_tag(s->slot, 0));
    }
}

static void do_open(struct storm *s)
{
    struct held *h = edit(s);
    int64_t idx;

    if (!h->n_refs || h->n_handles == HANDLES_MAX)
        return;
    idx = shm_handle_new(s->shm, SHM_HANDLE_FILE, h->ref[below(s, h->n_refs)].node, 0);
    must(idx >= 0 || idx == -ENFILE, "handle_new");
    if (idx < 0)
        return;
    h->handle[h->n_handles].idx = (uint32_t)idx;
    h->handle[h->n_handles].fh = shm_handle_fh(s->shm, (uint32_t)idx);
    h->n_handles++;
}

static void do_close(struct storm *s)
{
    struct held *h = edit(s);
    uint32_t i;

    if (!h->n_handles)
        return;
    i = below(s, h->n_handles);
    must(shm_handle_of_fh(s->shm, h->handle[i].fh, SHM_HANDLE_FILE) == h->handle[i].idx,
         "a held handle is gone");
    shm_handle_free(s->shm, h->handle[i].idx);
    h->handle[i] = h->handle[--h->n_handles];
}

static void do_session(struct storm *s)
{
    struct held *h = edit(s);

    if (h->n_sessions && below(s, 2)) {
        uint32_t idx = h->session[--h->n_sessions];

        must(shm_session_at(s->shm, idx)->state == SHM_SESSION_LIVE, "a held session is gone");
        shm_session_close(s->shm, idx, s->slot);
        shm_session_free(s->shm, idx);
    } else if (h->n_refs && h->n_sessions < SESSIONS_MAX) {
        uint32_t node = h->ref[below(s, h->n_refs)].node;
        int64_t idx;

        if (shm_node_at(s->shm, node)->session != SHM_NIL)
            return;
        idx = shm_session_new(s->shm, node);
        if (idx < 0)
            return;
        (void)shm_session_pid(s->shm, (uint32_t)idx, 1, 1, below(s, 9));
        h->session[h->n_sessions++] = (uint32_t)idx;
    }
}

static void put_block(struct storm *s, struct shm_block_key key)
{
    uint8_t data[20] = {(uint8_t)key.no};
    uint32_t wake;

    if (key.no) /* one without bytes would not show whose it is */
        (void)shm_block_put(s->shm, key, s->slot, data, key.no, &wake);
}

/* Takes the lock of the blocks, and another section for each call. */
static void do_block(struct storm *s)
{
    struct shm_block_key key = {.node = 1, .content = 1, .no = below(s, 20)};
    uint32_t idx;

    switch (shm_block_get(s->shm, key, s->slot, &idx)) {
    case SHM_BLOCK_HIT:
        must(shm_block_len(s->shm, idx) == key.no, "length of a block");
        must(*shm_block_data(s->shm, idx) == key.no, "content of a block");
        shm_block_unpin(s->shm, idx, s->slot);
        break;
    case SHM_BLOCK_MISS:
        if (below(s, 4) == 0) {
            put_block(s, key);
            break;
        }
        idx = shm_block_begin(s->shm, key, s->slot);
        if (idx == SHM_NIL)
            break;
        *shm_block_data(s->shm, idx) = (uint8_t)key.no;
        if (below(s, 5))
            (void)shm_block_ready(s->shm, idx, key.no);
        else
            (void)shm_block_fail(s->shm, idx);
        break;
    case SHM_BLOCK_MINE:
        must(false, "a fetch of the dead");
        break;
    case SHM_BLOCK_BUSY:
        put_block(s, key);
        break;
    }
}

static void do_notify(struct storm *s)
{
    struct shm_notify n;

    if (shm_notify_next(s->shm, &n))
        shm_notify_written(s->shm);
}

static void (*const sections[])(struct storm *s) = {
    do_intern, do_intern, do_intern, do_forget,  do_forget,  do_change,
    do_busy,   do_open,   do_close,  do_session, do_session,
};

#define SECTIONS (sizeof(sections) / sizeof(*sections))

static void work(struct shm *shm, uint32_t slot)
{
    struct storm s = {.shm = shm, .slot = slot, .held = held_of(shm, slot)};

    (void)shm_block_worker_gone(shm, slot);
    for (;;) {
        uint32_t what = below(&s, SECTIONS + 6);

        if (what < SECTIONS) {
            shm_lock(shm, shm->meta);
            sections[what](&s);
            shm_unlock(shm, shm->meta);
        } else if (what == SECTIONS) {
            do_notify(&s);
        } else {
            do_block(&s);
        }
        s.held->operations++;
    }
}

/* ---- the parent ---- */

static pid_t start(struct shm *shm, uint32_t slot)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        work(shm, slot);
    }
    return pid;
}

static void end(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("a worker ended by itself: status %x", (unsigned)status);
}

static void give_back(struct storm *s)
{
    struct held *h = s->held;

    (void)shm_block_worker_gone(s->shm, s->slot);
    while (h->n_refs || h->n_handles || h->n_sessions || h->busy != SHM_NIL) {
        fx_lock(s->shm);
        if (h->n_handles)
            do_close(s);
        else if (h->n_sessions)
            do_session(s); /* ends or begins one; chance ends it */
        else if (h->busy != SHM_NIL)
            do_busy(s);
        else
            do_forget(s);
        fx_unlock(s->shm);
    }
}

/* Nobody holds anything. */
static void nothing_is_left(struct shm *shm)
{
    assert_int_equal(shm->handles->live, 0);
    assert_int_equal(shm->sessions->live, 0);
    assert_int_equal(shm->nodes->lookups, 1);
    assert_int_equal(shm->blocks->fetching, 0);
    for (uint32_t i = 1; i < shm->nodes->fresh_node; i++) {
        const struct shm_node *n = shm_node_at(shm, i);

        assert_true(n->state == SHM_NODE_FREE || n->opens == 0);
        assert_true(n->state == SHM_NODE_FREE || n->busy == 0);
    }
    /* All nodes can go (a directory after all that is below it), all blocks can be had. */
    for (unsigned i = 0; i < 50 * shm->header->sizes.nodes; i++) {
        char name[16];

        snprintf(name, sizeof(name), "last %u", i);
        fx_put(shm, SHM_ROOT, name, "1");
    }
    assert_int_equal(shm->nodes->evictable, shm->header->sizes.nodes - 1);
    for (uint32_t i = 0; i < shm->header->sizes.blocks; i++) {
        struct shm_block_key key = {.node = 2, .no = i};

        assert_int_not_equal(shm_block_begin(shm, key, 0), SHM_NIL);
    }
}

static void test_storm(void **state)
{
    struct shm *shm = fx_new(&storm_sizes);
    unsigned kills = fx_under_valgrind() ? KILLS / 20 : KILLS;
    uint64_t seed = fx_seed(), operations = 0;
    pid_t pids[WORKERS];

    (void)state;
    alarm(TIMEOUT_S); /* a lock that is never given back */
    for (uint32_t w = 0; w < WORKERS; w++) {
        *held_of(shm, w) = (struct held){.seed = fx_rand(&seed), .busy = SHM_NIL};
        pids[w] = start(shm, w);
    }
    for (unsigned i = 0; i < kills; i++) {
        const struct timespec pause = {.tv_nsec = fx_below(&seed, 2000000)};
        uint32_t w = fx_below(&seed, WORKERS);

        nanosleep(&pause, NULL);
        end(pids[w]);
        if (i % 50 == 0)
            fx_check(shm); /* in the middle of it */
        pids[w] = start(shm, w);
    }
    for (uint32_t w = 0; w < WORKERS; w++)
        end(pids[w]);
    fx_check(shm);
    for (uint32_t w = 0; w < WORKERS; w++) {
        struct storm s = {.shm = shm, .slot = w, .held = held_of(shm, w)};

        operations += s.held->operations;
        give_back(&s);
    }
    fx_check(shm);
    nothing_is_left(shm);
    fx_check(shm);
    print_message(
        "  %llu operations, %u kills; died in a section: %llu + %llu, "
        "undone %llu + %llu\n",
        (unsigned long long)operations, kills, (unsigned long long)shm->meta->owner_deaths,
        (unsigned long long)shm->blocks->lock.owner_deaths,
        (unsigned long long)shm->meta->rollbacks, (unsigned long long)shm->blocks->lock.rollbacks);
    alarm(0);
    shm_close(shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};

    return cmocka_run_group_tests_name("shm_storm", tests, NULL, NULL);
}
