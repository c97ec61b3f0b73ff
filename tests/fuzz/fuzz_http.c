/* The S3 client against a server that answers anything: s3/s3_reply.c (headers, bodies), the
 * operations behind it, and workers/objmeta/meta.c, which reads the metadata that came.
 *
 * The first line of the input says which requests are made, a letter each (ops below); the rest
 * is the answers, with a line "====" between them. After the last one the server ends the
 * connection. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdbool.h>

#include "base/clock.h"
#include "s3/s3.h"
#include "s3/s3_cred.h"
#include "tests/fuzz/responder.h"
#include "workers/objmeta/meta.h"

#define REQUESTS_MAX 4
#define QUIET_TURNS 5
#define BREAK "\n====\n"

static struct loop *loop;
static struct responder *server;
static struct s3_cred_source *creds;
static char endpoint[64];
static const uint8_t *answers;
static size_t answers_len;

/* One request and what was told of it. */
struct call {
    unsigned done, heads, entries;
    bool data;
    uint64_t next_off;
};

static bool on_request(void *arg, const char *head, struct buf *answer)
{
    const uint8_t *end = memmem(answers, answers_len, BREAK, sizeof(BREAK) - 1);
    size_t len = end ? (size_t)(end - answers) : answers_len;
    size_t skip = end ? len + sizeof(BREAK) - 1 : len;

    (void)arg, (void)head;
    if (len)
        fuzz_check(buf_append(answer, answers, len) == 0);
    answers += skip;
    answers_len -= skip;
    return end != NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    fuzz_check(loop_new(&loop) == 0);
    server = responder_new(loop, on_request, NULL);
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", responder_port(server));
    fuzz_check(s3_cred_static_new("AKID", "secret", "", &creds, NULL) == 0);
    return 0;
}

/* ---- what is told ---- */

static void check_object(const struct s3_object *obj)
{
    struct shm_version v = {.mode = SHM_MODE_UNSET};
    struct meta_out out = {0};

    fuzz_check(strnlen(obj->etag, S3_ETAG_MAX) < S3_ETAG_MAX);
    fuzz_check_text(obj->etag);
    fuzz_check(strnlen(obj->content_type, S3_TYPE_MAX) < S3_TYPE_MAX);
    fuzz_check(obj->meta_len <= S3_META_MAX);
    fuzz_check(!obj->meta_len || !obj->meta[obj->meta_len - 1]);
    (void)meta_read(obj, &v);
    fuzz_check(v.mode == SHM_MODE_UNSET || v.mode <= 01777);
    fuzz_check(v.mtime_ns >= 0);
    fuzz_check(v.atime_ns == SHM_TIME_UNSET || v.atime_ns >= 0);
    fuzz_check(v.ctime_ns == SHM_TIME_UNSET || v.ctime_ns >= 0);
    fuzz_check(!v.type || S_ISLNK(v.type) || obj->size == 0);
    fuzz_check(!(v.type & ~S_IFMT) && (!v.rdev || S_ISCHR(v.type) || S_ISBLK(v.type)));
    (void)meta_keep(&out, obj, META_KEEP_ALL);
    fuzz_check(out.n <= META_PAIRS_MAX);
}

static int on_head(void *arg, const struct s3_object *obj)
{
    struct call *call = arg;

    fuzz_check(!call->done && ++call->heads == 1);
    check_object(obj);
    return 0;
}

static int on_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct call *call = arg;

    fuzz_check(data && len > 0 && call->heads == 1 && !call->done);
    fuzz_check(!call->data || off == call->next_off);
    call->data = true;
    call->next_off = off + len;
    return 0;
}

static int on_entry(void *arg, const struct s3_list_entry *e)
{
    struct call *call = arg;

    fuzz_check(strlen(e->key) == e->key_len);
    fuzz_check(++call->entries <= S3_LIST_MAX);
    return 0;
}

static void on_done(void *arg, const struct s3_result *res)
{
    struct call *call = arg;

    fuzz_check(++call->done == 1);
    fuzz_check(res->error <= 0);
    fuzz_check(!res->error == (res->fail == S3_FAIL_NONE));
    fuzz_check_text(res->text);
    fuzz_check_text(res->code);
    fuzz_check_text(res->region);
    check_object(&res->obj);
    if (!res->error)
        fuzz_check(res->n_entries == call->entries);
    if (!res->error && res->next_token)
        fuzz_check(strlen(res->next_token) < S3_TOKEN_MAX);
}

