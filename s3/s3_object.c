/* HEAD, PUT, DELETE and COPY of one object, each in one request; s3_multipart.c is for those in
 * parts. */
#include "s3/s3_object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_client.h"
#include "s3/s3_etag.h"
#include "s3/s3_extra.h"
#include "s3/s3_learn.h"
#include "s3/s3_request.h"
#include "s3/s3_success.h"
#include "s3/s3_sum.h"
#include "s3/s3_url.h"

/* ---- HEAD ---- */

static const struct s3_op op_head, op_head_by_get;

int s3_object_check(struct s3_req *req)
{
    if (!req->client->conf.etags_required || *req->result.obj.etag ||
        req->key[strlen(req->key) - 1] == '/')
        return 0;
    return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED, S3_NO_ETAG);
}

static int head_end(struct s3_req *req)
{
    const struct s3_reply *rp = &req->reply;

    if (rp->status == 200 && !rp->has_length && req->op == &op_head && !req->turned)
        return 0; /* a GET follows, whose range carries the size */
    if (s3_reply_is_part(rp) ? !rp->has_range : !rp->has_length && !rp->has_range && !req->empty)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "the response does not contain the size");
    req->result.obj.size = rp->has_range ? rp->total : rp->length;
    return s3_object_check(req);
}

/* A refusal whose reason only the body of another answer can tell. */
static bool says_no(const struct s3_req *req)
{
    int status = req->reply.status;

    return (status == 400 || status == 401 || status == 403) && !*req->result.code;
}

/* The 404 of a HEAD does not say whether it is the key that is missing. It is taken for that only
 * while the server is known to accept our credentials; else a GET follows, whose refusal has a
 * code. */
static bool head_turn(struct s3_req *req)
{
    if (req->reply.status == 200 && !req->reply.has_length && !req->turned) {
        req->turned = true;
        req->op = &op_head_by_get;
        return true;
    }
    if (says_no(req) && req->cred_renewable && !req->turned) {
        req->turned = true;
        req->op = &op_head_by_get;
        return true;
    }
    if (req->reply.status != 404 || *req->result.code)
        return false;
    if (req->guess || s3_client_trusted_lately(req->client)) {
        strcpy(req->result.code, "NoSuchKey");
        return false;
    }
    if (req->turned)
        return false;
    req->turned = true;
    req->op = &op_head_by_get;
    return true;
}

static int by_get_prepare(struct s3_req *req)
{
    return s3_headers_add(&req->headers, "range", "bytes=0-0");
}

/* One byte, or all of them from a server that ignores Range: only the headers are needed. */
static int by_get_body(struct s3_req *req, const char *data, size_t len)
{
    (void)data, (void)len;
    if (head_end(req) == 0)
        req->whole = true;
    return -1;
}

/* 416: by now there is an object, an empty one. */
static bool by_get_turn(struct s3_req *req)
{
    if (req->reply.status != 416)
        return false;
    req->empty = true;
    req->op = &op_head;
    return true;
}

static const struct s3_op op_head = {
    .kind = S3_OP_HEAD,
    .name = "HEAD",
    .method = "HEAD",
    .on_end = head_end,
    .turn = head_turn,
};

static const struct s3_op op_head_by_get = {
    .kind = S3_OP_HEAD,
    .name = "HEAD",
    .method = "GET",
    .prepare = by_get_prepare,
    .on_body = by_get_body,
    .on_end = head_end,
    .turn = by_get_turn,
};

static int head(struct s3_client *c, const char *key, bool guess, s3_done_fn *done, void *arg,
                struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = key ? s3_req_new(c, &op_head, key, done, arg, &req) : -EINVAL;

    if (r < 0)
        return r;
    req->guess = guess;
    s3_req_submit(req, ret_req);
    return 0;
}

int s3_head(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
            struct s3_req **ret_req)
{
    return head(c, key, false, done, arg, ret_req);
}

/* The caller follows up with a request whose response has a code. */
int s3_head_guess(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
                  struct s3_req **ret_req)
{
    return head(c, key, true, done, arg, ret_req);
}

/* ---- PUT ---- */

