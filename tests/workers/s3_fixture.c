/* See s3_fixture.h. */
#include "tests/workers/s3_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_cred.h"
#include "workers/op/spool.h"

#define LIMIT_NS (20 * NS_PER_S)

struct fx_then fx_then;

static struct {
    struct server *server;
    struct s3_cred_source *creds;
    struct s3_client_conf conf;
    struct loop_timer limit;
    char endpoint[64];
} s3;

/* A request that no test expects. */
static const struct server_answer nothing[] = {{.end = SERVER_RESET}};

/* As workers/process/s3_setup.c does it, but with short times, and freed in the end. */
static void new_client(struct fx *fx)
{
    struct err err = {0};

    snprintf(s3.endpoint, sizeof(s3.endpoint), "http://127.0.0.1:%u", server_port(s3.server));
    s3.conf = (struct s3_client_conf){
        .endpoint = s3.endpoint,
        .region = "us-east-1",
        .bucket = "bkt",
        .connect_timeout_ns = NS_PER_S,
        .attempt_timeout_ns = 5 * NS_PER_S,
        .deadline_ns = 10 * NS_PER_S,
        .max_attempts = 1,
        .max_connections = 4,
        .habits = &fx->w.shm->header->habits,
        .etags_required = true,
    };
    assert_int_equal(s3_cred_static_new("AKID", "secret", NULL, &s3.creds, NULL), 0);
    if (s3_client_new(fx->w.loop, &s3.conf, s3.creds, &fx->w.s3, &err) < 0)
        fail_msg("%s", err.text);
}

static void begin(struct fx *fx)
{
    s3.server = server_new(fx->w.loop, nothing, 1);
    new_client(fx);
}

static void end(struct fx *fx)
{
    s3_client_free(fx->w.s3);
    s3_cred_free(s3.creds);
    server_free(s3.server);
}

int fx_s3_setup(void **state)
{
    struct fx *fx;

    if (fx_setup(state) < 0)
        return -1;
    fx = *state;
    fx->conf.bucket = "bkt";
    fx->conf.metadata = CONF_METADATA_IGNORE;
    fx->conf.lookup.speculate = SHM_BLOCK_SIZE;
    begin(fx);
    fx_then = (struct fx_then){0};
    return 0;
}

int fx_s3_teardown(void **state)
{
    end(*state);
    return fx_teardown(state);
}

void fx_s3_replace(struct fx *fx)
{
    end(fx);
    fx_replace(fx);
    begin(fx);
}

void fx_script(const struct server_answer *script, size_t n)
{
    server_script(s3.server, script, n);
}

unsigned fx_requests(void)
{
    return server_count(s3.server);
}

void fx_assert_request(unsigned i, const char *line)
{
    const char *head = server_request(s3.server, i)->head;
    size_t len = strlen(line);

    if (strncmp(head, line, len) != 0 || strncmp(head + len, " HTTP/1.1\r\n", 11) != 0)
        fail_msg("request %u: expected %s, received %.*s", i, line, (int)strcspn(head, "\r"), head);
}

void fx_assert_header(unsigned i, const char *name, const char *value)
{
    assert_string_equal(server_header(s3.server, i, name), value);
}

/* ---- turning the loop ---- */

static void on_limit(struct loop_timer *t)
{
    (void)t;
    fail_msg("what the test waits for does not come; requests so far: %u", fx_requests());
}

void fx_turn_begin(struct fx *fx)
{
    s3.limit.on_time = on_limit;
    loop_timer_set(fx->w.loop, &s3.limit, LIMIT_NS);
}

void fx_turn(struct fx *fx)
{
    assert_int_equal(loop_turn(fx->w.loop), 0);
}

void fx_turn_end(struct fx *fx)
{
    loop_timer_cancel(fx->w.loop, &s3.limit);
}

/* ---- ops and files ---- */

void fx_on_then(struct op *op, int error)
{
    (void)op;
    fx_then.calls++;
    fx_then.error = error;
}

uint32_t fx_file(struct fx *fx, const char *name, const char *etag, uint64_t size)
{
    struct shm_version v = {.size = size,
                            .etag = etag,
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    int64_t node;

    worker_lock(&fx->w);
    node = shm_node_intern(fx->w.shm, SHM_ROOT, name, strlen(name), &v, 1);
    assert_true(node >= 0);
    shm_node_ref(fx->w.shm, (uint32_t)node, 1);
    worker_unlock(&fx->w);
    return (uint32_t)node;
}

struct op *fx_open(struct fx *fx, uint64_t unique, uint32_t node, uint32_t flags)
{
    struct fuse_open_in in = {.flags = flags};
    struct op *op =
        fx_op(fx, FUSE_OPEN, unique, shm_node_id(fx->w.shm, node), &in, sizeof(in), NULL, 0);

    assert_int_equal(op_keep(op), 0);
    return op;
}

void fx_end_op(struct fx *fx, struct op *op)
{
    uint64_t unique = op->rec->unique;
    int error = 0;

    op_fail(op, -EIO);
    assert_true(fx_answer(fx, unique, &error, NULL, 0));
    assert_int_equal(error, -EIO);
}

void fx_assert_spool(struct fx *fx, uint32_t session, const char *text)
{
    char buf[64] = "";
    size_t len = strlen(text);

    assert_true(len < sizeof(buf));
    assert_int_equal(shm_session_at(fx->w.shm, session)->size, len);
    if (len)
        assert_int_equal(spool_read(&fx->w, session, buf, len, 0), len);
    assert_string_equal(buf, text);
}
