/* File locks: cases, random operations against a model that knows every byte, deaths. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "shm/shm_flock.h"
#include "shm/shm_handle.h"
#include "tests/shm/crash.h"
#include "tests/shm/fixture.h"

#define MANY_HANDLES 400u

static const struct shm_sizes many = {
    .workers = 4,
    .nodes = 64,
    .long_names = 8,
    .handles = MANY_HANDLES,
    .sessions = 4,
    .records = 4,
    .blocks = 8,
    .baselines = 32, /* with compare-and-set, where all nodes of a name are one file */
    .payload = SHM_PAYLOAD_MIN,
};

static uint32_t open_file(struct shm *shm, uint32_t node)
{
    int64_t r;

    fx_lock(shm);
    r = shm_handle_new(shm, SHM_HANDLE_FILE, node, 0);
    fx_unlock(shm);
    assert_true(r >= 0);
    return (uint32_t)r;
}

static void close_file(struct shm *shm, uint32_t handle)
{
    uint32_t node = shm_handle_at(shm, handle)->node, wake;

    fx_lock(shm);
    while (shm_flock_drop_handle(shm, node, handle, &wake))
        ;
    shm_handle_free(shm, handle);
    fx_unlock(shm);
}

/* ---- cases ---- */

/* A file, open twice. */
struct two {
    struct shm *shm;
    uint32_t node, a, b;
    uint32_t wake; /* of the last set() */
};

static int two_setup_in(void **state, const struct shm_sizes *sizes)
{
    struct two *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->shm = fx_new(sizes);
    t->node = fx_put(t->shm, SHM_ROOT, "name", "1");
    t->a = open_file(t->shm, t->node);
    t->b = open_file(t->shm, t->node);
    *state = t;
    return 0;
}

static int two_setup(void **state)
{
    return two_setup_in(state, &many);
}

/* As it is where the last writer wins. */
static int two_setup_lww(void **state)
{
    struct shm_sizes sizes = many;

    sizes.baselines = 0;
    return two_setup_in(state, &sizes);
}

static int two_teardown(void **state)
{
    struct two *t = *state;

    fx_check(t->shm);
    close_file(t->shm, t->a);
    close_file(t->shm, t->b);
    assert_int_equal(t->shm->flocks->live, 0);
    assert_int_equal(t->shm->nodes->live - t->shm->nodes->evictable, 1);
    fx_check(t->shm);
    shm_close(t->shm);
    free(t);
    return 0;
}

static struct shm_flock range(const struct two *t, uint64_t owner, uint16_t type, uint64_t start,
                              uint64_t end)
{
    return (struct shm_flock){.owner = owner,
                              .start = start,
                              .end = end,
                              .handle = owner == 1 ? t->a : t->b,
                              .pid = (uint32_t)owner * 10,
                              .type = type};
}

static struct shm_flock whole(const struct two *t, uint64_t owner, uint16_t type)
{
    struct shm_flock l = range(t, owner, type, 0, 0);

    l.whole = 1;
    return l;
}

static int set(struct two *t, struct shm_flock want)
{
    int r;

    fx_lock(t->shm);
    r = shm_flock_set(t->shm, t->node, &want, &t->wake);
    assert_true(t->shm->meta->log_used < SHM_UNDO_MAX / 2);
    fx_unlock(t->shm);
    return r;
}

static bool find(struct two *t, struct shm_flock want, struct shm_flock *ret)
{
    bool found;

    fx_lock(t->shm);
    found = shm_flock_find(t->shm, t->node, &want, ret);
    fx_unlock(t->shm);
    return found;
}

static void wait_for(struct two *t, struct shm_flock want, uint32_t worker)
{
    fx_lock(t->shm);
    shm_flock_wait(t->shm, t->node, &want, worker);
    fx_unlock(t->shm);
}