static const struct s3_op op_put = {
    .kind = S3_OP_PUT,
    .name = "PUT",
    .method = "PUT",
    .prepare = s3_sum_prepare,
    .on_end = s3_success_stored,
    .turn = s3_sum_turn,
};

static int add_etag(struct s3_req *req, const char *name, const char *etag, bool bare)
{
    uint32_t habits = __atomic_load_n(req->client->conf.habits, __ATOMIC_RELAXED);
    char text[S3_ETAG_MAX];

    if (!etag)
        return 0;
    s3_etag_write(etag, habits, bare, text);
    return s3_headers_add(&req->headers, name, text);
}

int s3_object_match(struct s3_req *req, const char *name, const char *etag)
{
    return add_etag(req, name, etag, false);
}

int s3_object_describe(struct s3_req *req, const char *content_type,
                       const struct s3_meta_pair *meta, size_t n_meta, const struct s3_pairs *kept)
{
    int r = s3_headers_add(&req->headers, "content-type",
                           content_type ? content_type : s3_usual_type(req->client, req->key));

    if (r == 0)
        r = s3_headers_meta(&req->headers, meta, n_meta);
    return r == 0 ? s3_extra_keep(req, kept, true) : r;
}

/* Servers disagree about "*" in place of an ETag and the reverse: neither is sent. */
int s3_object_conditions(struct s3_req *req, const char *if_match, bool bare,
                         const char *if_none_match)
{
    int r;

    if ((if_match && strcmp(if_match, "*") == 0) ||
        (if_none_match && strcmp(if_none_match, "*") != 0))
        return -EINVAL;
    req->put.replaces = if_match != NULL;
    r = add_etag(req, "if-match", if_match, bare);
    if (r == 0 && if_none_match)
        r = s3_headers_add(&req->headers, "if-none-match", if_none_match);
    return r;
}

void s3_object_body(struct s3_req *req, const struct s3_body *body, enum s3_crc checksum)
{
    bool sign = s3_client_signs_payload(req->client);

    req->put.body = *body;
    req->put.checksum = body->len > 0 ? checksum : S3_CRC_NONE;
    s3_hash_init(&req->put.hash, sign, req->put.checksum);
    if (!sign)
        strcpy(req->payload_hash, "UNSIGNED-PAYLOAD");
    req->put.unread = body->len > 0 && (sign || req->put.checksum);
}

static int put_fill(struct s3_req *req, const struct s3_put *put)
{
    int r = s3_object_describe(req, put->content_type, put->meta, put->n_meta, put->kept);

    s3_object_body(req, &put->body, s3_sum_kind(req->client));
    req->put.gate = put->gate;
    req->tags = put->tags;
    req->put.conditional = put->if_match || put->if_none_match;
    req->put.once_wrong = put->once_wrong;
    req->put.bare = put->bare_match || s3_habit_has(req->client, S3_HABIT_BARE_PUT_MATCH);
    if (r == 0)
        r = s3_object_conditions(req, put->if_match, req->put.bare, put->if_none_match);
    req->settles =
        put->if_none_match || (put->if_match && strcmp(put->if_match, S3_ETAG_EMPTY) == 0);
    return r;
}

int s3_put(struct s3_client *c, const struct s3_put *put, s3_done_fn *done, void *arg,
           struct s3_req **ret_req)
{
    struct s3_req *req;
    int r;

    if (!put->key)
        return -EINVAL;
    if (put->body.len > S3_PUT_MAX)
        return -EFBIG;
    r = s3_req_new(c, &op_put, put->key, done, arg, &req);
    if (r < 0)
        return r;
    r = put_fill(req, put);
    if (r < 0) {
        s3_req_free(req);
        return r;
    }
    s3_req_submit(req, ret_req);
    return 0;
}

/* ---- DELETE ---- */

static const struct s3_op op_delete = {
    .kind = S3_OP_DELETE,
    .name = "DELETE",
    .method = "DELETE",
    .on_end = s3_success_gone,
};

