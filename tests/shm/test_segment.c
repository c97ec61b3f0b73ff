/* Making the segment, and looking at one that somebody else made, perhaps with ill intent. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "shm/shm_block.h"
#include "shm/shm_journal.h"
#include "shm/shm_layout.h"
#include "tests/shm/fixture.h"

static void test_create(void **state)
{
    struct shm *shm = fx_new(&fx_small);
    uint64_t at = sizeof(struct shm_header);
    struct shm_sizes sizes = fx_small;

    (void)state;
    assert_int_equal(shm->header->magic, SHM_MAGIC);
    assert_int_equal(shm->header->size, shm->size);
    sizes.page = (uint32_t)sysconf(_SC_PAGESIZE);
    assert_memory_equal(&shm->header->sizes, &sizes, sizeof(sizes));
    for (int i = 0; i < SHM_TABLES; i++) {
        assert_true(shm->header->table_off[i] >= at);
        assert_int_equal(shm->header->table_off[i] % shm->header->sizes.page, 0);
        at = shm->header->table_off[i] + shm->header->table_len[i];
        assert_true(at <= shm->size);
        assert_non_null(shm_layout[i].name);
    }
    assert_int_equal(fcntl(shm->fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ftruncate(shm->fd, 0), -1); /* sealed */
    fx_check(shm);
    shm_close(shm);
    shm_close(NULL);
}

/* As on machines with pages of 64 KiB: what madvise(2) is called for begins at a page. */
static void test_larger_pages(void **state)
{
    struct shm_sizes sizes = fx_small;
    struct shm *shm;

    (void)state;
    sizes.page = 64u << 10;
    shm = fx_new(&sizes);
    for (int i = 0; i < SHM_TABLES; i++)
        assert_int_equal(shm->header->table_off[i] % sizes.page, 0);
    for (uint32_t w = 0; w < sizes.workers; w++) {
        size_t len;
        uint8_t *span = shm_arena_span(shm, w, &len);

        assert_int_equal((size_t)(span - shm->base) % sizes.page, 0);
        assert_int_equal(len % sizes.page, 0);
        assert_int_equal(
            (size_t)(shm_arena_read_area(shm, w) + SHM_READ_HEAD - shm->base) % sizes.page, 0);
        assert_true((uint8_t *)(shm_arena_record(shm, w, sizes.records - 1) + 1) <= span + len);
    }
    fx_check(shm);
    shm_close(shm);
}

static void test_hash_keys_differ(void **state)
{
    struct shm *a = fx_new(&fx_small), *b = fx_new(&fx_small);

    (void)state;
    assert_memory_not_equal(a->header->hash_key, b->header->hash_key, 16);
    shm_close(a);
    shm_close(b);
}

/* The sizes with one field set to `value`. */
static struct shm_sizes with(size_t field, uint32_t value)
{
    struct shm_sizes s = fx_small;

    memcpy((char *)&s + field, &value, sizeof(value));
    return s;
}

#define FIELD(f) offsetof(struct shm_sizes, f)

static const struct {
    size_t field;
    uint32_t value;
} senseless[] = {
    {FIELD(workers), 0},
    {FIELD(workers), SHM_WORKERS_MAX + 1},
    {FIELD(workers), UINT32_MAX},
    {FIELD(nodes), 0},
    {FIELD(nodes), 32},
    {FIELD(nodes), 100},
    {FIELD(nodes), 1u << 31},
    {FIELD(long_names), UINT32_MAX},
    {FIELD(longest_names), UINT32_MAX},
    {FIELD(handles), 0},
    {FIELD(handles), UINT32_MAX},
    {FIELD(sessions), 0},
    {FIELD(sessions), UINT32_MAX},
    {FIELD(records), 0},
    {FIELD(records), 0xffff},
    {FIELD(blocks), 7},
    {FIELD(blocks), UINT32_MAX},
    {FIELD(blocks), (1u << 31) + 1}, /* the number of hash heads would wrap */
    {FIELD(payload), 0},
    {FIELD(payload), SHM_PAYLOAD_MIN + 1},
    {FIELD(payload), UINT32_MAX - SHM_PAYLOAD_MIN + 1},
    {FIELD(page), 2048},
    {FIELD(page), 12288},
    {FIELD(page), 1u << 31},
};

