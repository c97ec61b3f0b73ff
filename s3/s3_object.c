/* HEAD, PUT, DELETE and COPY of one object, each in one request; s3_multipart.c is for those in
 * parts. */
#include "s3/s3_object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_client.h"
#include "s3/s3_request.h"
#include "s3/s3_url.h"

/* ---- HEAD ---- */

static const struct s3_op op_head, op_head_by_get;

static int head_end(struct s3_req *req)
{
    const struct s3_reply *rp = &req->reply;

    if (rp->status == 206 ? !rp->has_range : !rp->has_length)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "an answer that does not tell the size");
    req->result.obj.size = rp->status == 206 ? rp->total : rp->length;
    return 0;
}

/* A HEAD's 404 cannot say whether it is the key that is missing. It is taken for that only while
 * the server is known to take our credentials; else a GET is asked, whose refusal has a code. */
static bool head_turn(struct s3_req *req)
{
    if (req->reply.status != 404 || *req->result.code)
        return false;
    if (s3_client_trusted_lately(req->client)) {
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

/* The one byte, or all of them from a server that ignores Range: the headers were enough. */
static int by_get_body(struct s3_req *req, const char *data, size_t len)
{
    (void)data, (void)len;
    if (head_end(req) == 0)
        req->whole = true;
    return -1;
}

/* 416: there is an object by now, an empty one. */
static bool by_get_turn(struct s3_req *req)
{
    if (req->reply.status != 416)
        return false;
    req->op = &op_head;
    return true;
}

/* Whoever asks goes on with a request whose answer has a code. */
static bool head_guess_turn(struct s3_req *req)
{
    if (req->reply.status == 404 && !*req->result.code)
        strcpy(req->result.code, "NoSuchKey");
    return false;
}

static const struct s3_op op_head_guess = {
    .kind = S3_OP_HEAD,
    .name = "HEAD",
    .method = "HEAD",
    .on_end = head_end,
    .turn = head_guess_turn,
};

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

static int head(struct s3_client *c, const struct s3_op *op, const char *key, s3_done_fn *done,
                void *arg, struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = key ? s3_req_new(c, op, key, done, arg, &req) : -EINVAL;

    if (r == 0)
        s3_req_submit(req, ret_req);
    return r;
}

int s3_head(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
            struct s3_req **ret_req)
{
    return head(c, &op_head, key, done, arg, ret_req);
}

int s3_head_guess(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
                  struct s3_req **ret_req)
{
    return head(c, &op_head_guess, key, done, arg, ret_req);
}

/* ---- PUT ---- */

static const struct s3_op op_put = {
    .kind = S3_OP_PUT,
    .name = "PUT",
    .method = "PUT",
};

static int add_condition(struct s3_req *req, const char *name,
                         const char *value)
{
    return value ? s3_headers_add(&req->headers, name, value) : 0;
}

int s3_object_describe(struct s3_req *req, const char *content_type,
                       const struct s3_meta_pair *meta, size_t n_meta)
{
    int r = s3_headers_add(&req->headers, "content-type",
                           content_type ? content_type : "binary/octet-stream");

    return r == 0 ? s3_headers_meta(&req->headers, meta, n_meta) : r;
}

/* Servers disagree about "*" where an ETag is meant and the other way round: neither is sent. */
int s3_object_conditions(struct s3_req *req, const char *if_match,
                         const char *if_none_match)
{
    int r;

    if ((if_match && strcmp(if_match, "*") == 0) ||
        (if_none_match && strcmp(if_none_match, "*") != 0))
        return -EINVAL;
    r = add_condition(req, "if-match", if_match);
    return r == 0 ? add_condition(req, "if-none-match", if_none_match) : r;
}

void s3_object_body(struct s3_req *req, const struct s3_body *body)
{
    req->put.body = *body;
    s3_hash_init(&req->put.hash);
    if (!s3_client_signs_payload(req->client))
        strcpy(req->payload_hash, "UNSIGNED-PAYLOAD");
    else if (body->len > 0)
        req->payload_hash[0] = '\0'; /* to be hashed */
}

static int put_fill(struct s3_req *req, const struct s3_put *put)
{
    int r = s3_object_describe(req, put->content_type, put->meta, put->n_meta);

    s3_object_body(req, &put->body);
    req->put.gate = put->gate;
    req->put.conditional = put->if_match || put->if_none_match;
    if (r == 0)
        r = s3_object_conditions(req, put->if_match, put->if_none_match);
    return r;
}

int s3_put(struct s3_client *c, const struct s3_put *put, s3_done_fn *done,
           void *arg, struct s3_req **ret_req)
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
};

int s3_delete(struct s3_client *c, const struct s3_delete *del, s3_done_fn *done, void *arg,
              struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = del->key ? s3_req_new(c, &op_delete, del->key, done, arg, &req) : -EINVAL;

    if (r < 0)
        return r;
    req->once = del->once;
    r = add_condition(req, "if-match", del->if_match);
    if (r < 0) {
        s3_req_free(req);
        return r;
    }
    s3_req_submit(req, ret_req);
    return 0;
}

/* ---- COPY ---- */

static int copy_end(struct s3_req *req)
{
    const struct s3_xml_doc *doc = req->xml ? s3_xml_doc(req->xml) : NULL;

    /* a copy that went wrong after the 200 was sent may end like this too */
    if (!doc || doc->kind != S3_XML_COPY || s3_xml_end(req->xml) < 0)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "a copy without a result");
    strcpy(req->result.obj.etag, doc->etag);
    req->result.obj.mtime_ns = doc->mtime_ns;
    return 0;
}

static const struct s3_op op_copy = {
    .kind = S3_OP_COPY,
    .name = "COPY",
    .method = "PUT",
    .on_end = copy_end,
};

/* "/bucket/key", coded, whatever the addressing. */
int s3_object_source(struct s3_req *req, const char *from_key,
                     const char *if_source_match)
{
    struct buf source;
    int r;

    buf_init(&source, S3_HEADER_BYTES_MAX);
    r = buf_printf(&source, "/%s/", req->client->conf.bucket);
    if (r == 0)
        r = s3_url_encode(&source, from_key, strlen(from_key), true);
    if (r == 0)
        r = s3_headers_add(&req->headers, "x-amz-copy-source", source.data);
    if (r == 0)
        r = add_condition(req, "x-amz-copy-source-if-match", if_source_match);
    buf_done(&source);
    return r;
}

static int copy_headers(struct s3_req *req, const struct s3_copy *copy)
{
    int r = s3_object_source(req, copy->from_key, copy->if_source_match);

    if (r == 0)
        r = add_condition(req, "if-match", copy->if_match);
    if (r == 0)
        r = s3_headers_add(&req->headers, "x-amz-metadata-directive",
                           copy->replace_meta ? "REPLACE" : "COPY");
    if (r == 0 && copy->replace_meta)
        r = s3_object_describe(req, copy->content_type, copy->meta, copy->n_meta);
    return r;
}

int s3_copy(struct s3_client *c, const struct s3_copy *copy, s3_done_fn *done,
            void *arg, struct s3_req **ret_req)
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
    s3_req_submit(req, ret_req);
    return 0;
}