int s3_delete(struct s3_client *c, const struct s3_delete *del, s3_done_fn *done, void *arg,
              struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = del->key ? s3_req_new(c, &op_delete, del->key, done, arg, &req) : -EINVAL;

    if (r < 0)
        return r;
    req->once = del->once;
    r = s3_object_match(req, "if-match", del->if_match);
    if (r < 0) {
        s3_req_free(req);
        return r;
    }
    s3_req_submit(req, ret_req);
    return 0;
}

/* ---- COPY ----
 *
 * If the server does not support x-amz-copy-source-if-match, or refuses one that holds, a HEAD
 * checks whether the source is the expected version, and then the copy is made without the
 * condition. */

static const struct s3_op op_copy, op_copy_look;

/* Switches between the copy and the HEAD of its source. */
static void change_places(struct s3_req *req, const struct s3_op *op)
{
    struct s3_copy_state *copy = &req->copy;
    struct s3_headers headers = req->headers;
    size_t n = req->n_fixed, bytes = req->fixed_bytes;
    char *key = req->key;

    req->key = copy->other_key;
    req->headers = copy->other_headers;
    req->n_fixed = copy->other_n_fixed;
    req->fixed_bytes = copy->other_fixed_bytes;
    copy->other_key = key;
    copy->other_headers = headers;
    copy->other_n_fixed = n;
    copy->other_fixed_bytes = bytes;
    req->op = op;
}

static int copy_prepare(struct s3_req *req)
{
    const struct s3_copy_state *copy = &req->copy;
    int r = 0;

    if (!copy->looked)
        r = s3_object_match(req, "x-amz-copy-source-if-match", copy->if_source_match);
    if (r == 0 && !copy->no_target)
        r = s3_object_match(req, "if-match", copy->if_match);
    if (r == 0 && !copy->no_target && copy->absent)
        r = s3_headers_add(&req->headers, "if-none-match", "*");
    return r;
}

static int copy_end(struct s3_req *req)
{
    const struct s3_xml_doc *doc =
        s3_success_document(req, S3_XML_COPY, "the response to the copy has no result");

    if (!doc)
        return -1;
    strcpy(req->result.obj.etag, doc->etag);
    req->result.obj.mtime_ns = doc->mtime_ns;
    if (req->copy.no_target)
        (void)s3_habit_learn(req->client, S3_HABIT_NO_COPY_TARGET);
    if (req->copy.unknown)
        (void)s3_habit_learn(req->client, S3_HABIT_NO_COPY_SOURCE);
    return 0;
}

/* It does not say which of two conditions is unknown: the one on the target is dropped first. (If a
 * 412 was for the target, the copy after the HEAD is refused again.) */
static bool copy_turn(struct s3_req *req)
{
    struct s3_copy_state *copy = &req->copy;
    bool unknown = s3_condition_unknown(req->reply.status, req->result.code);

    if (copy->strict)
        return false;
    if (unknown && (copy->if_match || copy->absent) && !copy->no_target) {
        copy->no_target = true;
        return true;
    }
    if (!copy->if_source_match || copy->looked || (!unknown && req->reply.status != 412))
        return false;
    copy->looked = true;
    copy->unknown = unknown;
    change_places(req, &op_copy_look);
    return true;
}

static int look_end(struct s3_req *req)
{
    if (strcmp(req->result.obj.etag, req->copy.if_source_match) == 0)
        return 0;
    return s3_req_stop(req, -ESTALE, S3_FAIL_ANSWER, S3_RETRY_NO,
                       "the source is of another version");
}

static bool look_turn(struct s3_req *req)
{
    if (req->reply.status == 404 && !*req->result.code && s3_client_trusted_lately(req->client))
        strcpy(req->result.code, "NoSuchKey");
    if (req->reply.status != 200 || *req->result.code)
        return false;
    change_places(req, &op_copy);
    return true;
}

static void copy_cleanup(struct s3_req *req)
{
    buf_done(&req->copy.other_headers.text);
    free(req->copy.other_key);
    free(req->copy.if_source_match);
    free(req->copy.if_match);
}

static const struct s3_op op_copy = {
    .kind = S3_OP_COPY,
    .name = "COPY",
    .method = "PUT",
    .prepare = copy_prepare,
    .on_end = copy_end,
    .turn = copy_turn,
    .cleanup = copy_cleanup,
};

