/* Checksums of requests and of what is stored: see s3_sum.h. Those of responses are compared in
 * s3_get.c, the arithmetic is s3_crc.c and s3_etag.c. */
#include "s3/s3_sum.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "s3/s3_client.h"
#include "s3/s3_crc.h"
#include "s3/s3_etag.h"
#include "s3/s3_object.h"
#include "s3/s3_request.h"

#define NAME_MAX_BYTES 40

enum s3_crc s3_sum_kind(const struct s3_client *c)
{
    return s3_habit_has(c, S3_HABIT_NO_CHECKSUMS) ? S3_CRC_NONE : c->conf.checksum;
}

static int add_sum(struct s3_req *req, enum s3_crc kind, uint64_t crc)
{
    char name[NAME_MAX_BYTES], text[S3_CRC_TEXT_MAX];

    snprintf(name, sizeof(name), "x-amz-checksum-%s", s3_crc_name(kind));
    s3_crc_write(kind, crc, text);
    return s3_headers_add(&req->headers, name, text);
}

int s3_sum_prepare(struct s3_req *req)
{
    const struct s3_put_state *put = &req->put;
    int r = put->checksum && !put->doubted ? add_sum(req, put->checksum, put->hash.crc) : 0;

    return r == 0 && *put->wrong ? s3_object_conditions(req, put->wrong, put->bare, NULL) : r;
}

/* ---- the ETag ---- */

void s3_sum_begin(struct s3_req *req)
{
    const struct s3_client *c = req->client;
    struct s3_put_state *put = &req->put;

    put->by_etag = (req->op->kind == S3_OP_PUT || req->op->kind == S3_OP_PART) &&
                   put->body.len > 0 && (!put->checksum || put->doubted) && !put->hash.sha &&
                   c->conf.checksum && (!c->other_etags || s3_habit_has(c, S3_HABIT_MD5_ETAGS));
}

/* (curl begins again if the connection turns out dead.) */
void s3_sum_sent(struct s3_req *req, uint64_t off, const void *data, size_t len)
{
    struct s3_put_state *put = &req->put;

    if (!put->by_etag)
        return;
    if (off == 0) {
        s3_etag_begin(&put->check);
        put->summed = 0;
    }
    if (put->summed == off)
        s3_etag_add(&put->check, data, len);
    put->summed += len;
}

/* False: it says that the bytes are others. Before an ETag has proved to be an MD5, that may be the
 * server's way: it is believed the second time. */
static bool etag_agrees(struct s3_req *req)
{
    struct s3_client *c = req->client;
    struct s3_put_state *put = &req->put;
    bool again = *put->check.wrong || c->odd_etag;
    const char *etag = req->result.obj.etag;

    if (!put->by_etag || put->summed != put->body.len || !*etag)
        return true;
    switch (req->reply.own_etag ? S3_ETAG_SILENT : s3_etag_end(&put->check, etag)) {
    case S3_ETAG_RIGHT:
        c->odd_etag = false;
        (void)s3_habit_learn(c, S3_HABIT_MD5_ETAGS);
        return true;
    case S3_ETAG_SILENT:
        c->other_etags = true;
        return true;
    case S3_ETAG_WRONG:
    case S3_ETAG_OTHER:
        c->odd_etag = true;
        if (s3_habit_has(c, S3_HABIT_MD5_ETAGS) || !again)
            return false;
        c->other_etags = true;
        return true;
    }
    return true;
}

/* What is there now is wrong, and as a rule ours. */
static int stored_other(struct s3_req *req)
{
    struct s3_put_state *put = &req->put;

    req->result.stored_other = req->op->kind == S3_OP_PUT;
    if (put->once_wrong)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_NO,
                           "the server has stored other bytes than were sent");
    /* (Where a bucket demands a condition, s3_enforce.c looks for itself.) */
    if (req->op->kind == S3_OP_PUT && put->conditional && !req->enforce && *req->result.obj.etag) {
        req->n_fixed = s3_headers_drop(&req->headers, req->n_fixed, "if-match");
        req->n_fixed = s3_headers_drop(&req->headers, req->n_fixed, "if-none-match");
        strcpy(put->wrong, req->result.obj.etag);
    }
    return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                       "the server has stored other bytes than were sent");
}

/* ---- answers ---- */

/* Once a checksum was taken, no refusal is of them. */
bool s3_sum_turn(struct s3_req *req)
{
    struct s3_put_state *put = &req->put;

    if (!put->checksum || put->doubted || s3_habit_has(req->client, S3_HABIT_CHECKSUMS) ||
        !s3_condition_unknown(req->reply.status, req->result.code))
        return false;
    put->doubted = true;
    return true;
}

int s3_sum_stored(struct s3_req *req)
{
    const struct s3_put_state *put = &req->put;
    const struct s3_reply *rp = &req->reply;

    if (put->checksum && put->doubted)
        (void)s3_habit_learn(req->client, S3_HABIT_NO_CHECKSUMS);
    if (!put->checksum || put->doubted)
        return etag_agrees(req) ? 0 : stored_other(req);
    if (rp->sum_kind == put->checksum && !rp->sum_of_sums && rp->sum != put->hash.crc)
        return stored_other(req);
    (void)s3_habit_learn(req->client, S3_HABIT_CHECKSUMS);
    req->result.checksum = put->checksum;
    req->result.crc = put->hash.crc;
    return 0;
}

/* ---- uploads in parts ---- */

static void name_of(enum s3_crc kind, char out[NAME_MAX_BYTES])
{
    const char *name = s3_crc_name(kind);
    size_t len = strlen(name);

    for (size_t i = 0; i <= len; i++)
        out[i] = (char)toupper((unsigned char)name[i]);
}

int s3_sum_create(struct s3_req *req, enum s3_crc kind)
{
    char name[NAME_MAX_BYTES];
    int r;

    if (!kind)
        return 0;
    name_of(kind, name);
    r = s3_headers_add(&req->headers, "x-amz-checksum-algorithm", name);
    return r == 0 ? s3_headers_add(&req->headers, "x-amz-checksum-type", "FULL_OBJECT") : r;
}

void s3_sum_complete(struct s3_req *req, const struct s3_complete *complete)
{
    struct s3_put_state *put = &req->put;

    put->checksum = complete->checksum;
    for (size_t i = 0; i < complete->n_parts; i++)
        put->hash.crc = s3_crc_combine(complete->checksum, put->hash.crc, complete->parts[i].crc,
                                       complete->parts[i].len);
}

int s3_sum_complete_prepare(struct s3_req *req)
{
    const struct s3_put_state *put = &req->put;
    int r;

    if (!put->checksum || put->doubted)
        return 0;
    r = add_sum(req, put->checksum, put->hash.crc);
    return r == 0 ? s3_headers_add(&req->headers, "x-amz-checksum-type", "FULL_OBJECT") : r;
}

bool s3_sum_complete_turn(struct s3_req *req)
{
    struct s3_put_state *put = &req->put;

    if (put->doubted && req->reply.status == 200 && !*req->result.code)
        (void)s3_habit_learn(req->client, S3_HABIT_NO_CHECKSUMS);
    if (!put->checksum || put->doubted ||
        !s3_condition_unknown(req->reply.status, req->result.code))
        return false;
    put->doubted = true;
    return true;
}
