/* POST /query: lists the keys below the prefix, reads the first of them one after the other, and
 * answers with those that match. What is kept is bounded: query.h, and the limits of the
 * configuration. */
#include "workers/connector/con_query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/connector/con_key.h"
#include "workers/connector/query.h"
#include "workers/connector/query_memory.h"

#define BODY_MAX (1u << 20)
#define KEYS_BYTES_MAX (16u << 20) /* names of the keys to be read */
#define DOC_MAX (8u << 20)         /* a larger object is no document */
#define PIECE (64u << 10)

struct query_job {
    struct con_job job;
    struct con_key prefix;
    struct buf body;
    struct query query;
    struct s3_req *req;
    struct buf keys; /* to be read, each with a NUL */
    size_t key_at;   /* the next one */
    uint64_t n_keys, n_listed;
    bool too_many;
    char after[KEY_CAP];
    char token[S3_TOKEN_MAX];
    struct buf doc;
    bool doc_fits;
    uint64_t fetched; /* bytes */
    size_t taken;     /* of the memory of all queries: body, keys, and doc_taken */
    size_t doc_taken;
    struct query_rows rows;
    bool answers; /* the answer is being sent */
    struct query_answer answer;
};

static void query_page(struct query_job *j);
static void query_fetch(struct query_job *j);

static void query_job_free(struct query_job *j)
{
    if (j->req)
        s3_cancel(j->req);
    query_done(&j->query);
    query_rows_done(&j->rows);
    query_memory_give(j->taken);
    buf_done(&j->body);
    buf_done(&j->keys);
    buf_done(&j->doc);
    free(j);
}

static void query_refuse_s3(struct query_job *j, const struct s3_result *res)
{
    con_refuse_s3(j->job.c, res, j->query.prefix);
    query_job_free(j);
}

static void query_refuse(struct query_job *j, int error)
{
    con_refuse_error(j->job.c, error, 0, S3_FAIL_LOCAL,
                     error == -ENOMEM ? "too many queries at once" : "the result is too large", "");
    query_job_free(j);
}

static bool query_take(struct query_job *j, size_t bytes)
{
    if (!query_memory_take(bytes))
        return false;
    j->taken += bytes;
    return true;
}

static void query_give(struct query_job *j, size_t bytes)
{
    query_memory_give(bytes);
    j->taken -= bytes;
}

/* ---- the answer ---- */

static void query_send(struct query_job *j)
{
    struct http_conn *c = j->job.c;
    const char *text;
    size_t len;
    int r = 0;

    while (r == 0 && !http_conn_is_full(c)) {
        if (!query_answer_next(&j->answer, PIECE, &text, &len)) {
            query_job_free(j);
            http_conn_end(c);
            return;
        }
        r = http_conn_write(c, text, len);
    }
    if (r == 0)
        return;
    http_conn_break(c);
    query_job_free(j);
}

static void query_on_room(struct con_job *job)
{
    struct query_job *j = (struct query_job *)job;

    if (j->answers)
        query_send(j);
}

static void query_answer(struct query_job *j)
{
    query_sort(&j->query, &j->rows);
    query_answer_begin(&j->query, &j->rows, &j->answer);
    j->answers = true;
    http_conn_begin(j->job.c, 200, CON_JSON, j->answer.len);
    query_send(j);
}

/* ---- reading ---- */

static void drop_doc(struct query_job *j)
{
    query_give(j, j->doc_taken);
    j->doc_taken = 0;
    if (j->doc.cap > PIECE)
        buf_done(&j->doc);
    buf_reset(&j->doc);
}

static int query_on_head(void *arg, const struct s3_object *obj)
{
    struct query_job *j = arg;

    drop_doc(j);
    j->doc_fits = obj->size <= DOC_MAX;
    if (!j->doc_fits)
        return -EFBIG;
    if (!query_take(j, (size_t)obj->size))
        return -ENOMEM;
    j->doc_taken = (size_t)obj->size;
    return 0;
}

static int query_on_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct query_job *j = arg;

    (void)off;
    return buf_append(&j->doc, data, len);
}

/* A key that is gone by now, or too large, is none of the documents. */
static void query_on_doc(void *arg, const struct s3_result *res)
{
    struct query_job *j = arg;
    int r = 0;

    j->req = NULL;
    if (res->error == -ENOMEM) {
        query_refuse(j, -ENOMEM);
        return;
    }
    if (res->error && res->error != -ENOENT && (j->doc_fits || res->error != -EFBIG)) {
        query_refuse_s3(j, res);
        return;
    }
    if (!res->error) {
        j->fetched += j->doc.len;
        r = query_add(&j->query, j->doc.len ? j->doc.data : "", j->doc.len, &j->rows);
    }
    drop_doc(j);
    if (r < 0)
        query_refuse(j, r);
    else
        query_fetch(j);
}