static void test_ranges_exclude(void **state)
{
    struct two *t = *state;
    struct shm_flock found;

    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 10, 19)), 0);
    assert_int_equal(set(t, range(t, 2, SHM_FLOCK_READ, 19, 19)), -EAGAIN);
    assert_int_equal(set(t, range(t, 2, SHM_FLOCK_READ, 0, 9)), 0);
    assert_int_equal(set(t, range(t, 2, SHM_FLOCK_WRITE, 20, SHM_FLOCK_END)), 0);
    assert_true(find(t, range(t, 2, SHM_FLOCK_READ, 0, 100), &found));
    assert_int_equal(found.start, 10);
    assert_int_equal(found.end, 19);
    assert_int_equal(found.pid, 10);
    assert_int_equal(found.type, SHM_FLOCK_WRITE);
    assert_true(find(t, range(t, 3, SHM_FLOCK_WRITE, 0, 100), &found));
    assert_int_equal(found.start, 0);
    assert_false(find(t, range(t, 3, SHM_FLOCK_READ, 0, 9), &found));
    assert_false(find(t, range(t, 3, SHM_FLOCK_NONE, 0, 100), &found));
}

static void test_ranges_join_and_split(void **state)
{
    struct two *t = *state;

    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 0, 9)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 20, 29)), 0);
    assert_int_equal(t->shm->flocks->live, 2);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 10, 19)), 0);
    assert_int_equal(t->shm->flocks->live, 1);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 5, 5)), 0);
    assert_int_equal(t->shm->flocks->live, 3);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_NONE, 0, SHM_FLOCK_END)), 0);
    assert_int_equal(t->shm->flocks->live, 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_NONE, 0, 0)), 0);
}

static void test_flock_loses_its_lock_to_a_refused_upgrade(void **state)
{
    struct two *t = *state;
    struct shm_flock found;

    assert_int_equal(set(t, whole(t, 1, SHM_FLOCK_READ)), 0);
    assert_int_equal(set(t, whole(t, 2, SHM_FLOCK_READ)), 0);
    assert_int_equal(set(t, whole(t, 1, SHM_FLOCK_READ)), 0);
    wait_for(t, whole(t, 2, SHM_FLOCK_WRITE), 3);
    assert_int_equal(set(t, whole(t, 1, SHM_FLOCK_WRITE)), -EAGAIN);
    assert_int_equal(t->wake, 1 << 3);
    assert_int_equal(set(t, whole(t, 2, SHM_FLOCK_WRITE)), 0);
    assert_true(find(t, whole(t, 1, SHM_FLOCK_READ), &found));
    assert_int_equal(found.start, 0);
    assert_int_equal(found.end, SHM_FLOCK_END);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 0, 0)), 0);
    assert_int_equal(set(t, whole(t, 2, SHM_FLOCK_NONE)), 0);
}

static void test_who_is_woken(void **state)
{
    struct two *t = *state;

    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 0, 99)), 0);
    wait_for(t, range(t, 2, SHM_FLOCK_WRITE, 50, 50), 0);
    wait_for(t, range(t, 2, SHM_FLOCK_READ, 50, 50), 2);
    wait_for(t, range(t, 2, SHM_FLOCK_READ, 200, 300), 3); /* nothing is in the way */
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 100, 199)), 0);
    assert_int_equal(t->wake, 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 40, 60)), 0);
    assert_int_equal(t->wake, 1 << 0 | 1 << 2);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_NONE, 0, 0)), 0);
    assert_int_equal(t->wake, 0);
    wait_for(t, range(t, 2, SHM_FLOCK_WRITE, 50, 50), 1);
    fx_lock(t->shm);
    assert_int_equal(shm_flock_drop_owner(t->shm, t->node, 2), 0);
    assert_int_equal(shm_flock_drop_owner(t->shm, t->node, 1), 1 << 1);
    assert_int_equal(shm_flock_drop_owner(t->shm, t->node, 1), 0);
    fx_unlock(t->shm);
}