/* ---- requests ---- */

static int get(struct s3_client *c, struct call *call, struct s3_req **ret)
{
    struct s3_get g = {.key = "k", .on_head = on_head, .on_data = on_data};

    return s3_get(c, &g, on_done, call, ret);
}

static int get_range(struct s3_client *c, struct call *call, struct s3_req **ret)
{
    struct s3_get g = {.key = "k",
                       .off = 2,
                       .len = 8,
                       .if_match = "\"e\"",
                       .on_head = on_head,
                       .on_data = on_data};

    return s3_get(c, &g, on_done, call, ret);
}

static int get_changed(struct s3_client *c, struct call *call, struct s3_req **ret)
{
    struct s3_get g = {
        .key = "k", .len = 8, .if_none_match = "\"e\"", .on_head = on_head, .on_data = on_data};

    return s3_get(c, &g, on_done, call, ret);
}

static int head(struct s3_client *c, struct call *call, struct s3_req **ret)
{
    return s3_head(c, "k", on_done, call, ret);
}

static int put(struct s3_client *c, struct call *call, struct s3_req **ret)
{
    struct s3_put p = {.key = "k", .body = {.mem = "hello", .len = 5}, .if_match = "\"e\""};

    return s3_put(c, &p, on_done, call, ret);
}

static int copy(struct s3_client *c, struct call *call, struct s3_req **ret)
{
    struct s3_copy p = {.from_key = "k", .to_key = "l"};

    return s3_copy(c, &p, on_done, call, ret);
}

static int delete (struct s3_client *c, struct call *call, struct s3_req **ret)
{
    return s3_delete(c, &(struct s3_delete){.key = "k"}, on_done, call, ret);
}

static int list(struct s3_client *c, struct call *call, struct s3_req **ret)
{
    struct s3_list l = {.prefix = "p/", .delimiter = "/", .on_entry = on_entry};

    return s3_list(c, &l, on_done, call, ret);
}

static const struct {
    char letter;
    int (*start)(struct s3_client *c, struct call *call, struct s3_req **ret);
} ops[] = {
    {'g', get}, {'r', get_range}, {'c', get_changed}, {'h', head},
    {'p', put}, {'y', copy},      {'d', delete},      {'l', list},
};

static void on_pause(struct loop_timer *t)
{
    (void)t;
}

/* Turns the loop once, without waiting for anything. */
static void turn(void)
{
    struct loop_timer pause = {.on_time = on_pause};

    loop_timer_set(loop, &pause, 0);
    while (pause.armed)
        fuzz_check(loop_turn(loop) == 0);
}

/* Until nothing comes from the client any more, which no timer makes it send. True: it is done. */
static bool turn_until_quiet(const struct call *call)
{
    unsigned events = responder_events(server);

    for (int quiet = 0; quiet < QUIET_TURNS && !call->done; quiet++) {
        turn();
        if (events != responder_events(server))
            quiet = 0;
        events = responder_events(server);
    }
    return call->done;
}

/* Where the client waits for the rest of an answer, there is none; where it waits to try again, it
 * is not waited for. */
static void run(struct s3_client *c, unsigned op)
{
    struct call call = {0};
    struct s3_req *req;

    fuzz_check(ops[op].start(c, &call, &req) == 0);
    if (!turn_until_quiet(&call)) {
        responder_finish(server);
        if (!turn_until_quiet(&call))
            s3_cancel(req);
    }
    fuzz_check(s3_in_flight(c) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct s3_client_conf conf = {
        .endpoint = endpoint,
        .region = "us-east-1",
        .bucket = "bkt",
        .connect_timeout_ns = NS_PER_S,
        .attempt_timeout_ns = 10 * NS_PER_S,
        .deadline_ns = 10 * NS_PER_S,
        .max_attempts = 1,
        .max_connections = 2,
    };
    const uint8_t *line = memchr(data, '\n', size);
    struct s3_client *client;

    if (!line)
        return 0;
    answers = line + 1;
    answers_len = size - (size_t)(answers - data);
    fuzz_check(s3_client_new(loop, &conf, creds, &client, NULL) == 0);
    for (size_t i = 0; data + i < line && i < REQUESTS_MAX; i++) {
        for (unsigned op = 0; op < sizeof(ops) / sizeof(ops[0]); op++) {
            if (ops[op].letter == data[i])
                run(client, op);
        }
    }
    s3_client_free(client);
    responder_drop_all(server);
    return 0;
}
