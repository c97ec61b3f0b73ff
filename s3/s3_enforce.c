/* See s3_enforce.h. The request itself asks: it becomes a HEAD of its key, with other headers, and
 * then itself again. */
#include "s3/s3_enforce.h"

#include <stdlib.h>
#include <string.h>

#include "s3/s3_client.h"
#include "s3/s3_learn.h"
#include "s3/s3_object.h"
#include "s3/s3_request.h"

#define LOOKS_MAX 16 /* another writer was faster, so often in a row */

struct s3_enforce {
    const struct s3_op *op; /* of the change */
    struct s3_headers headers;
    struct buf query; /* COMPLETE: names the upload */
    size_t n_fixed, fixed_bytes;
    char payload_hash[S3_HASH_HEX_MAX];
    bool looking; /* the request is the HEAD now, and the above is the change's */
    bool absent;  /* there is nothing: If-None-Match */
    char etag[S3_ETAG_MAX];
    unsigned looks;
};

static void look_cleanup(struct s3_req *req)
{
    const struct s3_op *op = req->enforce->op;

    if (op->cleanup)
        op->cleanup(req);
}

static const struct s3_op op_enforce_look = {
    .kind = S3_OP_HEAD,
    .name = "HEAD",
    .method = "HEAD",
    .cleanup = look_cleanup,
};

static void enforce_swap(struct s3_req *req, struct s3_enforce *e)
{
    struct s3_headers headers = req->headers;
    struct buf query = req->query;
    size_t n = req->n_fixed, bytes = req->fixed_bytes;
    char hash[S3_HASH_HEX_MAX];

    req->query = e->query;
    e->query = query;
    req->headers = e->headers;
    req->n_fixed = e->n_fixed;
    req->fixed_bytes = e->fixed_bytes;
    e->headers = headers;
    e->n_fixed = n;
    e->fixed_bytes = bytes;
    memcpy(hash, req->payload_hash, sizeof(hash));
    memcpy(req->payload_hash, e->payload_hash, sizeof(hash));
    memcpy(e->payload_hash, hash, sizeof(hash));
}

static void enforce_look(struct s3_req *req)
{
    struct s3_enforce *e = req->enforce;

    e->looks++;
    e->looking = true;
    enforce_swap(req, e);
    req->op = &op_enforce_look;
}

static void enforce_change(struct s3_req *req)
{
    struct s3_enforce *e = req->enforce;

    e->looking = false;
    enforce_swap(req, e);
    req->op = e->op;
    if (e->op->kind == S3_OP_PUT)
        req->put.conditional = true;
}

/* A copy with a condition on its target gets the header with each attempt. A second one beside it
 * would widen the condition: either would do. */
static bool copy_has_own(const struct s3_req *req)
{
    return req->op->kind == S3_OP_COPY && !req->copy.no_target &&
           (req->copy.if_match || req->copy.absent);
}

bool s3_enforce_is_blind(const struct s3_req *req)
{
    enum s3_op_kind op = req->op->kind;

    return (op == S3_OP_PUT || op == S3_OP_COPY || op == S3_OP_DELETE || op == S3_OP_COMPLETE) &&
           !copy_has_own(req) && !s3_headers_has(&req->headers, "if-match") &&
           !s3_headers_has(&req->headers, "if-none-match");
}

static bool enforce_begin(struct s3_req *req)
{
    struct s3_enforce *e = calloc(1, sizeof(*e));

    if (!e)
        return false;
    e->op = req->op;
    strcpy(e->payload_hash, S3_HASH_EMPTY);
    buf_init(&e->headers.text, S3_HEADER_BYTES_MAX);
    buf_init(&e->query, S3_QUERY_MAX);
    req->enforce = e;
    enforce_look(req);
    return true;
}

void s3_enforce_first(struct s3_req *req)
{
    if (s3_habit_has(req->client, S3_HABIT_WANTS_CONDITIONS) && s3_enforce_is_blind(req))
        (void)enforce_begin(req);
}

int s3_enforce_headers(struct s3_req *req)
{
    const struct s3_enforce *e = req->enforce;

    if (!e || e->looking || req->op != e->op)
        return 0;
    if (e->absent)
        return s3_headers_add(&req->headers, "if-none-match", "*");
    return s3_object_match(req, "if-match", e->etag);
}

/* A refusal because of the condition: there is another version now, or none any more. (An upload
 * that is gone is no such thing: perhaps an earlier attempt has completed it.) */
static bool has_changed(const struct s3_req *req, int status)
{
    if (status == 404)
        return !req->enforce->absent && strcmp(req->result.code, "NoSuchUpload") != 0;
    return status == 412;
}

/* The HEAD has ended. */
static bool take_look(struct s3_req *req)
{
    struct s3_enforce *e = req->enforce;
    int status = req->reply.status;

    if (status != 200 && status != 404)
        return false;
    e->absent = status == 404;
    strcpy(e->etag, req->result.obj.etag);
    if (e->absent && e->op->kind == S3_OP_DELETE) {
        req->whole = true; /* there is nothing to delete */
        return false;
    }
    if (!e->absent && !*e->etag)
        return false;
    enforce_change(req);
    return true;
}

bool s3_enforce_turn(struct s3_req *req)
{
    struct s3_enforce *e = req->enforce;
    int status = req->reply.complete ? req->reply.status : 0;

    if (req->stopped || req->whole)
        return false;
    if (e && e->looking)
        return take_look(req);
    if (!e)
        return status == 403 &&
               (!*req->result.code || strcmp(req->result.code, "AccessDenied") == 0) &&
               s3_enforce_is_blind(req) && enforce_begin(req);
    if (req->op != e->op || e->looks == LOOKS_MAX || !has_changed(req, status))
        return false;
    enforce_look(req);
    return true;
}

void s3_enforce_learn(struct s3_req *req)
{
    if (req->enforce && !req->enforce->looking && !req->no_tags)
        (void)s3_habit_learn(req->client, S3_HABIT_WANTS_CONDITIONS);
}

void s3_enforce_free(struct s3_req *req)
{
    if (!req->enforce)
        return;
    buf_done(&req->enforce->headers.text);
    buf_done(&req->enforce->query);
    free(req->enforce);
}