#define N_SENSELESS (sizeof(senseless) / sizeof(*senseless))

static void test_senseless_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SENSELESS; i++) {
        struct shm_sizes s = with(senseless[i].field, senseless[i].value);
        struct shm *shm = NULL;
        struct err err = {0};

        assert_int_equal(shm_create(&s, &shm, &err), -EINVAL);
        assert_int_equal(err.code, EINVAL);
        assert_null(shm);
    }
}

/* In a child: what of the machine is short, and what must come of it. */
static void create_must_fail(int resource, rlim_t limit, int error)
{
    const struct rlimit short_of = {limit, limit};
    struct shm_sizes s = fx_small;
    struct shm *shm = NULL;
    struct err err = {0};
    int first = dup(0);

    close(first);
    s.blocks = 8192; /* 1 GiB */
    setrlimit(resource, &short_of);
    if (shm_create(&s, &shm, &err) != -error || shm || !err.text[0])
        _exit(1);
    if (resource != RLIMIT_NOFILE && dup(0) != first) /* the memfd is closed */
        _exit(2);
}

static void no_descriptor(struct shm *shm)
{
    (void)shm;
    create_must_fail(RLIMIT_NOFILE, 0, EMFILE);
}

static void no_room_for_the_file(struct shm *shm)
{
    (void)shm;
    signal(SIGXFSZ, SIG_IGN);
    create_must_fail(RLIMIT_FSIZE, 1 << 20, EFBIG);
}

static void no_address_space(struct shm *shm)
{
    (void)shm;
    create_must_fail(RLIMIT_AS, 512 << 20, ENOMEM);
}

static void test_short_of_resources(void **state)
{
    (void)state;
    if (fx_under_valgrind()) /* which has limits of its own */
        skip();
    assert_int_equal(fx_in_child(no_descriptor, NULL), 0);
    assert_int_equal(fx_in_child(no_room_for_the_file, NULL), 0);
    if (!fx_under_asan() && !fx_under_valgrind()) /* which need more than that */
        assert_int_equal(fx_in_child(no_address_space, NULL), 0);
}

/* ---- the read-only view ---- */

static int reopened(const struct shm *shm)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", shm->fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void test_readonly(void **state)
{
    struct shm *shm = *state, *view = NULL;
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");
    struct err err = {0};

    strcpy(shm->header->mount_path, "/mnt");
    assert_int_equal(shm_open_readonly(reopened(shm), &view, &err), 0);
    assert_string_equal(view->header->mount_path, "/mnt");
    assert_int_equal(shm_node_at(view, idx)->state, SHM_NODE_LIVE);
    assert_int_equal(shm_node_find(view, SHM_ROOT, "name", 4), idx);
    assert_int_equal(view->nodes->live, 2);
    assert_ptr_equal(shm_arena_of(view, 3),
                     view->base + ((uint8_t *)shm_arena_of(shm, 3) - shm->base));

    /* What is checked stays so: the header is the view's own. */
    shm->header->sizes.nodes = 1u << 24;
    memset(shm->header->mount_path, 'x', sizeof(shm->header->mount_path));
    assert_int_equal(view->header->sizes.nodes, fx_small.nodes);
    assert_string_equal(view->header->mount_path, "/mnt");
    shm->header->sizes.nodes = fx_small.nodes;
    shm_close(view);

    assert_int_equal(shm_open_readonly(reopened(shm), &view, &err), 0);
    assert_int_equal(strlen(view->header->mount_path), sizeof(view->header->mount_path) - 1);
    shm_close(view);
}

static void refused(int fd)
{
    struct shm *view = NULL;
    struct err err = {0};

    assert_int_equal(shm_open_readonly(fd, &view, &err), -EPROTO);
    assert_int_equal(err.code, EPROTO);
    assert_null(view);
    assert_int_equal(close(fd), 0); /* still the caller's */
}

static void test_hostile_sizes(void **state)
{
    struct shm *shm = *state;

    for (size_t i = 0; i < N_SENSELESS; i++) {
        shm->header->sizes = with(senseless[i].field, senseless[i].value);
        refused(reopened(shm));
    }
    shm->header->sizes = with(FIELD(nodes), 128); /* sensible, and not this one's */
    refused(reopened(shm));
    shm->header->sizes = with(FIELD(workers), 3);
    refused(reopened(shm));
    shm->header->sizes = fx_small;
}