static void test_closing_takes_only_ones_own(void **state)
{
    struct two *t = *state;
    struct shm_flock found;

    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 0, 9)), 0);
    assert_int_equal(set(t, range(t, 2, SHM_FLOCK_READ, 0, 9)), 0);
    assert_int_equal(set(t, whole(t, 1, SHM_FLOCK_WRITE)), 0);
    fx_lock(t->shm);
    assert_int_equal(shm_flock_drop_owner(t->shm, t->node, 1), 0);
    fx_unlock(t->shm);
    assert_true(find(t, whole(t, 2, SHM_FLOCK_WRITE), &found));
    assert_true(find(t, range(t, 3, SHM_FLOCK_WRITE, 0, 0), &found));
    assert_int_equal(found.owner, 2);
    close_file(t->shm, t->b);
    assert_false(find(t, range(t, 3, SHM_FLOCK_WRITE, 0, 0), &found));
    assert_true(find(t, whole(t, 2, SHM_FLOCK_WRITE), &found));
    t->b = open_file(t->shm, t->node);
}

static void test_one_owner_has_a_limit(void **state)
{
    struct two *t = *state;
    uint32_t i;

    for (i = 0; i < SHM_FLOCK_OWNER_MAX; i++)
        assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, i * 3, i * 3 + 1)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, i * 3, i * 3)), -ENOLCK);
    assert_int_equal(set(t, range(t, 2, SHM_FLOCK_WRITE, i * 3, i * 3)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 0, 0)), -ENOLCK);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 2, 2)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 0, 0)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 0, i * 3 - 1)), 0);
    assert_int_equal(t->shm->flocks->live, 2);
}

/* Fills what is left, by owners from `owner` on. Every second byte from 0 on. */
static void fill(struct two *t, uint64_t owner)
{
    while (t->shm->flocks->live < MANY_HANDLES) {
        for (uint64_t i = 0; i < SHM_FLOCK_OWNER_MAX && t->shm->flocks->live < MANY_HANDLES; i++)
            assert_int_equal(set(t, range(t, owner, SHM_FLOCK_READ, i * 2, i * 2)), 0);
        owner++;
    }
}

static void test_a_full_table(void **state)
{
    struct two *t = *state;
    struct shm_flock found;

    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 1000, 2000)), 0);
    fill(t, 2);
    fx_check(t->shm);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 0, 0)), -ENOLCK);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_NONE, 1500, 1500)), -ENOLCK);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 1000, 1000)), -ENOLCK);
    assert_int_equal(set(t, whole(t, 1, SHM_FLOCK_READ)), -ENOLCK);
    assert_true(find(t, range(t, 9, SHM_FLOCK_WRITE, 1500, 1500), &found));
    assert_int_equal(found.end, 2000);
    /* what needs no more is had */
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 1500, 3000)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_NONE, 1000, 1500)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 1501, 3000)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_NONE, 0, 3000)), 0);
    assert_int_equal(set(t, whole(t, 1, SHM_FLOCK_READ)), 0);
    assert_int_equal(set(t, whole(t, 1, SHM_FLOCK_WRITE)), 0);
}

/* The release of a handle that was shared by many owners: some at a time. */
static void test_a_large_release(void **state)
{
    struct two *t = *state;
    uint32_t wake, sections = 0;
    bool more;

    fill(t, 2);
    do {
        fx_lock(t->shm);
        more = shm_flock_drop_handle(t->shm, t->node, t->b, &wake);
        assert_true(t->shm->meta->log_used < SHM_UNDO_MAX / 2);
        fx_unlock(t->shm);
        fx_check(t->shm);
        sections++;
    } while (more);
    assert_int_equal(t->shm->flocks->live, 0);
    assert_int_equal(sections, MANY_HANDLES / SHM_FLOCK_OWNER_MAX + 1);
}

static void test_versions_of_a_key(void **state)
{
    struct two *t = *state;
    uint32_t newer = fx_put(t->shm, SHM_ROOT, "name", "2"), wake;
    uint32_t handle = open_file(t->shm, newer);
    struct shm_flock want = range(t, 2, SHM_FLOCK_WRITE, 0, 0);

    assert_int_not_equal(newer, t->node);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 0, 0)), 0);
    want.handle = handle;
    fx_lock(t->shm);
    assert_int_equal(shm_flock_set(t->shm, newer, &want, &wake), -EAGAIN);
    shm_flock_wait(t->shm, newer, &want, 1);
    assert_int_equal(shm_flock_drop_owner(t->shm, newer, 1), 0);
    assert_int_equal(shm_flock_drop_owner(t->shm, t->node, 1), 1 << 1);
    assert_int_equal(shm_flock_set(t->shm, newer, &want, &wake), 0);
    fx_unlock(t->shm);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 0, 0)), -EAGAIN);
    close_file(t->shm, handle);
}

