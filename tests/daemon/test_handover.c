/* The record of a restart in place: what one image writes, the next one reads, and a record that is
 * not of this version, too short or nonsense is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/handover.h"
#include "daemon/handover_form.h"
#include "tests/base/whole_form.h"

#define SESSIONS 4

static char *const variables[] = {"STATE_BUCKET=abc",
                                  "STATE_MOUNT=/mnt/x",
                                  "AWS_ACCESS_KEY_ID=AKIDEXAMPLE",
                                  "AWS_SECRET_ACCESS_KEY=very/secret",
                                  "STATEPROXY_BUFFER_SESSIONS=4",
                                  NULL};
/* what is left of them after conf_wipe_env */
static char *const rest[] = {"STATE_BUCKET=abc", "STATE_MOUNT=/mnt/x",
                             "STATEPROXY_BUFFER_SESSIONS=4", NULL};

static struct conf *conf;
static struct worker_spool spool[SESSIONS];
static struct shm_header header = {.sizes = {.workers = 2, .sessions = SESSIONS}};
static struct shm shm = {.header = &header};
static struct worker_env env;
static struct handover_own own;

static int new_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static int make_env(void **state)
{
    (void)state;
    assert_int_equal(conf_load(NULL, variables, &conf, NULL), 0);
    shm.fd = new_fd();
    env = (struct worker_env){.conf = conf,
                              .shm = &shm,
                              .spool = spool,
                              .listen_fd = -1,
                              .metrics_fd = -1,
                              .boxes_fd = -1,
                              .notify_fd = new_fd(),
                              .forget_fd = new_fd(),
                              .keeper_fd = new_fd(),
                              .request_limit_ns = 77};
    for (unsigned i = 0; i < 2; i++) {
        env.wake_fd[i] = new_fd();
        env.park_fd[i] = new_fd();
    }
    for (unsigned i = 0; i < SESSIONS; i++)
        spool[i] = (struct worker_spool){.mem_fd = new_fd(), .file_fd = i ? new_fd() : -1};
    own = (struct handover_own){.started_ns = 5,
                                .times = 3,
                                .life_fd = {-1, -1},
                                .control = {.listener_fd = -1, .client_fd = -1},
                                .children = {.n = 1, .child = {{.role = "worker", .pid = 42}}}};
    return 0;
}

static int drop_env(void **state)
{
    (void)state;
    conf_free(conf);
    close(shm.fd);
    close(env.notify_fd);
    close(env.forget_fd);
    close(env.keeper_fd);
    for (unsigned i = 0; i < 2; i++) {
        close(env.wake_fd[i]);
        close(env.park_fd[i]);
    }
    for (unsigned i = 0; i < SESSIONS; i++) {
        close(spool[i].mem_fd);
        if (spool[i].file_fd >= 0)
            close(spool[i].file_fd);
    }
    return 0;
}

static int write_record(void)
{
    struct err err = {0};
    int fd;

    assert_int_equal(handover_write(&env, &own, true, &fd, &err), 0);
    return fd;
}

static void what_is_written_is_read(void **state)
{
    struct handover h;
    struct err err = {0};

    (void)state;
    assert_int_equal(handover_open(write_record(), &h, &err), 0);
    assert_int_equal(h.rec->n_workers, 2);
    assert_int_equal(h.rec->request_limit_ns, 77);
    assert_int_equal(h.rec->wake_fd[1], env.wake_fd[1]);
    assert_int_equal(h.rec->own.times, 3);
    assert_int_equal(h.rec->own.children.child[0].pid, 42);
    assert_string_equal(h.rec->own.children.child[0].role, "worker");
    assert_memory_equal(h.spool, spool, sizeof(spool));
    handover_close(&h);
    handover_close(&h);
}

static void secrets_come_along_and_are_wiped(void **state)
{
    struct handover h;
    struct conf *next;
    struct err err = {0};
    int fd = write_record(), copy = dup(fd);
    char *bytes;
    off_t size = lseek(copy, 0, SEEK_END);

    (void)state;
    assert_int_equal(handover_open(fd, &h, &err), 0);
    assert_int_equal(handover_load_conf(&h, NULL, rest, &next, &err), 0);
    assert_string_equal(next->s3.access_key_id, "AKIDEXAMPLE");
    assert_string_equal(next->s3.secret_access_key, "very/secret");
    assert_null(next->s3.session_token);
    assert_int_equal(handover_compare(&h, next, &err), 0);
    conf_free(next);
    bytes = malloc((size_t)size);
    assert_int_equal(pread(copy, bytes, (size_t)size, 0), size);
    assert_non_null(memmem(bytes, (size_t)size, "very/secret", 11));
    handover_close(&h);
    assert_int_equal(pread(copy, bytes, (size_t)size, 0), size);
    for (off_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], 0);
    free(bytes);
    close(copy);
}