static void test_hostile_header(void **state)
{
    struct shm *shm = *state;
    struct shm_header *h = shm->header, good = *h;

    for (int i = 0; i < SHM_TABLES; i++) {
        const uint64_t bad[] = {0, h->table_off[i] + 8, shm->size, UINT64_MAX,
                                UINT64_MAX - h->table_len[i] + 1};

        for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++) {
            h->table_off[i] = bad[k];
            refused(reopened(shm));
            *h = good;
            h->table_len[i] = bad[k];
            refused(reopened(shm));
            *h = good;
        }
    }
    h->magic++;
    refused(reopened(shm));
    *h = good;
    h->version[0]++;
    refused(reopened(shm));
    *h = good;
    h->version[SHM_VERSION_MAX - 1] = 'x';
    refused(reopened(shm));
    *h = good;
    h->size--;
    refused(reopened(shm));
    *h = good;
}

static void test_not_a_segment(void **state)
{
    struct shm *shm = *state, *view = NULL;
    struct err err = {0};
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    /* A true copy that could be cut under the reader. */
    assert_int_equal(write(fd, shm->base, shm->size), (ssize_t)shm->size);
    assert_int_equal(shm_open_readonly(fd, &view, &err), -EPROTO);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(shm_open_readonly(dup(fd), &view, &err), 0);
    shm_close(view);
    /* A byte more than its header says. */
    assert_int_equal(ftruncate(fd, (off_t)shm->size + 1), 0);
    refused(fd);

    fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    refused(dup(fd)); /* empty */
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    refused(fd); /* zeroes */
    refused(open("/dev/null", O_RDONLY | O_CLOEXEC));
    refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    assert_int_equal(shm_open_readonly(-1, &view, &err), -EPROTO);
}

/* For the next image of the daemon: it writes, and the header is not trusted either. */
static void test_attach(void **state)
{
    struct shm *shm = *state, *view = NULL;
    struct shm_header good = *shm->header;
    struct err err = {0};
    uint32_t idx = fx_put(shm, SHM_ROOT, "name", "1");
    int fd;

    assert_int_equal(shm_attach(dup(shm->fd), &view, &err), 0);
    assert_int_equal(shm_node_find(view, SHM_ROOT, "name", 4), idx);
    assert_ptr_equal(view->header, view->base);
    fx_put(view, SHM_ROOT, "other", "2");
    assert_int_equal(shm->nodes->live, 3);
    fx_check(view);
    shm_close(view);

    view = NULL;
    fd = dup(shm->fd);
    shm->header->version[0]++;
    assert_int_equal(shm_attach(fd, &view, &err), -EPROTO);
    *shm->header = good;
    shm->header->table_off[SHM_TABLE_NODE] += 8;
    assert_int_equal(shm_attach(fd, &view, &err), -EPROTO);
    *shm->header = good;
    assert_null(view);
    assert_int_equal(close(fd), 0); /* still the caller's */
    assert_int_equal(shm_attach(-1, &view, &err), -EPROTO);
}

/* The check of each table is run, and says which. */
static void test_check_names_the_table(void **state)
{
    struct shm *shm = *state;
    struct err err = {0};

    shm->nodes->live++;
    assert_int_equal(shm_check(shm, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, "node"));
    shm->nodes->live--;
    shm->blocks->ready++;
    assert_int_equal(shm_check(shm, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, "block"));
    shm->blocks->ready--;
    shm_arena_of(shm, 2)->counted_n = SHM_COUNTED_MAX + 1;
    assert_int_equal(shm_check(shm, &err), -EUCLEAN);
    assert_non_null(strstr(err.text, "arena"));
    shm_arena_of(shm, 2)->counted_n = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_larger_pages),
        cmocka_unit_test(test_hash_keys_differ),
        cmocka_unit_test(test_senseless_sizes),
        cmocka_unit_test(test_short_of_resources),
        cmocka_unit_test_setup_teardown(test_readonly, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_attach, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_hostile_sizes, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_hostile_header, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_not_a_segment, fx_setup, fx_teardown),
        cmocka_unit_test_setup_teardown(test_check_names_the_table, fx_setup, fx_teardown),
    };

    return cmocka_run_group_tests_name("shm_segment", tests, NULL, NULL);
}