static void rename_node(struct shm *shm, uint32_t node, const char *name)
{
    fx_lock(shm);
    assert_int_equal(shm_node_move(shm, node, SHM_ROOT, name, strlen(name)), 0);
    shm_flock_renamed(shm, node);
    fx_unlock(shm);
}

/* Owner 1 locks t->node, which then gets the name of another file that is open. *ret: a lock that
 * owner 2 wants of that one. */
static uint32_t locked_and_renamed(struct two *t, struct shm_flock *ret)
{
    uint32_t other = fx_put(t->shm, SHM_ROOT, "other", "1");

    *ret = range(t, 2, SHM_FLOCK_WRITE, 0, 0);
    ret->handle = open_file(t->shm, other);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_WRITE, 0, 0)), 0);
    rename_node(t->shm, t->node, "other");
    return other;
}

/* The file that is replaced is another one, with locks of its own. */
static void test_locks_stay_with_their_file(void **state)
{
    struct two *t = *state;
    struct shm_flock want, found;
    uint32_t other = locked_and_renamed(t, &want), wake;

    fx_lock(t->shm);
    assert_int_equal(shm_flock_set(t->shm, other, &want, &wake), 0);
    fx_unlock(t->shm);
    assert_true(find(t, range(t, 3, SHM_FLOCK_READ, 0, 0), &found));
    assert_int_equal(found.owner, 1);
    close_file(t->shm, want.handle);
}

static void test_locks_follow_a_rename(void **state)
{
    struct two *t = *state;
    struct shm_flock want, found;
    uint32_t other = locked_and_renamed(t, &want), wake;

    fx_lock(t->shm);
    assert_int_equal(shm_flock_set(t->shm, other, &want, &wake), -EAGAIN);
    fx_unlock(t->shm);
    rename_node(t->shm, t->node, "third");
    fx_lock(t->shm);
    assert_int_equal(shm_flock_set(t->shm, other, &want, &wake), 0);
    fx_unlock(t->shm);
    assert_true(find(t, range(t, 3, SHM_FLOCK_READ, 0, 0), &found));
    assert_int_equal(found.owner, 1);
    close_file(t->shm, want.handle);
}

/* ---- the check ---- */

static void is_bad(struct shm *shm)
{
    struct err err = {0};

    assert_int_equal(shm_flock_check(shm, &err), -EUCLEAN);
    assert_true(err.text[0] != '\0');
}

/* The value is another for the time of a check. */
#define BAD(shm, lvalue, value)                                                                    \
    do {                                                                                           \
        __typeof__(lvalue) was = (lvalue);                                                         \
        (lvalue) = (value);                                                                        \
        is_bad(shm);                                                                               \
        (lvalue) = was;                                                                            \
        fx_check(shm);                                                                             \
    } while (0)

