/* See client_fixture.h. */
#include "client_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

const struct server_answer put_ok = {
    .text = "HTTP/1.1 200 OK\r\nETag: \"new\"\r\nContent-Length: 0\r\n\r\n"};

void call_init(struct call *call)
{
    *call = (struct call){0};
    buf_init(&call->data, 64 << 20);
}

void call_end(struct call *call)
{
    buf_done(&call->data);
}

void call_done(void *arg, const struct s3_result *res)
{
    struct call *call = arg;

    call->done++;
    call->res = *res;
    call->res.next_token = NULL;
    if (res->next_token) {
        snprintf(call->next_token, sizeof(call->next_token), "%s", res->next_token);
        call->res.next_token = call->next_token;
    }
    call->res.upload_id = NULL;
    if (res->upload_id) {
        snprintf(call->upload_id, sizeof(call->upload_id), "%s", res->upload_id);
        call->res.upload_id = call->upload_id;
    }
}

int call_on_head(void *arg, const struct s3_object *obj)
{
    struct call *call = arg;

    call->heads++;
    call->head = *obj;
    return call->head_result;
}

int call_on_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct call *call = arg;

    assert_int_equal(call->heads, call->restarts + 1);
    assert_true(len > 0);
    if (call->data.len > 0)
        assert_int_equal(off, call->next_off);
    call->next_off = off + len;
    assert_int_equal(buf_append(&call->data, data, len), 0);
    return call->data_result;
}

int call_on_entry(void *arg, const struct s3_list_entry *entry)
{
    struct call *call = arg;

    assert_int_equal(buf_printf(&call->data, "%s\n", entry->key), 0);
    return call->data_result;
}

void call_on_restart(void *arg)
{
    struct call *call = arg;

    call->restarts++;
    buf_reset(&call->data);
}

void fixture_client(struct fixture *f)
{
    struct err err;

    s3_client_free(f->client);
    f->client = NULL;
    if (s3_client_new(f->loop, &f->conf, f->creds, &f->client, &err) < 0)
        fail_msg("%s", err.text);
}

void fixture_begin(struct fixture *f, const struct server_answer *script, size_t n)
{
    *f = (struct fixture){0};
    call_init(&f->call);
    assert_int_equal(loop_new(&f->loop), 0);
    f->server = server_new(f->loop, script, n);
    snprintf(f->endpoint, sizeof(f->endpoint), "http://127.0.0.1:%u", server_port(f->server));
    assert_int_equal(s3_cred_static_new("AKID", "secret", "token", &f->creds, NULL), 0);
    f->conf = (struct s3_client_conf){
        .endpoint = f->endpoint,
        .region = "us-east-1",
        .bucket = "bkt",
        .connect_timeout_ns = NS_PER_S,
        .attempt_timeout_ns = 400 * NS_PER_MS,
        .deadline_ns = 3 * NS_PER_S,
        .max_attempts = 3,
        .max_connections = 4,
    };
    fixture_client(f);
}

void fixture_end(struct fixture *f)
{
    s3_client_free(f->client);
    s3_cred_free(f->creds);
    server_free(f->server);
    loop_free(f->loop);
    call_end(&f->call);
}

void fixture_wait(struct fixture *f, struct call *call)
{
    uint64_t end = clock_mono_ns() + 20 * NS_PER_S;

    while (!call->done) {
        assert_int_equal(loop_turn(f->loop), 0);
        assert_true(clock_mono_ns() < end);
    }
    assert_int_equal(call->done, 1);
}

static void on_time(struct loop_timer *t)
{
    (void)t;
}

void fixture_turn(struct fixture *f, uint64_t ns)
{
    struct loop_timer timer = {.on_time = on_time};

    loop_timer_set(f->loop, &timer, ns);
    while (timer.armed)
        assert_int_equal(loop_turn(f->loop), 0);
}

void fixture_get(struct fixture *f, const struct s3_get *get)
{
    struct s3_get g = *get;

    call_end(&f->call);
    call_init(&f->call);
    g.on_head = call_on_head;
    g.on_data = call_on_data;
    assert_int_equal(s3_get(f->client, &g, call_done, &f->call, NULL), 0);
    assert_int_equal(f->call.done, 0);
    fixture_wait(f, &f->call);
}

void fixture_put(struct fixture *f, const struct s3_put *put)
{
    call_end(&f->call);
    call_init(&f->call);
    assert_int_equal(s3_put(f->client, put, call_done, &f->call, NULL), 0);
    assert_int_equal(f->call.done, 0);
    fixture_wait(f, &f->call);
}
