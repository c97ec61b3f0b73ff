/* What the segment says of its own layout: every byte of every struct belongs to one field, and a
 * segment of another form is carried over. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "shm/shm_baseline.h"
#include "shm/shm_carry.h"
#include "shm/shm_flock.h"
#include "shm/shm_form.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_layout.h"
#include "shm/shm_session.h"
#include "shm/shm_upload.h"
#include "tests/base/whole_form.h"
#include "tests/shm/fixture.h"

#define GAP_MAX 256 /* between two arrays of a table: the second is aligned */

/* ---- no byte is forgotten ---- */

static void test_every_byte_has_a_field(void **state)
{
    struct shm *shm = fx_new(&fx_small);
    struct form_part part[FORM_PARTS_MAX];
    unsigned n = shm_form_parts(shm->header, part);

    (void)state;
    whole_form(part, n);
    shm_close(shm);
}

/* The tables that begin anew. */
static bool begins_anew(int table)
{
    return table == SHM_TABLE_BLOCK || table == SHM_TABLE_BLOCK_DATA || table == SHM_TABLE_STATS ||
           table == SHM_TABLE_FORM;
}

static void test_every_byte_has_a_part(void **state)
{
    struct shm_sizes sizes = fx_small;
    struct form_part part[FORM_PARTS_MAX];
    struct shm *shm;
    uint8_t *seen;
    unsigned n;

    (void)state;
    sizes.baselines = 8;
    shm = fx_new(&sizes);
    n = shm_form_parts(shm->header, part);
    seen = calloc(1, shm->size);
    for (unsigned i = 0; i < n; i++) {
        for (uint64_t set = 0; set < part[i].sets; set++) {
            for (uint64_t k = 0; k < part[i].n; k++)
                memset(seen + part[i].at + set * part[i].set_stride + k * part[i].stride, 1,
                       part[i].len);
        }
    }
    for (int t = 0; t < SHM_TABLES; t++) {
        size_t gap = 0, page = shm->header->sizes.page;

        for (uint64_t k = 0; !begins_anew(t) && k < shm->header->table_len[t]; k++) {
            gap = seen[shm->header->table_off[t] + k] ? 0 : gap + 1;
            /* (arenas are aligned to pages) */
            if (gap > (t == SHM_TABLE_ARENA ? 2 * page : GAP_MAX))
                fail_msg("table %s: nothing describes byte %llu", shm_layout[t].name,
                         (unsigned long long)k);
        }
    }
    free(seen);
    shm_close(shm);
}

/* ---- carrying ---- */

static struct shm *carried_unchecked(struct shm *old)
{
    struct shm_other other;
    struct err err = {0};
    struct shm *shm;

