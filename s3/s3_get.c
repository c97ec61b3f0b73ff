/* GET. The object's bytes are delivered in order and once, all of one version: the rest of a
 * response that breaks off is requested from the next byte, pinned by If-Match to the ETag of the
 * first response.
 *
 * If the caller can restart, the bytes of a whole object are checked against its ETag before the
 * last of them is delivered (s3_etag.h).
 *
 * S3 refuses a range from 0 of an empty object (416) without its size: then a HEAD follows, and the
 * caller sees an object of no bytes. */
#include "s3/s3.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_attempt.h"
#include "s3/s3_client.h"
#include "s3/s3_crc.h"
#include "s3/s3_object.h"
#include "s3/s3_progress.h"
#include "s3/s3_request.h"

#define OTHER_BYTES "the bytes of the response do not match its ETag"

static int get_prepare(struct s3_req *req)
{
    struct s3_get_state *get = &req->get;
    const char *match = get->headed ? get->etag : get->if_match;
    char range[64];
    int r = 0;

    get->ranged = get->next > 0 || get->end != UINT64_MAX || req->client->no_lengths;
    if (get->end == UINT64_MAX)
        snprintf(range, sizeof(range), "bytes=%" PRIu64 "-", get->next);
    else
        snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, get->next, get->end - 1);
    if (get->ranged)
        r = s3_headers_add(&req->headers, "range", range);
    if (r == 0 && get->on_restart && req->client->conf.response_checks)
        r = s3_headers_add(&req->headers, "x-amz-checksum-mode", "ENABLED");
    if (r == 0 && match && *match)
        r = s3_object_match(req, "if-match", match);
    if (r == 0 && get->if_none_match && !get->headed)
        r = s3_object_match(req, "if-none-match", get->if_none_match);
    return r;
}

static int no_s3_answer(struct s3_req *req, const char *text)
{
    return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED, text);
}

/* ---- the ETag and the checksum ---- */

/* Starts again from the first byte, with whatever version is there then. */
static int begin_anew(struct s3_req *req, const char *why)
{
    struct s3_get_state *get = &req->get;

    get->on_restart(req->arg);
    get->next = 0;
    get->end = get->asked_end;
    get->headed = false;
    return no_s3_answer(req, why);
}

/* The first head has arrived: decides what the bytes are to be checked against. (A checksum beside
 * a part of an object is of the part, or of the object: nobody can tell.) */
static void begin_check(struct s3_req *req)
{
    struct s3_get_state *get = &req->get;
    const struct s3_reply *rp = &req->reply;
    bool whole = get->on_restart && get->size == get->end;

    get->summed =
        whole && !rp->sum_of_sums && req->client->conf.response_checks ? rp->sum_kind : S3_CRC_NONE;
    get->sum = 0;
    get->told = rp->sum;
    get->checked = whole && !rp->own_etag &&
                   (!req->client->other_etags || s3_habit_has(req->client, S3_HABIT_MD5_ETAGS));
    if (get->checked)
        s3_etag_begin(&get->check);
}

/* All bytes have come, the last ones are not delivered yet. */
static int check_bytes(struct s3_req *req)
{
    struct s3_get_state *get = &req->get;
    struct s3_client *c = req->client;

    if (get->summed && get->sum != get->told)
        return begin_anew(req, "the bytes of the response do not match its checksum");
    if (!get->checked)
        return 0;
    switch (s3_etag_end(&get->check, get->etag)) {
    case S3_ETAG_RIGHT:
        if (get->size > 0)
            (void)s3_habit_learn(c, S3_HABIT_MD5_ETAGS);
        return 0;
    case S3_ETAG_WRONG:
        return begin_anew(req, OTHER_BYTES);
    case S3_ETAG_OTHER: /* where ETags are MD5s, the bytes are wrong each time */
        if (s3_habit_has(c, S3_HABIT_MD5_ETAGS))
            return begin_anew(req, OTHER_BYTES);
        c->other_etags = true;
        return 0;
    case S3_ETAG_SILENT:
        return 0;
    }
    return 0;
}

/* ---- an answer ---- */

/* Checks that the response has the requested bytes, and computes the object's size. */
static int check_part(struct s3_req *req, uint64_t *ret_size)
{
    const struct s3_get_state *get = &req->get;
    const struct s3_reply *rp = &req->reply;

    if (!rp->has_length && !rp->has_range) {
        req->client->no_lengths = true; /* the headers of a range carry the size: from now on a
                                         * range is requested */
        return no_s3_answer(req, "the response does not contain the size");
    }
    if (s3_reply_is_part(rp)) {
        if (!get->ranged || !rp->has_range || rp->first != get->next || rp->last >= get->end ||
            (rp->has_length && rp->length != rp->last - rp->first + 1))
            return no_s3_answer(req, "the response has other bytes than requested");
        *ret_size = rp->total;
        return 0;
    }
    if (rp->status != 200)
        return no_s3_answer(req, "a success status that is not valid for a GET");
    if (get->next > 0)
        return no_s3_answer(req, "the server ignores Range");
    *ret_size = rp->has_range ? rp->total : rp->length;
    return 0;
}

static int first_head(struct s3_req *req, uint64_t size)
{
    struct s3_get_state *get = &req->get;
    int r = s3_object_check(req);

    if (r < 0)
        return r;
    r = get->on_head ? get->on_head(req->arg, &req->result.obj) : 0;
    if (r < 0)
        return s3_req_stop(req, r, S3_FAIL_LOCAL, S3_RETRY_NO, "ended by its caller");
    get->headed = true;
    get->size = size;
    if (get->end > size)
        get->end = size;
    strcpy(get->etag, req->result.obj.etag);
    begin_check(req);
    return 0;
}