static void test_check(void **state)
{
    struct two *t = *state;
    struct shm_flock_table *f = t->shm->flocks;
    struct shm_flock *l;

    assert_int_equal(set(t, range(t, 2, SHM_FLOCK_READ, 0, 0)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 10, 10)), 0);
    assert_int_equal(set(t, range(t, 1, SHM_FLOCK_READ, 20, 20)), 0);
    assert_int_equal(set(t, range(t, 2, SHM_FLOCK_NONE, 0, 0)), 0);
    l = &f->cell[f->cell[0].file.first - 1].slot.lock;
    assert_int_equal(l->start, 20);
    BAD(t->shm, f->live, 3);
    BAD(t->shm, f->fresh_lock, MANY_HANDLES + 1);
    BAD(t->shm, f->fresh_file, MANY_HANDLES + 1);
    BAD(t->shm, f->fresh_lock, 4);
    BAD(t->shm, f->fresh_file, 2);
    BAD(t->shm, f->free_lock, 0);
    BAD(t->shm, f->free_lock, 400000);
    BAD(t->shm, f->by_node[t->node], 0);
    BAD(t->shm, f->by_node[t->node], 77);
    BAD(t->shm, f->cell[0].file.next_by_node, 1);
    BAD(t->shm, f->cell[0].file.next_by_key, 1);
    BAD(t->shm, f->cell[0].file.ino, ~f->cell[0].file.ino);
    BAD(t->shm, f->cell[0].file.node, 1000);
    BAD(t->shm, f->cell[0].file.first, 0);
    BAD(t->shm, f->cell[0].file.first, 99);
    BAD(t->shm, f->cell[f->cell[0].file.first - 1].slot.next, f->cell[0].file.first);
    BAD(t->shm, l->type, SHM_FLOCK_NONE);
    BAD(t->shm, l->whole, 2);
    BAD(t->shm, l->end, 19);
    BAD(t->shm, l->end, UINT64_MAX);
    BAD(t->shm, l->start, 11); /* touches */
    BAD(t->shm, l->handle, MANY_HANDLES);
    BAD(t->shm, l->handle, 7);
}

/* ---- against a model ---- */

#define BYTES 16u /* the last stands for all that follow */
#define NODES 3u  /* the first two are of one key */
#define OWNERS 4u

/* Types are enum shm_flock_type + 1, 0 is none. Owner o uses handle [node][o % 2]. */
struct model {
    struct shm *shm;
    uint64_t seed;
    uint32_t node[NODES];
    uint32_t handle[NODES][2];
    uint8_t byte[NODES][OWNERS][BYTES];
    uint8_t whole[NODES][OWNERS];
    bool same_key[NODES][NODES];
    unsigned renames;
    struct {
        bool waits;
        uint32_t node;
        struct shm_flock want;
    } waiter[SHM_WORKERS_MAX];
};

static uint64_t end_of(uint32_t byte)
{
    return byte == BYTES - 1 ? SHM_FLOCK_END : byte;
}

static uint32_t byte_of(uint64_t offset)
{
    return offset >= BYTES ? BYTES - 1 : (uint32_t)offset;
}

static bool excludes(uint8_t have, const struct shm_flock *want)
{
    return have == SHM_FLOCK_WRITE + 1 || (have && want->type == SHM_FLOCK_WRITE);
}

/* The first byte of the lock that is in the way and begins first; SHM_NIL: none. */
static uint32_t model_find(const struct model *m, uint32_t node, const struct shm_flock *want)
{
    uint32_t found = SHM_NIL;

    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t o = 0; o < OWNERS; o++) {
            const uint8_t *b = m->byte[n][o];

            if (!m->same_key[node][n] || want->type == SHM_FLOCK_NONE)
                continue;
            /* an owner of ranges is one on all nodes; an open file is of one node */
            if (want->whole ? n * OWNERS + o == want->owner : o == want->owner)
                continue;
            if (want->whole && excludes(m->whole[n][o], want))
                found = 0;
            for (uint32_t i = byte_of(want->start); !want->whole && i <= byte_of(want->end); i++) {
                uint32_t first = i;

                if (!excludes(b[i], want))
                    continue;
                while (first > 0 && b[first - 1] == b[i])
                    first--;
                found = first < found ? first : found;
            }
        }
    }
    return found;
}

static int model_set(struct model *m, uint32_t node, const struct shm_flock *want)
{
    uint8_t type = want->type == SHM_FLOCK_NONE ? 0 : (uint8_t)(want->type + 1);

    if (want->whole) {
        uint8_t *have = &m->whole[node][want->owner % OWNERS];

        if (*have == type)
            return 0;
        *have = 0;
        if (model_find(m, node, want) != SHM_NIL)
            return -EAGAIN;
        *have = type;
        return 0;
    }
    if (model_find(m, node, want) != SHM_NIL)
        return -EAGAIN;
    for (uint32_t i = byte_of(want->start); i <= byte_of(want->end); i++)
        m->byte[node][want->owner][i] = type;
    return 0;
}

