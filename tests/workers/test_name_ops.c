/* MKDIR, RMDIR, UNLINK and RENAME (last write wins) without a kernel: what is sent to S3, what the
 * kernel gets, and what the name table has afterwards. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/shm/stores.h"
#include "tests/workers/s3_fixture.h"
#include "workers/handlers/fuse_op.h"

#define UNIQUE UINT64_C(42)
#define DELETED                                                                                    \
    {                                                                                              \
        .text = "HTTP/1.1 204 No Content\r\n\r\n"                                                  \
    }
#define FORBIDDEN FX_ERROR("403 Forbidden", "AccessDenied")
#define COPIED(etag)                                                                               \
    {                                                                                              \
        .text = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<CopyObjectResult><ETag>\"" etag      \
                "\"</ETag></CopyObjectResult>",                                                    \
        .end = SERVER_CLOSE                                                                        \
    }
#define ENTRY(key) "<Contents><Key>" key "</Key><ETag>\"e\"</ETag><Size>3</Size></Contents>"
#define LIST_EMPTY                                                                                 \
    "GET /bkt?list-type=2&encoding-type=url&max-keys=2&prefix=pre%2Fd%2F&delimiter=%2F"

static const struct fuse_mkdir_in mkdir_in = {.mode = 0700};

static void start(struct fx *fx, uint32_t opcode, const void *arg, size_t arg_len,
                  const char *names, size_t names_len)
{
    struct op *op = fx_op(fx, opcode, UNIQUE, FUSE_ROOT_ID, arg, arg_len, names, names_len);

    op_dispatch(op);
}

/* The reply: 0 with `len` bytes of data, or -errno. */
static int reply(struct fx *fx, void *data, size_t len)
{
    int error = 0;

    FX_WAIT(fx, fx_answer(fx, UNIQUE, &error, data, len));
    return error;
}

static int call(struct fx *fx, uint32_t opcode, const char *name)
{
    start(fx, opcode, NULL, 0, name, strlen(name) + 1);
    return reply(fx, NULL, 0);
}

static int rename_to(struct fx *fx, const char *names, size_t len, uint32_t flags)
{
    struct fuse_rename2_in in = {.newdir = FUSE_ROOT_ID, .flags = flags};

    start(fx, FUSE_RENAME2, &in, sizeof(in), names, len);
    return reply(fx, NULL, 0);
}

#define RENAME(fx, from, to, flags) rename_to(fx, from "\0" to, sizeof(from "\0" to), flags)

static uint32_t find(struct fx *fx, const char *name)
{
    uint32_t node;

    worker_lock(&fx->w);
    node = shm_node_find(fx->w.shm, SHM_ROOT, name, strlen(name));
    worker_unlock(&fx->w);
    return node;
}

static uint32_t a_dir(struct fx *fx, const char *name)
{
    struct shm_version v = {
        .dir = true, .mode = SHM_MODE_UNSET, .uid = SHM_MODE_UNSET, .gid = SHM_MODE_UNSET};
    int64_t node;

    worker_lock(&fx->w);
    node = shm_node_intern(fx->w.shm, SHM_ROOT, name, strlen(name), &v, 1);
    assert_true(node >= 0);
    worker_unlock(&fx->w);
    return (uint32_t)node;
}

static int setup(void **state)
{
    int r = fx_s3_setup(state);
    struct fx *fx = *state;

    fx->conf.directories.marker = true;
    return r;
}

/* ---- what none of them may do ---- */

static void test_refused(void **state)
{
    struct fx *fx = *state;
    char name[SHM_NAME_MAX + 2];

    fx->conf.mount.read_only = true;
    assert_int_equal(call(fx, FUSE_UNLINK, "f"), -EROFS);
    assert_int_equal(RENAME(fx, "f", "g", 0), -EROFS);
    fx->conf.mount.read_only = false;
    fx->w.shm->header->draining = 1;
    assert_int_equal(call(fx, FUSE_RMDIR, "d"), -ESHUTDOWN);
    fx->w.shm->header->draining = 0;
    memset(name, 'n', sizeof(name));
    name[SHM_NAME_MAX + 1] = '\0';
    assert_int_equal(call(fx, FUSE_UNLINK, name), -ENAMETOOLONG);
    assert_int_equal(fx_requests(), 0);
}

/* ---- MKDIR, RMDIR ---- */