static void what_has_changed_is_named(void **state)
{
    static char *const bucket[] = {"STATE_BUCKET=other", "STATE_MOUNT=/mnt/x",
                                   "STATEPROXY_BUFFER_SESSIONS=4", NULL};
    static char *const level[] = {"STATE_BUCKET=abc", "STATE_MOUNT=/mnt/x",
                                  "STATEPROXY_BUFFER_SESSIONS=4", "STATEPROXY_LOG_LEVEL=debug",
                                  NULL};
    struct handover h;
    struct conf *next;
    struct err err = {0};

    (void)state;
    assert_int_equal(handover_open(write_record(), &h, &err), 0);
    assert_int_equal(handover_load_conf(&h, NULL, bucket, &next, &err), 0);
    assert_int_equal(handover_compare(&h, next, &err), -EXDEV);
    assert_non_null(strstr(err.text, "bucket is now other: "));
    conf_free(next);
    assert_int_equal(handover_load_conf(&h, NULL, level, &next, &err), 0);
    assert_int_equal(handover_compare(&h, next, &err), 0);
    conf_free(next);
    handover_close(&h);
}

/* ---- descriptors ---- */

static bool is_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    assert_true(flags >= 0);
    return !(flags & FD_CLOEXEC);
}

static void descriptors_are_handed_over(void **state)
{
    struct handover h;
    struct err err = {0};

    (void)state;
    assert_int_equal(handover_open(write_record(), &h, &err), 0);
    assert_int_equal(handover_mark_fds(&h, false, &err), 0);
    assert_true(is_inherited(shm.fd) && is_inherited(env.keeper_fd) &&
                is_inherited(env.park_fd[1]) && is_inherited(spool[3].file_fd));
    assert_false(is_inherited(h.fd));
    assert_int_equal(handover_mark_fds(&h, true, &err), 0);
    assert_false(is_inherited(shm.fd) || is_inherited(env.keeper_fd) ||
                 is_inherited(env.park_fd[1]) || is_inherited(spool[3].file_fd));
    handover_close(&h);
}

static void a_closed_descriptor_is_refused(void **state)
{
    int was = env.wake_fd[1];
    struct handover h;
    struct err err = {0};

    (void)state;
    env.wake_fd[1] = 1000000;
    assert_int_equal(handover_open(write_record(), &h, &err), 0);
    assert_int_equal(handover_mark_fds(&h, true, &err), -EBADF);
    assert_non_null(strstr(err.text, "1 descriptors"));
    handover_close(&h);
    env.wake_fd[1] = was;
}

/* ---- bad records ---- */

typedef void change_fn(struct handover_record *r);

static void refused_after(change_fn *change, const char *why)
{
    struct handover h;
    struct err err = {0};
    int fd = write_record();
    struct handover_record *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_true(r != MAP_FAILED);
    change(r);
    munmap(r, sizeof(*r));
    assert_true(handover_open(fd, &h, &err) < 0);
    assert_true(err.code == EPROTO || err.code == EXDEV);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" is not about \"%s\"", err.text, why);
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken, and closed */
}

static void other_magic(struct handover_record *r)
{
    r->magic++;
}

static void no_form(struct handover_record *r)
{
    r->form_off = UINT64_MAX;
}

static void other_form(struct handover_record *r)
{
    r->form_len -= 8;
}

static void more_spool(struct handover_record *r)
{
    r->n_spool++;
}

static void huge_spool(struct handover_record *r)
{
    r->n_spool = UINT32_MAX;
}

static void no_workers(struct handover_record *r)
{
    r->n_workers = 0;
}

static void many_workers(struct handover_record *r)
{
    r->n_workers = SHM_WORKERS_MAX + 1;
}

static void many_children(struct handover_record *r)
{
    r->own.children.n = CHILDREN_MAX + 1;
}