    if (shm_carry_look(old->fd, &other, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(other.version, old->header->version);
    assert_memory_equal(&other.sizes, &old->header->sizes, sizeof(other.sizes));
    shm = fx_new(&other.sizes);
    if (shm_carry(old->fd, shm, &err) < 0)
        fail_msg("%s", err.text);
    return shm;
}

static struct shm *carried(struct shm *old)
{
    struct shm *shm = carried_unchecked(old);

    fx_check(shm);
    return shm;
}

static struct shm *filled(void)
{
    struct shm_sizes sizes = fx_small;
    struct shm *shm;
    struct shm_baseline_value v = {
        .flags = SHM_BASELINE_READ | SHM_BASELINE_LINEAGE, .etag = "\"v1\"", .lineage = "abcdefgh"};
    struct shm_baseline_who who = {.tgid = 42, .start = 77};
    struct shm_flock lock = {.owner = 9, .start = 5, .end = 10, .type = SHM_FLOCK_WRITE};
    struct shm_baseline_key key;
    uint32_t dir, file, wake;
    char name[256];

    sizes.baselines = 8;
    shm = fx_new(&sizes);
    fx_name(name, 250, 'x', 1);
    dir = fx_mkdir(shm, SHM_ROOT, "dir");
    file = fx_put(shm, dir, "file", "\"v1\"");
    fx_ref(shm, file, 3);
    fx_ref(shm, fx_put(shm, dir, name, "\"v7\""), 1);
    key = shm_baseline_key(shm, "dir/file", 8);
    fx_lock(shm);
    assert_int_equal(shm_session_new(shm, file), 0);
    shm_session_set_xattr(shm, 0, "user.a=b");
    assert_int_equal(shm_handle_new(shm, SHM_HANDLE_FILE, file, 2), 0);
    shm_handle_edit(shm, 0)->session = 0;
    for (int i = 0; i < 20; i++) { /* some are evicted, and leave traces */
        who.start = 77 + (uint64_t)i;
        shm_baseline_set(shm, &key, &who, &v, 100);
    }
    assert_int_equal(shm_flock_set(shm, file, &lock, &wake), 0);
    fx_unlock(shm);
    return shm;
}

static void test_all_comes_along(void **state)
{
    struct shm *old = filled(), *shm = carried(old);
    struct shm_baseline_who who = {.tgid = 42, .start = 96};
    struct shm_baseline_value v;
    struct shm_baseline_key key = shm_baseline_key(shm, "dir/file", 8);
    uint32_t dir = fx_find(shm, SHM_ROOT, "dir"), file = fx_find(shm, dir, "file");
    struct shm_flock want = {.owner = 8, .start = 7, .end = 7, .type = SHM_FLOCK_READ}, found;

    (void)state;
    assert_int_equal(file, fx_find(old, dir, "file"));
    fx_lock(shm);
    assert_int_equal(shm_node_id(shm, file), shm_node_id(old, file));
    assert_int_equal(shm_handle_fh(shm, 0), shm_handle_fh(old, 0));
    assert_memory_equal(shm_node_at(shm, file), shm_node_at(old, file), sizeof(struct shm_node));
    assert_memory_equal(shm_session_at(shm, 0), shm_session_at(old, 0), sizeof(struct shm_session));
    assert_int_equal(shm_baseline_get(shm, &key, &who, &v), SHM_BASELINE_KNOWN);
    assert_string_equal(v.lineage, "abcdefgh");
    who.start = 77;
    assert_int_equal(shm_baseline_get(shm, &key, &who, &v), SHM_BASELINE_DROPPED);
    assert_true(shm_baseline_evicted(shm, &key, &who));
    who.start = 1;
    assert_int_equal(shm_baseline_get(shm, &key, &who, &v), SHM_BASELINE_NONE);
    assert_true(shm_flock_find(shm, file, &want, &found));
    assert_int_equal(found.owner, 9);
    fx_unlock(shm);
    shm_close(shm);
    shm_close(old);
}

/* Whoever died in a section has not changed anything. */
static void test_what_was_not_committed_is_undone(void **state)
{
    struct shm *old = filled(), *shm;
    uint32_t dir = fx_find(old, SHM_ROOT, "dir"), used;

    (void)state;
    fx_lock(old);
    shm_node_edit(old, dir)->mode = 0700;
    shm_set(old, old->meta, old->nodes->lookups, 99);
    used = old->meta->log_used;
    assert_true(used > 0);
    shm = carried_unchecked(old);
    assert_int_equal(old->meta->log_used, used); /* the old one is as it was */
    assert_int_equal(shm_node_at(old, dir)->mode, 0700);
    assert_int_equal(shm_node_at(shm, dir)->mode, SHM_MODE_UNSET);
    shm_rollback(old, old->meta);
    fx_unlock(old);
    fx_check(shm);
    shm_close(shm);
    shm_close(old);
}

static void test_requests_in_flight_come_along(void **state)
{
    struct shm *old = filled(), *shm;
    struct shm_record *r = shm_arena_record(old, 1, 2);

    (void)state;
    atomic_store(&r->state, SHM_RECORD_IN_FLIGHT);
    r->unique = 0x123456789abcdef0;
    r->request_len = SHM_REQUEST_MAX;
    r->progress.rename.step = SHM_RENAME_COPIED;
    r->progress.rename.copies = 3;
    memset(shm_arena_beside(old, 1, 2), 0x5a, SHM_REQUEST_MAX);
    memset(shm_arena_read_area(old, 3), 0xa5, SHM_READ_HEAD + old->header->sizes.payload);
    atomic_store(&shm_arena_of(old, 3)->current.state, SHM_RECORD_READING);
    shm = carried(old);
    assert_memory_equal(shm_arena_record(shm, 1, 2), r, sizeof(*r));
    assert_memory_equal(shm_arena_beside(shm, 1, 2), shm_arena_beside(old, 1, 2), SHM_REQUEST_MAX);
    assert_memory_equal(shm_arena_read_area(shm, 3), shm_arena_read_area(old, 3),
                        SHM_READ_HEAD + old->header->sizes.payload);
    assert_int_equal(atomic_load(&shm_arena_of(shm, 3)->current.state), SHM_RECORD_READING);
    shm_close(shm);
    shm_close(old);
}

static unsigned pages_there(struct shm *shm, enum shm_table table)
{
    off_t at = (off_t)shm->header->table_off[table];
    off_t end = at + (off_t)shm->header->table_len[table];
    off_t page = sysconf(_SC_PAGESIZE);
    unsigned n = 0;

    while ((at = lseek(shm->fd, at, SEEK_DATA)) >= 0 && at < end) {
        n++;
        at += page;
    }
    return n;
}

/* What nobody has touched stays a hole. */
static void test_holes_stay_holes(void **state)
{
    struct shm *old = filled(), *shm;

    (void)state;
    fx_lock(old);
    shm_upload_open(old, 0, &(struct shm_upload_new){.key = "k", .id = "i", .write_id = ""});
    fx_unlock(old);
    shm = carried_unchecked(old); /* (the check touches all) */
    assert_true(pages_there(shm, SHM_TABLE_UPLOAD) > 0);
    assert_true(pages_there(shm, SHM_TABLE_UPLOAD) <= pages_there(old, SHM_TABLE_UPLOAD));
    assert_true(pages_there(shm, SHM_TABLE_NODE) <= pages_there(old, SHM_TABLE_NODE));
    shm_close(shm);
    shm_close(old);
}

static void refused(struct shm *old, int error, const char *why)
{
    struct shm_other other;
    struct err err = {0};

    assert_int_equal(shm_carry_look(old->fd, &other, &err), -error);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void test_what_cannot_be_carried(void **state)
{
    struct shm *old = filled();
    char *field =
        memmem(old->base + old->header->form_off, old->header->form_len, "checked_ns", 10);

    (void)state;
    assert_non_null(field);
    memcpy(field, "seconds_ns", 10); /* another meaning has another name */
    refused(old, EXDEV, "node.seconds_ns is in use, and unknown to this version");
    memcpy(field, "checked_ns", 10);
    old->header->sizes.workers = 17;
    refused(old, EXDEV, "sizes that this one cannot have");
    old->header->sizes.workers = 3;
    refused(old, EXDEV, "entries"); /* its form says 4 */
    old->header->sizes.workers = 4;
    old->header->form_len--;
    refused(old, EPROTO, "does not say how it is laid out");
    old->header->form_len++;
    old->header->form_off = UINT64_MAX;
    refused(old, EPROTO, "does not say how it is laid out");
    old->header->form_off = old->header->table_off[SHM_TABLE_FORM];
    old->header->magic++;
    refused(old, EPROTO, "not a stateproxy segment");
    shm_close(old);
}

/* Another build of the same version is seen as such. */
static void test_another_build(void **state)
{
    struct shm *old = filled(), *shm;
    struct err err = {0};
    uint8_t *form = old->base + old->header->form_off;
    int fd = dup(old->fd);

    (void)state;
    form[old->header->form_len - 8] ^= 1; /* the kind of a field */
    assert_int_equal(shm_attach(fd, &shm, &err), -EPROTO);
    assert_int_equal(shm_open_readonly(fd, &shm, &err), -EPROTO);
    assert_non_null(strstr(err.text, "another build"));
    close(fd);
    shm_close(old);
}

/* Whatever is written there, nothing beyond the segment is touched. */
static void test_hostile_forms(void **state)
{
    struct shm *old = filled();
    uint64_t rnd = fx_seed();
    uint8_t *form = old->base + old->header->form_off;
    uint32_t len = old->header->form_len;
    uint8_t *good = malloc(len);

    (void)state;
    memcpy(good, form, len);
    for (int i = 0; i < 3000; i++) {
        struct shm_other other;
        struct err err = {0};
        int r;

        for (uint32_t k = fx_below(&rnd, 4) + 1; k; k--)
            form[fx_below(&rnd, len)] = (uint8_t)fx_rand(&rnd);
        r = shm_carry_look(old->fd, &other, &err);
        assert_true(r == 0 || r == -EPROTO || r == -EXDEV);
        if (r == 0 && i % 8 == 0) {
            struct shm *shm = fx_new(&other.sizes);

            r = shm_carry(old->fd, shm, &err);
            assert_true(r == 0 || r == -EXDEV);
            shm_close(shm);
        }
        memcpy(form, good, len);
    }
    free(good);
    shm_close(old);
}

/* That it cannot be found out now is no answer: the next try may have one. */
static void test_whose_it_is(void **state)
{
    struct shm *shm = filled();
    struct rlimit lim, none;

    (void)state;
    assert_int_equal(shm_carry_is_own(shm->fd), 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
    none = (struct rlimit){0, lim.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_true(shm_carry_is_own(shm->fd) < 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
    shm->header->version[0]++;
    assert_int_equal(shm_carry_is_own(shm->fd), 0);
    shm_close(shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_has_a_field),
        cmocka_unit_test(test_every_byte_has_a_part),
        cmocka_unit_test(test_all_comes_along),
        cmocka_unit_test(test_what_was_not_committed_is_undone),
        cmocka_unit_test(test_requests_in_flight_come_along),
        cmocka_unit_test(test_holes_stay_holes),
        cmocka_unit_test(test_what_cannot_be_carried),
        cmocka_unit_test(test_another_build),
        cmocka_unit_test(test_whose_it_is),
        cmocka_unit_test(test_hostile_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