static struct shm_flock some_lock(struct model *m, uint32_t node)
{
    uint32_t o = fx_below(&m->seed, OWNERS), a = fx_below(&m->seed, BYTES);
    uint32_t b = fx_below(&m->seed, BYTES), type = fx_below(&m->seed, 5);
    struct shm_flock l = {.owner = o,
                          .start = a < b ? a : b,
                          .end = end_of(a < b ? b : a),
                          .handle = m->handle[node][o % 2],
                          .pid = o,
                          .type = type < 2   ? SHM_FLOCK_READ
                                  : type < 3 ? SHM_FLOCK_WRITE
                                             : SHM_FLOCK_NONE,
                          .whole = fx_below(&m->seed, 3) == 0};

    if (l.whole)
        l.owner = node * OWNERS + o;
    return l;
}

/* Nobody who could have it now may be left waiting. Those who are woken look again. */
static void look_at_waiters(struct model *m, uint32_t wake)
{
    for (uint32_t i = 0; i < SHM_WORKERS_MAX; i++) {
        bool blocked;

        if (!m->waiter[i].waits)
            continue;
        blocked = model_find(m, m->waiter[i].node, &m->waiter[i].want) != SHM_NIL;
        if (!(wake & UINT32_C(1) << i)) {
            assert_true(blocked);
            continue;
        }
        m->waiter[i].waits = blocked;
        if (blocked)
            shm_flock_wait(m->shm, m->node[m->waiter[i].node], &m->waiter[i].want, i);
    }
}

static void do_set(struct model *m)
{
    uint32_t node = fx_below(&m->seed, NODES), wake = 0;
    uint32_t waiter = fx_below(&m->seed, SHM_WORKERS_MAX);
    struct shm_flock want = some_lock(m, node);
    int r = shm_flock_set(m->shm, m->node[node], &want, &wake);

    assert_int_equal(r, model_set(m, node, &want));
    look_at_waiters(m, wake);
    if (r != -EAGAIN || m->waiter[waiter].waits)
        return;
    m->waiter[waiter].waits = true;
    m->waiter[waiter].node = node;
    m->waiter[waiter].want = want;
    shm_flock_wait(m->shm, m->node[node], &want, waiter);
}

static void do_find(struct model *m)
{
    uint32_t node = fx_below(&m->seed, NODES), first;
    struct shm_flock want = some_lock(m, node), found;
    bool any = shm_flock_find(m->shm, m->node[node], &want, &found);

    first = model_find(m, node, &want);
    assert_int_equal(any, first != SHM_NIL);
    if (!any)
        return;
    assert_int_equal(found.whole, want.whole);
    assert_int_equal(found.start, want.whole ? 0 : first);
    assert_true(want.type == SHM_FLOCK_WRITE || found.type == SHM_FLOCK_WRITE);
    assert_int_not_equal(found.owner, want.owner);
}

static void do_flush(struct model *m)
{
    uint32_t node = fx_below(&m->seed, NODES), o = fx_below(&m->seed, OWNERS);
    uint32_t wake = shm_flock_drop_owner(m->shm, m->node[node], o);

    memset(m->byte[node][o], 0, BYTES);
    look_at_waiters(m, wake);
}

static void do_release(struct model *m)
{
    uint32_t node = fx_below(&m->seed, NODES), h = fx_below(&m->seed, 2), wake;

    assert_false(shm_flock_drop_handle(m->shm, m->node[node], m->handle[node][h], &wake));
    for (uint32_t o = h; o < OWNERS; o += 2) {
        memset(m->byte[node][o], 0, BYTES);
        m->whole[node][o] = 0;
    }
    look_at_waiters(m, wake);
}

/* The third node gets the key of the first two, or one of its own again. Who waits is told by the
 * clock then. */
static void do_rename(struct model *m)
{
    bool same = ++m->renames % 2;
    const char *name = same ? "a" : "b";

    assert_int_equal(shm_node_move(m->shm, m->node[2], SHM_ROOT, name, 1), 0);
    shm_flock_renamed(m->shm, m->node[2]);
    m->same_key[0][2] = m->same_key[2][0] = m->same_key[1][2] = m->same_key[2][1] = same;
    look_at_waiters(m, UINT32_MAX);
}