static void endless_role(struct handover_record *r)
{
    memset(r->own.children.child[0].role, 'x', CHILDREN_ROLE_MAX);
}

static void endless_path(struct handover_record *r)
{
    memset(r->mount.path, 'x', sizeof(r->mount.path));
}

static void odd_form(struct handover_record *r)
{
    r->mount.form = FUSE_MOUNT_HANDED_IN + 1;
}

static void longer_fixed(struct handover_record *r)
{
    r->fixed_len++;
    r->secrets_len--;
}

static void bad_records_are_refused(void **state)
{
    (void)state;
    refused_after(other_magic, "not a record");
    refused_after(no_form, "does not say how it is laid out");
    refused_after(other_form, "does not say how it is laid out");
    refused_after(more_spool, "cannot take over");
    refused_after(huge_spool, "makes no sense");
    refused_after(no_workers, "makes no sense");
    refused_after(many_workers, "makes no sense");
    refused_after(many_children, "makes no sense");
    refused_after(endless_role, "makes no sense");
    refused_after(endless_path, "makes no sense");
    refused_after(odd_form, "makes no sense");
    refused_after(longer_fixed, "cannot take over");
}

/* ---- of another version ---- */

static void the_form_is_whole(void **state)
{
    const struct handover_record r = {.n_spool = 1, .fixed_len = 1, .secrets_len = 1};
    struct form_part part[HANDOVER_PARTS];

    (void)state;
    handover_form_parts(&r, part);
    whole_form(part, HANDOVER_PARTS);
}

/* Writes a record of version 9.9.9, in whose form `from` is called `to`. */
static int write_other(const char *from, const char *to)
{
    int fd = write_record();
    size_t size = (size_t)lseek(fd, 0, SEEK_END);
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct handover_record *r = (void *)p;
    char *name;

    assert_true(p != MAP_FAILED);
    memset(r->version, 0, sizeof(r->version));
    memcpy(r->version, "9.9.9", 5);
    name = from ? memmem(p + r->form_off, r->form_len, from, strlen(from) + 1) : NULL;
    if (from) {
        assert_non_null(name);
        memcpy(name, to, strlen(to));
    }
    munmap(p, size);
    return fd;
}

static void another_version_reads_it(void **state)
{
    struct handover h;
    struct conf *next;
    struct err err = {0};
    int fd = write_other(NULL, NULL), copy = dup(fd);
    off_t size = lseek(copy, 0, SEEK_END);
    char *bytes = malloc((size_t)size);

    (void)state;
    assert_int_equal(handover_open(fd, &h, &err), 0);
    assert_non_null(h.other);
    assert_string_equal(h.version, "9.9.9");
    assert_int_equal(h.rec->n_workers, 2);
    assert_int_equal(h.rec->wake_fd[1], env.wake_fd[1]);
    assert_int_equal(h.rec->listen_fd, -1);
    assert_string_equal(h.rec->own.children.child[0].role, "worker");
    assert_memory_equal(h.spool, spool, sizeof(spool));
    assert_int_equal(handover_load_conf(&h, NULL, rest, &next, &err), 0);
    assert_string_equal(next->s3.secret_access_key, "very/secret");
    assert_int_equal(handover_compare(&h, next, &err), 0);
    conf_free(next);
    handover_close(&h);
    assert_int_equal(pread(copy, bytes, (size_t)size, 0), size);
    assert_null(memmem(bytes, (size_t)size, "very/secret", 11)); /* wiped there too */
    free(bytes);
    close(copy);
}

/* What the other version had, and we do not know, would be lost. */
static void what_is_unknown_is_refused(void **state)
{
    struct handover h;
    struct err err = {0};

    (void)state;
    assert_int_equal(handover_open(write_other("metrics_fd", "metrics_gd"), &h, &err), 0); /* -1 */
    handover_close(&h);
    env.metrics_fd = env.notify_fd;
    assert_int_equal(handover_open(write_other("metrics_fd", "metrics_gd"), &h, &err), -EXDEV);
    env.metrics_fd = -1;
    assert_non_null(strstr(err.text, "record.metrics_gd is in use, and unknown to this version"));
}