static void test_mkdir(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;
    const struct shm_node *n;

    FX_SCRIPT(FX_PUT("e"));
    start(fx, FUSE_MKDIR, &mkdir_in, sizeof(mkdir_in), "d", 2);
    assert_int_equal(reply(fx, &out, sizeof(out)), 0);
    fx_assert_request(0, "PUT /bkt/pre/d/");
    fx_assert_header(0, "content-length", "0");
    fx_assert_header(0, "content-type", "application/x-directory");
    assert_int_equal(out.attr.mode, S_IFDIR | 0700);
    assert_int_not_equal(find(fx, "d"), SHM_NIL);
    n = shm_node_at(fx->w.shm, find(fx, "d"));
    assert_int_equal(out.nodeid, shm_node_id(fx->w.shm, find(fx, "d")));
    assert_true(n->flags & SHM_NODE_COMPLETE); /* it is known to be empty */
    assert_int_equal(n->nlookup, 1);
}

static void test_mkdir_fails(void **state)
{
    struct fx *fx = *state;

    FX_SCRIPT(FORBIDDEN);
    start(fx, FUSE_MKDIR, &mkdir_in, sizeof(mkdir_in), "d", 2);
    assert_int_equal(reply(fx, NULL, 0), -EACCES);
    assert_int_equal(find(fx, "d"), SHM_NIL);
}

static void test_mkdir_without_markers(void **state)
{
    struct fx *fx = *state;
    struct fuse_entry_out out;

    fx->conf.directories.marker = false;
    start(fx, FUSE_MKDIR, &mkdir_in, sizeof(mkdir_in), "d", 2);
    assert_int_equal(reply(fx, &out, sizeof(out)), 0);
    assert_true(shm_node_at(fx->w.shm, find(fx, "d"))->flags & SHM_NODE_LOCAL);
    assert_int_equal(fx_requests(), 0);
}

static void test_rmdir(void **state)
{
    struct fx *fx = *state;

    (void)a_dir(fx, "d");
    FX_SCRIPT(FX_LIST(ENTRY("pre/d/")), DELETED);
    assert_int_equal(call(fx, FUSE_RMDIR, "d"), 0);
    fx_assert_request(0, LIST_EMPTY);
    fx_assert_request(1, "DELETE /bkt/pre/d/");
    assert_int_equal(find(fx, "d"), SHM_NIL);
}

static void test_rmdir_of_what_is_not_empty(void **state)
{
    struct fx *fx = *state;
    uint32_t d = a_dir(fx, "d");
    struct shm_version local = {
        .local = true, .mode = SHM_MODE_UNSET, .uid = SHM_MODE_UNSET, .gid = SHM_MODE_UNSET};
    int64_t f, session;

    FX_SCRIPT(FX_LIST(ENTRY("pre/d/") ENTRY("pre/d/x")), FORBIDDEN);
    assert_int_equal(call(fx, FUSE_RMDIR, "d"), -ENOTEMPTY);
    assert_int_equal(call(fx, FUSE_RMDIR, "d"), -EACCES);
    assert_int_equal(find(fx, "d"), d);
    worker_lock(&fx->w); /* no listing of S3 shows a file that is not published yet */
    f = shm_node_intern(fx->w.shm, d, "f", 1, &local, 1);
    session = shm_session_new(fx->w.shm, (uint32_t)f);
    worker_unlock(&fx->w);
    assert_true(f >= 0 && session >= 0);
    assert_int_equal(call(fx, FUSE_RMDIR, "d"), -ENOTEMPTY);
    assert_int_equal(fx_requests(), 2);
}

/* ---- UNLINK ---- */

static void test_unlink(void **state)
{
    struct fx *fx = *state;

    (void)fx_file(fx, "f", "\"e\"", 3);
    FX_SCRIPT(DELETED);
    assert_int_equal(call(fx, FUSE_UNLINK, "f"), 0);
    fx_assert_request(0, "DELETE /bkt/pre/f");
    fx_assert_header(0, "if-match", "\"e\"");
    assert_int_equal(find(fx, "f"), SHM_NIL);
}

static void test_unlink_fails(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 3);

    FX_SCRIPT(FORBIDDEN);
    assert_int_equal(call(fx, FUSE_UNLINK, "f"), -EACCES);
    assert_int_equal(find(fx, "f"), node);
    assert_int_equal(shm_node_at(fx->w.shm, node)->busy, 0);
}

/* S3 has never heard of it. Who writes to it goes on, and publishes nothing. */
static void test_unlink_of_a_new_file(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);

    assert_int_equal(call(fx, FUSE_UNLINK, "f"), 0);
    assert_int_equal(find(fx, "f"), SHM_NIL);
    assert_true(shm_session_at(fx->w.shm, session)->flags & SHM_SESSION_ORPHAN);
    assert_int_equal(fx_requests(), 0);
}

/* ---- RENAME ---- */