static const struct s3_op op_copy_look = {
    .kind = S3_OP_HEAD,
    .name = "COPY (HEAD of its source)",
    .method = "HEAD",
    .on_end = look_end,
    .turn = look_turn,
    .cleanup = copy_cleanup,
};

/* "/bucket/key", or the ARN of an access point and the key; percent-encoded, whatever the
 * addressing. */
static int add_source(struct s3_req *req, const char *from_key)
{
    const char *bucket = req->client->url.source;
    struct buf source;
    int r = 0;

    buf_init(&source, S3_HEADER_BYTES_MAX);
    if (!strchr(bucket, '/'))
        r = buf_puts(&source, "/");
    if (r == 0)
        r = s3_url_encode(&source, bucket, strlen(bucket), true);
    if (r == 0)
        r = buf_puts(&source, "/");
    if (r == 0)
        r = s3_url_encode(&source, from_key, strlen(from_key), true);
    if (r == 0)
        r = s3_headers_add(&req->headers, "x-amz-copy-source", source.data);
    buf_done(&source);
    return r;
}

int s3_object_source(struct s3_req *req, const char *from_key, const char *if_source_match)
{
    int r = add_source(req, from_key);

    return r == 0 ? s3_object_match(req, "x-amz-copy-source-if-match", if_source_match) : r;
}

static int keep(char **to, const char *text)
{
    *to = text ? strdup(text) : NULL;
    return text && !*to ? -ENOMEM : 0;
}

static int copy_state(struct s3_req *req, const struct s3_copy *copy)
{
    struct s3_copy_state *state = &req->copy;
    int r;

    buf_init(&state->other_headers.text, S3_HEADER_BYTES_MAX);
    r = keep(&state->other_key, copy->from_key);
    if (r == 0)
        r = keep(&state->if_source_match, copy->if_source_match);
    if (r == 0)
        r = keep(&state->if_match, copy->if_match);
    state->is_new = copy->is_new;
    state->absent = copy->if_none_match;
    state->strict = copy->strict;
    req->tags = copy->tags;
    req->settles =
        copy->if_none_match || (copy->if_match && strcmp(copy->if_match, S3_ETAG_EMPTY) == 0);
    if (copy->strict)
        return r;
    state->no_target = s3_habit_has(req->client, S3_HABIT_NO_COPY_TARGET);
    state->looked = copy->if_source_match && s3_habit_has(req->client, S3_HABIT_NO_COPY_SOURCE);
    return r;
}

static int copy_headers(struct s3_req *req, const struct s3_copy *copy)
{
    int r = copy_state(req, copy);

    if (r == 0)
        r = add_source(req, copy->from_key);
    if (r == 0)
        r = s3_headers_add(&req->headers, "x-amz-metadata-directive",
                           copy->replace_meta ? "REPLACE" : "COPY");
    if (r < 0)
        return r;
    if (!copy->replace_meta)
        return s3_extra_keep(req, copy->kept, false);
    r = s3_object_describe(req, copy->content_type, copy->meta, copy->n_meta, copy->kept);
    return r < 0 ? r : s3_extra_describe(req);
}

/* Starts with the HEAD if that is known to be needed. */
static void look_first(struct s3_req *req)
{
    req->n_fixed = req->headers.n;
    req->fixed_bytes = req->headers.text.len;
    change_places(req, &op_copy_look);
}

int s3_copy(struct s3_client *c, const struct s3_copy *copy, s3_done_fn *done, void *arg,
            struct s3_req **ret_req)
{
    struct s3_req *req;
    int r;

    if (!copy->from_key || !copy->to_key)
        return -EINVAL;
    r = s3_url_check_key(copy->from_key);
    if (r == 0)
        r = s3_req_new(c, &op_copy, copy->to_key, done, arg, &req);
    if (r < 0)
        return r;
    r = copy_headers(req, copy);
    if (r < 0) {
        s3_req_free(req);
        return r;
    }
    if (req->copy.looked)
        look_first(req);
    s3_req_submit(req, ret_req);
    return 0;
}