/* What is in the tables is what the model has. */
static void compare(struct model *m)
{
    uint8_t byte[NODES][OWNERS][BYTES] = {{{0}}}, all[NODES][OWNERS] = {{0}};
    const struct shm_flock_table *t = m->shm->flocks;

    for (uint32_t i = 0; i < t->fresh_file; i++) {
        const struct shm_flock_file *f = &t->cell[i].file;
        uint32_t n = 0;

        while (n < NODES && (m->node[n] != f->node || t->by_node[f->node] != i + 1))
            n++;
        for (uint32_t at = n < NODES ? f->first : 0; at; at = t->cell[at - 1].slot.next) {
            const struct shm_flock *l = &t->cell[at - 1].slot.lock;

            if (l->whole)
                all[n][l->owner % OWNERS] = (uint8_t)(l->type + 1);
            for (uint32_t b = byte_of(l->start); !l->whole && b <= byte_of(l->end); b++)
                byte[n][l->owner][b] = (uint8_t)(l->type + 1);
        }
    }
    assert_memory_equal(byte, m->byte, sizeof(byte));
    assert_memory_equal(all, m->whole, sizeof(all));
}

static void one_step(struct model *m)
{
    uint32_t dice = fx_below(&m->seed, 100);

    if (dice < 70)
        do_set(m);
    else if (dice < 85)
        do_find(m);
    else if (dice < 92)
        do_flush(m);
    else if (dice < 97)
        do_release(m);
    else
        do_rename(m);
}

/* A section that is taken back, as if its owner had died, leaves no trace. */
static void rolled_back_step(struct model *m)
{
    size_t len = m->shm->header->table_len[SHM_TABLE_FLOCK];
    struct model was = *m;
    void *copy = malloc(len);
    uint64_t seed;

    assert_non_null(copy);
    memcpy(copy, m->shm->flocks, len);
    fx_lock(m->shm);
    one_step(m);
    shm_rollback(m->shm, m->shm->meta);
    assert_memory_equal(copy, m->shm->flocks, len);
    fx_unlock(m->shm);
    free(copy);
    seed = m->seed;
    *m = was;
    m->seed = seed;
}

static void model_init(struct model *m)
{
    *m = (struct model){.shm = fx_new(&many), .seed = fx_seed()};
    for (uint32_t n = 0; n < NODES; n++) {
        m->node[n] = fx_put(m->shm, SHM_ROOT, n < 2 ? "a" : "b", n == 1 ? "2" : "1");
        m->handle[n][0] = open_file(m->shm, m->node[n]);
        m->handle[n][1] = open_file(m->shm, m->node[n]);
        for (uint32_t other = 0; other < NODES; other++)
            m->same_key[n][other] = n == other || (n < 2 && other < 2);
    }
    assert_int_not_equal(m->node[0], m->node[1]);
    assert_int_equal(shm_node_at(m->shm, m->node[0])->ino, shm_node_at(m->shm, m->node[1])->ino);
}

static void test_model(void **state)
{
    unsigned steps = fx_under_valgrind() ? 2000 : 40000;
    struct model m;

    (void)state;
    model_init(&m);
    for (unsigned i = 0; i < steps; i++) {
        if (i % 8 == 7)
            rolled_back_step(&m);
        fx_lock(m.shm);
        one_step(&m);
        compare(&m);
        fx_unlock(m.shm);
        if (i % 16 == 0)
            fx_check(m.shm);
    }
    for (uint32_t n = 0; n < NODES; n++) {
        close_file(m.shm, m.handle[n][0]);
        close_file(m.shm, m.handle[n][1]);
    }
    assert_int_equal(m.shm->flocks->live, 0);
    fx_check(m.shm);
    shm_close(m.shm);
}

/* ---- death ---- */

static struct {
    uint32_t node, handle;
} at;