static void test_rename(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 3), old = fx_file(fx, "g", "\"old\"", 3);

    FX_SCRIPT(COPIED("copy"), DELETED);
    assert_int_equal(RENAME(fx, "f", "g", 0), 0);
    fx_assert_request(0, "PUT /bkt/pre/g");
    fx_assert_header(0, "x-amz-copy-source", "/bkt/pre/f");
    fx_assert_header(0, "x-amz-copy-source-if-match", "\"e\"");
    fx_assert_request(1, "DELETE /bkt/pre/f");
    fx_assert_header(1, "if-match", "\"e\""); /* what has been written since stays */
    assert_int_equal(find(fx, "f"), SHM_NIL);
    assert_int_equal(find(fx, "g"), node);
    assert_string_equal(shm_node_at(fx->w.shm, node)->etag, "\"copy\"");
    assert_int_equal(shm_node_at(fx->w.shm, node)->busy, 0);
    assert_int_equal(shm_node_at(fx->w.shm, old)->busy, 0);
}

/* The source is of another version by now: the kernel looks up again. Nothing is deleted. */
static void test_rename_of_another_version(void **state)
{
    struct fx *fx = *state;
    uint32_t node = fx_file(fx, "f", "\"e\"", 3);

    FX_SCRIPT(FX_ERROR("412 Precondition Failed", "PreconditionFailed"), FX_HEAD("other", "3"));
    assert_int_equal(RENAME(fx, "f", "g", 0), -ESTALE);
    fx_assert_request(1, "HEAD /bkt/pre/f"); /* whether the server keeps the condition */
    assert_int_equal(fx_requests(), 2);
    assert_int_equal(find(fx, "f"), SHM_NIL);
    assert_int_equal(find(fx, "g"), SHM_NIL);
    assert_int_equal(shm_node_at(fx->w.shm, node)->busy, 0);
}

/* Both names are there: as after any copy. */
static void test_rename_that_cannot_delete(void **state)
{
    struct fx *fx = *state;

    (void)fx_file(fx, "f", "\"e\"", 3);
    FX_SCRIPT(COPIED("copy"), FORBIDDEN);
    assert_int_equal(RENAME(fx, "f", "g", 0), -EACCES);
    assert_int_equal(fx_requests(), 2);
    assert_int_not_equal(find(fx, "f"), SHM_NIL);
}

static void test_rename_of_unpublished_bytes(void **state)
{
    struct fx *fx = *state;
    uint32_t node, session = fx_session(fx, "f", &node);
    struct shm_session *s = store_session(fx->w.shm, session);

    s->flags |= SHM_SESSION_UNPUBLISHED;
    s->expect.absent = true;
    FX_SCRIPT(FX_PUT("new"), COPIED("copy"), DELETED);
    assert_int_equal(RENAME(fx, "f", "g", 0), 0);
    fx_assert_request(0, "PUT /bkt/pre/f");
    fx_assert_header(1, "x-amz-copy-source-if-match", "\"new\"");
    fx_assert_header(2, "if-match", "\"new\"");
    assert_int_equal(find(fx, "g"), node);
    assert_string_equal(shm_node_at(fx->w.shm, node)->etag, "\"copy\"");
    assert_false(shm_session_dirty(s));
}

static void test_renames_that_are_refused(void **state)
{
    struct fx *fx = *state;

    (void)fx_file(fx, "f", "\"e\"", 3);
    (void)fx_file(fx, "g", "\"e\"", 3);
    (void)a_dir(fx, "d");
    assert_int_equal(RENAME(fx, "f", "d", 0), -EISDIR);
    assert_int_equal(RENAME(fx, "d", "f", 0), -ENOTDIR);
    assert_int_equal(RENAME(fx, "f", "g", 1), -EEXIST); /* RENAME_NOREPLACE */
    assert_int_equal(RENAME(fx, "f", "g", 2), -EINVAL); /* RENAME_EXCHANGE */
    assert_int_equal(RENAME(fx, "unknown", "g", 0), -ESTALE);
    assert_int_equal(RENAME(fx, "f", "f", 0), 0);
    assert_int_equal(RENAME(fx, "f", "f", 1), -EEXIST);
    fx_set_variant(fx, CONF_S3_BUFFERED_CAS);
    assert_int_equal(RENAME(fx, "d", "e", 0), -EXDEV); /* mv(1) copies file by file */
    assert_int_equal(fx_requests(), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, fx_s3_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refused),
        TEST(test_mkdir),
        TEST(test_mkdir_fails),
        TEST(test_mkdir_without_markers),
        TEST(test_rmdir),
        TEST(test_rmdir_of_what_is_not_empty),
        TEST(test_unlink),
        TEST(test_unlink_fails),
        TEST(test_unlink_of_a_new_file),
        TEST(test_rename),
        TEST(test_rename_of_another_version),
        TEST(test_rename_that_cannot_delete),
        TEST(test_rename_of_unpublished_bytes),
        TEST(test_renames_that_are_refused),
    };

    return cmocka_run_group_tests_name("name_ops", tests, NULL, NULL);
}
