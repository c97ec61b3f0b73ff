/* Attributes of a key. url and presigned_url cost no request, and are told for a missing key
 * too; the others are those of a HEAD.
 *
 * content_type is changed by a copy of the object onto itself, on the condition that it is still
 * the version that was looked at; its other metadata stay. For the readers and writers of the
 * variant that compares, the copy is the same version. */
#include "workers/connector/con_meta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json_text.h"
#include "s3/s3_presign.h"
#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/connector/con_op.h"
#include "workers/objmeta/meta.h"

#define NAME_MAX_LEN 64      /* of an attribute */
#define BODY_MAX (64u << 10) /* of a PUT */
#define ANSWER_MAX (256u << 10)

static const char *const attributes[] = {"url",          "presigned_url", "etag",
                                         "content_type", "version",       "storage_class"};

struct attr {
    struct con_job job;
    struct con_key key;
    char name[NAME_MAX_LEN];
    struct s3_req *req;
    /* a change: */
    struct op *op;
    struct buf body;
    char type[S3_TYPE_MAX];
    char etag[S3_ETAG_MAX];
};

static bool is_known(const char *name)
{
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        if (strcmp(attributes[i], name) == 0)
            return true;
    }
    return false;
}

/* The quotes are part of the message. */
static void refuse_unknown(struct http_conn *c, const char *name)
{
    con_refuse(c, 400, "unsupported_attribute", "'Unsupported attribute: %s'", name);
}

/* The attribute that the query names: its length, 0 for none; a name that is too long is
 * unknown. */
static int attr_name(struct http_conn *c, char name[NAME_MAX_LEN])
{
    return http_target_param(&http_conn_request(c)->target, "attr", name, NAME_MAX_LEN);
}

static void attr_free(struct attr *a)
{
    if (a->op)
        op_done(a->op);
    buf_done(&a->body);
    free(a);
}

/* ---- GET ---- */

static void answer_names(struct http_conn *c)
{
    static const char names[] = "{\"attrs\": [\"url\", \"presigned_url\", \"etag\", "
                                "\"content_type\", \"version\", \"storage_class\"]}";

    http_conn_answer(c, 200, CON_JSON, names, sizeof(names) - 1);
}

static void answer_value(struct http_conn *c, const char *name, const char *value)
{
    struct buf out;
    int r;

    buf_init(&out, ANSWER_MAX);
    r = buf_printf(&out, "{\"attr\": \"%s\", \"value\": ", name);
    if (r == 0)
        r = json_text_put(&out, value, strlen(value));
    if (r == 0)
        r = buf_puts(&out, "}");
    if (r == 0)
        http_conn_answer(c, 200, CON_JSON, out.data, out.len);
    else
        con_refuse(c, 503, "unavailable", "out of memory");
    buf_done(&out);
}

static void answer_url(struct http_conn *c, const struct con_key *key)
{
    char url[KEY_URL_MAX];

    key_url(http_conn_worker(c), key->full, url);
    answer_value(c, "url", url);
}

static void answer_presigned(struct http_conn *c, const struct con_key *key)
{
    struct worker *w = http_conn_worker(c);
    struct buf url;
    int r;

    buf_init(&url, S3_PRESIGN_URL_MAX);
    r = s3_presign(w->s3, key->full, w->conf->connector.presign_ttl, &url);
    if (r == 0)
        answer_value(c, "presigned_url", url.data);
    else if (r == -ENOKEY || r == -EAGAIN)
        con_refuse(c, 503, "unavailable", "there are no credentials to sign with");
    else
        con_refuse_error(c, r, 0, S3_FAIL_LOCAL, "the URL cannot be signed", con_key_name(key));
    buf_done(&url);
}

static void attr_on_head(void *arg, const struct s3_result *res)
{
    struct attr *a = arg;

    if (res->error)
        con_refuse_s3(a->job.c, res, con_key_name(&a->key));
    else
        answer_value(a->job.c, a->name, meta_attribute(a->name, &res->obj));
    attr_free(a);
}

static void attr_on_gone(struct con_job *job)
{
    struct attr *a = (struct attr *)job;

    if (a->op && a->op->s3) { /* a change that goes on */
        job->c = NULL;
        return;
    }
    if (a->req)
        s3_cancel(a->req);
    attr_free(a);
}

static const struct con_job_ops attr_get_ops = {.on_gone = attr_on_gone};

static struct attr *attr_new(struct http_conn *c, const struct con_key *key, const char *name,
                             const struct con_job_ops *ops)
{
    struct attr *a = calloc(1, sizeof(*a));

    if (!a) {
        con_refuse(c, 503, "unavailable", "out of memory");
        return NULL;
    }
    con_job_init(&a->job, ops, c);
    a->key = *key;
    snprintf(a->name, sizeof(a->name), "%s", name);
    buf_init(&a->body, BODY_MAX);
    return a;
}

static void ask_head(struct http_conn *c, const struct con_key *key, const char *name)
{
    struct attr *a = attr_new(c, key, name, &attr_get_ops);
    struct s3_result res = {0};

    if (!a)
        return;
    res.error = s3_head(a->job.w->s3, a->key.full, attr_on_head, a, &a->req);
    if (res.error < 0)
        attr_on_head(a, &res);
}