static void set_now(struct shm *shm, uint64_t owner, uint16_t type, uint64_t start, uint64_t end,
                    uint16_t is_whole)
{
    struct shm_flock l = {.owner = owner,
                          .start = start,
                          .end = end,
                          .handle = at.handle,
                          .type = type,
                          .whole = is_whole};
    uint32_t wake;

    shm_lock(shm, shm->meta);
    (void)!shm_flock_set(shm, at.node, &l, &wake);
    shm_unlock(shm, shm->meta);
}

static void prepare_locks(struct shm *shm)
{
    at.node = fx_put(shm, SHM_ROOT, "name", "1");
    at.handle = open_file(shm, at.node);
    set_now(shm, 1, SHM_FLOCK_READ, 10, 19, 0);
    set_now(shm, 1, SHM_FLOCK_READ, 30, 39, 0);
    set_now(shm, 2, SHM_FLOCK_READ, 0, 99, 0);
    set_now(shm, 3, SHM_FLOCK_READ, 0, 0, 1);
}

static void prepare_open(struct shm *shm)
{
    at.node = fx_put(shm, SHM_ROOT, "name", "1");
    at.handle = open_file(shm, at.node);
}

static void run_first(struct shm *shm)
{
    set_now(shm, 1, SHM_FLOCK_WRITE, 0, 5, 0);
}

static void run_join(struct shm *shm)
{
    set_now(shm, 1, SHM_FLOCK_READ, 20, 29, 0);
}

static void run_split(struct shm *shm)
{
    set_now(shm, 2, SHM_FLOCK_NONE, 50, 59, 0);
}

static void run_upgrade(struct shm *shm)
{
    set_now(shm, 3, SHM_FLOCK_WRITE, 0, 0, 1);
}

static void run_drop(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!shm_flock_drop_owner(shm, at.node, 1);
    shm_unlock(shm, shm->meta);
}

static void run_drop_all(struct shm *shm)
{
    uint32_t wake;

    shm_lock(shm, shm->meta);
    (void)!shm_flock_drop_handle(shm, at.node, at.handle, &wake);
    shm_unlock(shm, shm->meta);
}

static void run_rename(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    (void)!shm_node_move(shm, at.node, SHM_ROOT, "other", 5);
    shm_flock_renamed(shm, at.node);
    shm_unlock(shm, shm->meta);
}

static const struct crash_op ops[] = {
    {.name = "first lock", .prepare = prepare_open, .run = run_first},
    {.name = "join", .prepare = prepare_locks, .run = run_join},
    {.name = "split", .prepare = prepare_locks, .run = run_split},
    {.name = "upgrade", .prepare = prepare_locks, .run = run_upgrade},
    {.name = "drop_owner", .prepare = prepare_locks, .run = run_drop},
    {.name = "drop_handle", .prepare = prepare_locks, .run = run_drop_all},
    {.name = "renamed", .prepare = prepare_locks, .run = run_rename},
};

static void test_crash(void **state)
{
    bool stepping = crash_can_step();
    uint64_t seed = fx_seed();

    (void)state;
    if (!stepping)
        print_message("*** no single-stepping: deaths at random times only\n");
    for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
        struct crash_count n;

        (stepping ? crash_at_each_instruction : crash_at_random)(&ops[i], &seed, &n);
        print_message("  %-12s %5u instructions, %4u states, %4u kills\n", ops[i].name,
                      n.instructions, n.states, n.kills);
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, two_setup, two_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_ranges_exclude),
        CASE(test_ranges_join_and_split),
        CASE(test_flock_loses_its_lock_to_a_refused_upgrade),
        CASE(test_who_is_woken),
        CASE(test_closing_takes_only_ones_own),
        CASE(test_one_owner_has_a_limit),
        CASE(test_a_full_table),
        CASE(test_a_large_release),
        CASE(test_versions_of_a_key),
        CASE(test_locks_follow_a_rename),
        cmocka_unit_test_setup_teardown(test_locks_stay_with_their_file, two_setup_lww,
                                        two_teardown),
        CASE(test_check),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_crash),
    };

    return cmocka_run_group_tests_name("shm_flock", tests, NULL, NULL);
}
