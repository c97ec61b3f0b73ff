/* The requests of the server probe, asynchronous or blocking, and what a response means. There are
 * no retries here: a repeated conditional request would meet its own effect. */
#include "workers/probe/cas_probe_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

#define DESCRIPTION_MAX (S3_CODE_MAX + 64)

/* ---- requests ---- */

void cas_take(struct cas_answer *to, const struct s3_result *res)
{
    to->error = res->error;
    to->fail = res->fail;
    to->status = res->http_status;
    to->maybe_acted = res->may_have_acted;
    to->mtime_ns = res->obj.mtime_ns;
    strcpy(to->code, res->code);
    strcpy(to->etag, res->obj.etag);
    snprintf(to->upload_id, sizeof(to->upload_id), "%s", res->upload_id ? res->upload_id : "");
}

static void ask_on_done(void *arg, const struct s3_result *res)
{
    struct cas_ask *a = arg;

    cas_take(&a->answer, res);
    a->done = true;
}

/* Before a request: 0, or -ETIME if the probe has taken too long. */
static int ask_begin(struct cas_probe *p, struct cas_ask *a)
{
    *a = (struct cas_ask){.p = p};
    if (!p->cleaning && clock_mono_ns() > p->end_ns)
        return -ETIME;
    p->n_requests++;
    return 0;
}

int cas_wait(struct cas_probe *p, struct cas_ask *a)
{
    int r = a->r;

    while (r == 0 && !a->done)
        r = loop_turn(p->loop);
    p->answer = a->answer;
    return r;
}

void cas_start_put(struct cas_probe *p, struct cas_ask *a, const char *key, const char *body,
                   const char *if_match, const char *if_none_match)
{
    struct s3_put put = {.key = key,
                         .body = {.mem = body, .fd = -1, .len = strlen(body)},
                         .if_match = if_match,
                         .if_none_match = if_none_match};

    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_put(p->client, &put, ask_on_done, a, NULL);
}

static int ask_on_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct cas_answer *a = &((struct cas_ask *)arg)->answer;

    if (off >= sizeof(a->body) || len > sizeof(a->body) - off)
        return -EMSGSIZE; /* not written by a probe */
    memcpy(a->body + off, data, len);
    a->body_len = (size_t)off + len;
    return 0;
}

void cas_start_get(struct cas_probe *p, struct cas_ask *a, const char *key)
{
    struct s3_get get = {.key = key, .len = CAS_BODY_MAX, .on_data = ask_on_data};

    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_get(p->client, &get, ask_on_done, a, NULL);
}

void cas_start_head(struct cas_probe *p, struct cas_ask *a, const char *key)
{
    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_head(p->client, key, ask_on_done, a, NULL);
}

void cas_start_delete(struct cas_probe *p, struct cas_ask *a, const char *key, const char *if_match)
{
    struct s3_delete del = {.key = key, .if_match = if_match};

    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_delete(p->client, &del, ask_on_done, a, NULL);
}

void cas_start_create(struct cas_probe *p, struct cas_ask *a, const char *key)
{
    struct s3_create create = {.key = key};

    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_create(p->client, &create, ask_on_done, a, NULL);
}

void cas_start_part(struct cas_probe *p, struct cas_ask *a, const char *key, const char *upload_id)
{
    struct s3_part part = {.key = key,
                           .upload_id = upload_id,
                           .number = 1,
                           .body = {.mem = "part", .fd = -1, .len = 4}};

    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_part(p->client, &part, ask_on_done, a, NULL);
}

void cas_start_complete(struct cas_probe *p, struct cas_ask *a, const char *key,
                        const char *upload_id, const char *part_etag, const char *if_match,
                        const char *if_none_match)
{
    struct s3_part_done part = {.number = 1, .etag = part_etag};
    struct s3_complete complete = {.key = key,
                                   .upload_id = upload_id,
                                   .parts = &part,
                                   .n_parts = 1,
                                   .if_match = if_match,
                                   .if_none_match = if_none_match};

    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_complete(p->client, &complete, ask_on_done, a, NULL);
}

/* One code stands for the refusals of all its conditions. */
static void ask_on_copied(void *arg, const struct s3_result *res)
{
    struct cas_ask *a = arg;

    ask_on_done(arg, res);
    if (res->http_status == 412)
        a->answer.error = -EEXIST;
}

void cas_start_copy(struct cas_probe *p, struct cas_ask *a, const char *from, const char *to,
                    const char *if_source_match, const char *if_match, const char *if_none_match)
{
    struct s3_copy copy = {.from_key = from,
                           .to_key = to,
                           .if_source_match = if_source_match,
                           .if_match = if_match,
                           .if_none_match = if_none_match,
                           .strict = true,
                           .replace_meta = true,
                           .is_new = true};

    a->r = ask_begin(p, a);
    if (a->r == 0)
        a->r = s3_copy(p->client, &copy, ask_on_copied, a, NULL);
}