/* Keys of the configuration that only one of the two has. */
static void keys_of_another_version(void **state)
{
    struct handover h;
    struct conf *next;
    struct err err = {0};
    char *at;

    (void)state;
    assert_int_equal(handover_open(write_record(), &h, &err), 0);
    assert_int_equal(handover_load_conf(&h, NULL, rest, &next, &err), 0);
    at = strstr((char *)(uintptr_t)h.fixed, "\nmount.noexec="); /* a default */
    assert_non_null(at);
    at[1] = 'x';
    assert_int_equal(handover_compare(&h, next, &err), 0);
    at = strstr((char *)(uintptr_t)h.fixed, "\nbuffer.sessions=");
    assert_non_null(at);
    at[1] = 'x';
    assert_int_equal(handover_compare(&h, next, &err), -EXDEV);
    assert_non_null(
        strstr(err.text, "buffer.sessions is set, which the version that runs does not"));
    conf_free(next);
    handover_close(&h);
}

/* A memfd with the first `len` bytes of a record. */
static int cut_record(size_t len)
{
    int whole = write_record(), fd = memfd_create("cut", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char *bytes = malloc(len + 1);

    assert_int_equal(pread(whole, bytes, len, 0), len);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    free(bytes);
    close(whole);
    return fd;
}

static void cut_records_are_refused(void **state)
{
    int whole = write_record();
    size_t size = (size_t)lseek(whole, 0, SEEK_END);
    const size_t lens[] = {0,
                           1,
                           7,
                           8,
                           offsetof(struct handover_record, size),
                           sizeof(struct handover_record) - 1,
                           sizeof(struct handover_record),
                           size - 1};
    struct handover h;
    struct err err = {0};

    (void)state;
    close(whole);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
        assert_int_equal(handover_open(cut_record(lens[i]), &h, &err), -EPROTO);
    assert_int_equal(handover_open(cut_record(size), &h, &err), 0);
    handover_close(&h);
}

/* Its reader would have to wipe, and so to make, all of it. */
static void what_is_too_long_is_refused(void **state)
{
    int fd = memfd_create("long", MFD_CLOEXEC | MFD_ALLOW_SEALING), whole = write_record();
    struct handover_record *r = malloc(sizeof(*r));
    struct handover h;
    struct err err = {0};

    (void)state;
    assert_int_equal(pread(whole, r, sizeof(*r), 0), sizeof(*r));
    assert_int_equal(pwrite(fd, r, sizeof(*r), 0), sizeof(*r));
    assert_int_equal(ftruncate(fd, HANDOVER_SIZE_MAX + 1), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(handover_open(fd, &h, &err), -EPROTO);
    assert_string_equal(err.text, "not a record of a restart in place");
    free(r);
    close(whole);
}

/* For want of memory, say, it is tried again. */
static void what_cannot_be_read_is_not_wiped(void **state)
{
    struct handover h;
    struct err err = {0};
    int fd = write_other("request_limit_ns", "request_limit_xx"), copy = dup(fd);
    uint64_t magic = 0;

    (void)state;
    assert_int_equal(handover_open(fd, &h, &err), -EXDEV);
    assert_int_equal(pread(copy, &magic, sizeof(magic), 0), sizeof(magic));
    assert_true(magic == HANDOVER_MAGIC);
    close(copy);
}

static void what_can_shrink_is_refused(void **state)
{
    struct handover h;
    struct err err = {0};
    int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    (void)state;
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_int_equal(handover_open(fd, &h, &err), -EPROTO);
    assert_int_equal(handover_open(new_fd(), &h, &err), -EPROTO);
    assert_int_equal(handover_open(-1, &h, &err), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(secrets_come_along_and_are_wiped),
        cmocka_unit_test(what_has_changed_is_named),
        cmocka_unit_test(descriptors_are_handed_over),
        cmocka_unit_test(a_closed_descriptor_is_refused),
        cmocka_unit_test(bad_records_are_refused),
        cmocka_unit_test(the_form_is_whole),
        cmocka_unit_test(another_version_reads_it),
        cmocka_unit_test(what_is_unknown_is_refused),
        cmocka_unit_test(keys_of_another_version),
        cmocka_unit_test(cut_records_are_refused),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(what_cannot_be_read_is_not_wiped),
        cmocka_unit_test(what_can_shrink_is_refused),
    };

    return cmocka_run_group_tests(tests, make_env, drop_env);
}