void con_meta_get(struct http_conn *c, const struct con_key *key)
{
    char name[NAME_MAX_LEN];
    int r = attr_name(c, name);

    if (r == 0)
        answer_names(c);
    else if (r < 0 || !is_known(name))
        refuse_unknown(c, r < 0 ? "the name is too long" : name);
    else if (strcmp(name, "url") == 0)
        answer_url(c, key);
    else if (strcmp(name, "presigned_url") == 0)
        answer_presigned(c, key);
    else
        ask_head(c, key, name);
}

/* ---- PUT ---- */

static void meta_refuse(struct attr *a, const struct s3_result *res)
{
    if (a->job.c && res->error == -ESTALE)
        con_refuse(a->job.c, 409, "conflict", "%s has just been changed", con_key_name(&a->key));
    else if (a->job.c)
        con_refuse_s3(a->job.c, res, con_key_name(&a->key));
    attr_free(a);
}

static void on_copied(void *arg, const struct s3_result *res)
{
    struct attr *a = arg;
    struct worker *w = a->job.w;

    a->op->s3 = NULL;
    if (res->error) {
        meta_refuse(a, res);
        return;
    }
    if (*res->obj.etag) {
        worker_lock(w);
        w->variant->was_copied_key(w, a->key.full, a->etag, res->obj.etag);
        worker_unlock(w);
    }
    if (a->job.c)
        http_conn_answer(a->job.c, 204, "", NULL, 0);
    attr_free(a);
}

static void meta_on_head(void *arg, const struct s3_result *res)
{
    struct attr *a = arg;
    struct meta_out meta = {0};
    struct s3_copy copy = {.from_key = a->key.full,
                           .to_key = a->key.full,
                           .if_source_match = a->etag,
                           .replace_meta = true,
                           .content_type = a->type,
                           .meta = meta.pair,
                           .kept = &meta.kept};
    struct s3_result failed = {0};

    a->op->s3 = NULL;
    /* (An object has more pairs than a request can, only if it was made by others.) */
    if (!res->error && (res->obj.size > S3_PUT_MAX ||
                        meta_keep(&meta, &res->obj, META_KEEP_ALL) > res->obj.kept_lost))
        failed.error = -EFBIG;
    if (res->error || failed.error) {
        meta_refuse(a, res->error ? res : &failed);
        return;
    }
    memcpy(a->etag, res->obj.etag, sizeof(a->etag));
    copy.n_meta = meta.n;
    failed.error = s3_copy(a->job.w->s3, &copy, on_copied, a, &a->op->s3);
    if (failed.error < 0)
        meta_refuse(a, &failed);
}

/* {"value": "text/plain"}: 0 and a->type; -EINVAL. */
static int parse_value(struct attr *a)
{
    json_error_t ignored;
    json_t *root =
        json_loadb(a->body.len ? a->body.data : "", a->body.len, JSON_REJECT_DUPLICATES, &ignored);
    const char *value = json_string_value(json_object_get(root, "value"));
    int r = -EINVAL;

    if (value && meta_is_type(value, strlen(value))) {
        strcpy(a->type, value);
        r = 0;
    }
    json_decref(root);
    return r;
}

static void attr_on_body(struct con_job *job, const char *data, size_t len)
{
    struct attr *a = (struct attr *)job;
    int r = buf_append(&a->body, data, len);

    if (r == 0)
        return;
    con_refuse(job->c, r == -ENOMEM ? 503 : 413, r == -ENOMEM ? "unavailable" : "too_large",
               "the body has more than %u bytes", BODY_MAX);
    attr_free(a);
}

static void attr_on_end(struct con_job *job)
{
    struct attr *a = (struct attr *)job;
    struct s3_result res = {0};

    if (parse_value(a) < 0) {
        con_refuse(job->c, 400, "bad_request",
                   "the body has to be {\"value\": \"...\"} with printable ASCII");
        attr_free(a);
        return;
    }
    a->op = con_op_new(job->c, SHM_OP_HTTP_META);
    if (!a->op) {
        con_refuse(job->c, 503, "unavailable", "too many requests at once");
        attr_free(a);
        return;
    }
    a->op->stays = true;
    res.error = s3_head(job->w->s3, a->key.full, meta_on_head, a, &a->op->s3);
    if (res.error < 0)
        meta_refuse(a, &res);
}

static const struct con_job_ops attr_put_ops = {
    .on_body = attr_on_body, .on_end = attr_on_end, .on_gone = attr_on_gone};

void con_meta_put(struct http_conn *c, const struct con_key *key)
{
    char name[NAME_MAX_LEN];
    int r = attr_name(c, name);

    if (r == 0)
        con_refuse(c, 400, "bad_request", "the query names no attribute: attr=content_type");
    else if (r < 0 || !is_known(name))
        refuse_unknown(c, r < 0 ? "the name is too long" : name);
    else if (strcmp(name, "content_type") != 0)
        con_refuse(c, 403, "permission_denied", "%s is read-only", name);
    else
        (void)attr_new(c, key, name, &attr_put_ops);
}