int cas_get(struct cas_probe *p, const char *key)
{
    cas_start_get(p, &p->ask, key);
    return cas_wait(p, &p->ask);
}

int cas_head(struct cas_probe *p, const char *key)
{
    cas_start_head(p, &p->ask, key);
    return cas_wait(p, &p->ask);
}

int cas_delete(struct cas_probe *p, const char *key, const char *if_match)
{
    cas_start_delete(p, &p->ask, key, if_match);
    return cas_wait(p, &p->ask);
}

int cas_part(struct cas_probe *p, const char *key, const char *upload_id)
{
    cas_start_part(p, &p->ask, key, upload_id);
    return cas_wait(p, &p->ask);
}

int cas_complete(struct cas_probe *p, const char *key, const char *upload_id, const char *part_etag,
                 const char *if_match, const char *if_none_match)
{
    cas_start_complete(p, &p->ask, key, upload_id, part_etag, if_match, if_none_match);
    return cas_wait(p, &p->ask);
}

static void on_time(struct loop_timer *t)
{
    (void)t;
}

void cas_pause(struct cas_probe *p, uint64_t ns)
{
    struct loop_timer timer = {.on_time = on_time};
    int r = 0;

    loop_timer_set(p->loop, &timer, ns);
    while (r == 0 && timer.armed)
        r = loop_turn(p->loop);
    loop_timer_cancel(p->loop, &timer);
}

void cas_fresh_name(char name[CAS_NAME_MAX])
{
    uint64_t n = 0;

    if (getrandom(&n, sizeof(n), 0) != sizeof(n))
        n = clock_wall_ns();
    snprintf(name, CAS_NAME_MAX, "%016llx", (unsigned long long)n);
}

void cas_key(const struct cas_probe *p, const char *name, const char *suffix, char out[KEY_CAP])
{
    snprintf(out, KEY_CAP, "%.*s%s%s", (int)(KEY_CAP - CAS_NAME_MAX - 16), p->root, name, suffix);
}

/* ---- judging ---- */

enum cas_outcome cas_wrong(struct cas_probe *p, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(p->text, sizeof(p->text), fmt, args);
    va_end(args);
    return CAS_WRONG;
}

/* The request could not be sent. */
static enum cas_outcome not_sent(struct cas_probe *p, int r)
{
    snprintf(p->text, sizeof(p->text), "%s", r == -ETIME ? CAS_TOO_SLOW : strerror(-r));
    return CAS_UNSURE;
}

/* "503 SlowDown" or "no answer (Connection timed out)" */
static void describe(const struct cas_answer *a, char out[DESCRIPTION_MAX])
{
    if (a->error == 0 || a->fail == S3_FAIL_ANSWER)
        snprintf(out, DESCRIPTION_MAX, "%d %s", a->status, a->code);
    else
        snprintf(out, DESCRIPTION_MAX, "no answer (%s)", strerror(-a->error));
}

enum cas_outcome cas_trouble(struct cas_probe *p, const struct cas_answer *a, const char *what)
{
    bool refused = a->fail == S3_FAIL_ANSWER;
    char answer[DESCRIPTION_MAX];

    describe(a, answer);
    snprintf(p->text, sizeof(p->text), "%s answers %s", what, answer);
    if (refused && a->error == -EACCES)
        return CAS_DENIED;
    /* a server that does not support it now will not support it on a retry */
    return refused && a->status != 409 && a->status != 429 && (a->status < 500 || a->status == 501)
               ? CAS_WRONG
               : CAS_UNSURE;
}

enum cas_outcome cas_must_act(struct cas_probe *p, int r, const char *what)
{
    const struct cas_answer *a = &p->answer;
    enum cas_outcome out;

    if (r < 0)
        return not_sent(p, r);
    if (a->error == 0)
        return CAS_RIGHT;
    out = cas_trouble(p, a, what);
    /* perhaps refused because an earlier attempt took effect */
    return a->maybe_acted && out == CAS_WRONG ? CAS_UNSURE : out;
}

enum cas_outcome cas_must_refuse(struct cas_probe *p, int r, const char *what, const char *does)
{
    const struct cas_answer *a = &p->answer;

    if (r < 0)
        return not_sent(p, r);
    if (a->error == 0)
        return cas_wrong(p, "%s %s", what, does);
    if (a->error == -EEXIST || a->error == -ENOENT)
        return CAS_RIGHT;
    return cas_trouble(p, a, what);
}