static int get_on_head(struct s3_req *req)
{
    struct s3_get_state *get = &req->get;
    uint64_t size = 0;
    int r = check_part(req, &size);

    if (r < 0)
        return r;
    req->result.obj.size = size;
    if (!get->headed)
        r = first_head(req, size);
    else if (size != get->size || strcmp(get->etag, req->result.obj.etag) != 0)
        r = s3_req_stop(req, -ESTALE, S3_FAIL_ANSWER, S3_RETRY_NO,
                        "the object was replaced meanwhile");
    /* the server may return less than requested, but never nothing */
    if (r == 0 && s3_reply_is_part(&req->reply) && req->reply.last + 1 < get->end)
        r = no_s3_answer(req, "the response has fewer bytes than requested");
    if (r == 0 && get->next == get->end) {
        r = check_bytes(req);
        req->whole = r == 0;
    }
    return r;
}

static int on_body(struct s3_req *req, const char *data, size_t len)
{
    struct s3_get_state *get = &req->get;
    uint64_t off = get->next;
    int r;

    /* a server that ignores Range sends more; what was requested is here */
    if (req->whole)
        return -1;
    if (len > get->end - get->next)
        len = (size_t)(get->end - get->next);
    get->next += len;
    s3_progress_moved(req, get->next);
    if (get->checked)
        s3_etag_add(&get->check, data, len);
    get->sum = s3_crc_add(get->summed, get->sum, data, len);
    if (get->next == get->end && check_bytes(req) < 0)
        return -1;
    if (req->client->conf.counters)
        *req->client->conf.counters->in_bytes += len;
    r = get->on_data ? get->on_data(req->arg, off, data, len) : 0;
    if (r < 0)
        return s3_req_stop(req, r, S3_FAIL_LOCAL, S3_RETRY_NO, "ended by its caller");
    if (get->next == get->end)
        req->whole = true;
    return 0;
}

/* curl reports success, yet bytes are missing. */
static int get_on_end(struct s3_req *req)
{
    return s3_req_stop(req, -ECONNRESET, S3_FAIL_BROKEN, S3_RETRY_CONNECTION,
                       "the response ended early");
}

static void cleanup(struct s3_req *req)
{
    free(req->get.if_match);
    free(req->get.if_none_match);
}

/* ---- an empty object ---- */

static const struct s3_op op_get;

static int empty_prepare(struct s3_req *req)
{
    return s3_object_match(req, "if-match", req->get.if_match);
}

static int empty_end(struct s3_req *req)
{
    int r;

    if (req->reply.has_length && req->reply.length > 0) {
        req->op = &op_get; /* it was replaced meanwhile */
        return no_s3_answer(req, "the object is reported both as empty and as not empty");
    }
    req->get.end = 0;
    r = first_head(req, 0);
    if (r == 0 && (r = check_bytes(req)) < 0)
        req->op = &op_get;
    return r;
}

/* It was deleted meanwhile, as lock files are. A HEAD's 404 has no code, but the 416 just before
 * shows that the server accepts our credentials and that the bucket exists. */
static bool empty_turn(struct s3_req *req)
{
    if (req->reply.status == 404 && !*req->result.code)
        strcpy(req->result.code, "NoSuchKey");
    return false;
}

static const struct s3_op op_empty = {
    .kind = S3_OP_HEAD,
    .name = "GET",
    .method = "HEAD",
    .prepare = empty_prepare,
    .on_end = empty_end,
    .turn = empty_turn,
    .cleanup = cleanup,
};

/* 416 to a range from 0: the object is empty. 416 to the rest of a response that has begun: the
 * object is shorter by now, and the server checks the range before the condition (MinIO). */
static bool turn(struct s3_req *req)
{
    if (req->reply.status == 416 && req->get.headed)
        (void)s3_req_stop(req, -ESTALE, S3_FAIL_ANSWER, S3_RETRY_NO,
                          "the object was replaced meanwhile");
    if (req->reply.status != 416 || !req->get.ranged || req->get.next > 0 || req->get.headed)
        return false;
    req->op = &op_empty;
    return true;
}

static const struct s3_op op_get = {
    .kind = S3_OP_GET,
    .name = "GET",
    .method = "GET",
    .prepare = get_prepare,
    .on_head = get_on_head,
    .on_body = on_body,
    .on_end = get_on_end,
    .cleanup = cleanup,
    .turn = turn,
};

/* ---- */

static int init(struct s3_req *req, const struct s3_get *get)
{
    struct s3_get_state *s = &req->get;
    int r = 0;

    s->next = get->off;
    s->end = s->asked_end = get->len ? get->off + get->len : UINT64_MAX;
    s->on_head = get->on_head;
    s->on_data = get->on_data;
    s->on_restart = get->off == 0 && req->client->conf.max_attempts > 1 ? get->on_restart : NULL;
    req->high = req->high_mark = req->moved = get->off;
    if (get->version && *get->version)
        r = s3_query_add(&req->query, "versionId", get->version);
    if (r == 0 && get->if_match && !(s->if_match = strdup(get->if_match)))
        r = -ENOMEM;
    if (r == 0 && get->if_none_match && !(s->if_none_match = strdup(get->if_none_match)))
        r = -ENOMEM;
    return r;
}

int s3_get(struct s3_client *c, const struct s3_get *get, s3_done_fn *done, void *arg,
           struct s3_req **ret_req)
{
    struct s3_req *req;
    int r;

    if (!get->key || get->off > INT64_MAX || get->len > INT64_MAX)
        return -EINVAL;
    r = s3_req_new(c, &op_get, get->key, done, arg, &req);
    if (r < 0)
        return r;
    r = init(req, get);
    if (r < 0) {
        s3_req_free(req);
        return r;
    }
    s3_req_submit(req, ret_req);
    return 0;
}