static void query_fetch(struct query_job *j)
{
    const char *key;
    struct s3_get get = {.on_head = query_on_head, .on_data = query_on_data};
    struct s3_result res = {0};

    if (j->key_at == j->keys.len || j->fetched >= j->job.w->conf->query.max_fetch_bytes) {
        query_answer(j);
        return;
    }
    key = j->keys.data + j->key_at;
    j->key_at += strlen(key) + 1;
    j->doc_fits = true;
    get.key = key;
    res.error = s3_get(j->job.w->s3, &get, query_on_doc, j, &j->req);
    if (res.error < 0)
        query_refuse_s3(j, &res);
}

/* ---- listing ---- */

static int query_on_entry(void *arg, const struct s3_list_entry *e)
{
    struct query_job *j = arg;
    const struct conf *conf = j->job.w->conf;

    if (e->key_len >= sizeof(j->after))
        return 0;
    memcpy(j->after, e->key, e->key_len + 1);
    if (key_is_reserved(conf, e->key, e->key_len) || e->key_len == j->prefix.prefix)
        return 0;
    j->too_many = ++j->n_listed > conf->query.max_keys;
    if (j->n_keys >= conf->query.max_fetch_keys || j->too_many)
        return 0;
    j->n_keys++;
    if (!query_take(j, e->key_len + 1))
        return -ENOMEM;
    return buf_append(&j->keys, e->key, e->key_len + 1);
}

static void query_on_page(void *arg, const struct s3_result *res)
{
    struct query_job *j = arg;

    j->req = NULL;
    if (res->error == -ENOMEM) {
        query_refuse(j, -ENOMEM);
        return;
    }
    if (res->error) {
        query_refuse_s3(j, res);
        return;
    }
    if (j->too_many) {
        con_refuse(j->job.c, 400, "bad_request", "the prefix has more than %u keys",
                   j->job.w->conf->query.max_keys);
        query_job_free(j);
        return;
    }
    j->token[0] = '\0';
    if (res->next_token && strlen(res->next_token) < sizeof(j->token))
        strcpy(j->token, res->next_token);
    if (res->truncated)
        query_page(j);
    else
        query_fetch(j);
}

static void query_page(struct query_job *j)
{
    struct s3_list list = {.prefix = j->prefix.full,
                           .start_after = *j->after ? j->after : NULL,
                           .token = *j->token ? j->token : NULL,
                           .on_entry = query_on_entry};
    struct s3_result res = {0};

    res.error = s3_list(j->job.w->s3, &list, query_on_page, j, &j->req);
    if (res.error < 0)
        query_refuse_s3(j, &res);
}

/* ---- the request ---- */

static void query_on_body(struct con_job *job, const char *data, size_t len)
{
    struct query_job *j = (struct query_job *)job;
    int r = query_take(j, len) ? buf_append(&j->body, data, len) : -ENOMEM;

    if (r == 0)
        return;
    if (r == -ENOMEM) {
        query_refuse(j, r);
        return;
    }
    con_refuse(job->c, 400, "bad_request", "the body has more than 1 MiB");
    query_job_free(j);
}

static void query_on_end(struct con_job *job)
{
    struct query_job *j = (struct query_job *)job;
    struct err err = {0};
    int r = query_parse(j->body.len ? j->body.data : "", j->body.len,
                        job->w->conf->query.max_result_rows, &j->query, &err);

    if (r == 0 && con_key_set(job->w, j->query.prefix, strlen(j->query.prefix), &j->prefix) < 0)
        r = err_set(&err, EINVAL, "prefix is too long");
    query_give(j, j->body.len);
    buf_done(&j->body);
    if (r == 0) {
        query_page(j);
        return;
    }
    con_refuse(job->c, r == -ENOMEM ? 503 : 400, r == -ENOMEM ? "unavailable" : "bad_request", "%s",
               err.text);
    query_job_free(j);
}

static void query_on_gone(struct con_job *job)
{
    query_job_free((struct query_job *)job);
}

static const struct con_job_ops query_ops = {.on_body = query_on_body,
                                             .on_end = query_on_end,
                                             .on_room = query_on_room,
                                             .on_gone = query_on_gone};

void con_query(struct http_conn *c)
{
    struct query_job *j;

    if (!http_conn_worker(c)->variant->queries) {
        con_refuse(c, 501, "not_implemented", "this variant has no queries");
        return;
    }
    j = calloc(1, sizeof(*j));
    if (!j) {
        con_refuse(c, 503, "unavailable", "out of memory");
        return;
    }
    con_job_init(&j->job, &query_ops, c);
    buf_init(&j->body, BODY_MAX);
    buf_init(&j->keys, KEYS_BYTES_MAX);
    buf_init(&j->doc, DOC_MAX);
}
