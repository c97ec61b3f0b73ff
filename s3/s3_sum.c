/* Checksums of requests and of what is stored: see s3_sum.h. Those of responses are compared in
 * s3_get.c, the arithmetic is s3_crc.c. */
#include "s3/s3_sum.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "s3/s3_client.h"
#include "s3/s3_crc.h"
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

    return put->checksum && !put->doubted ? add_sum(req, put->checksum, put->hash.crc) : 0;
}

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

    if (!put->checksum)
        return 0;
    if (put->doubted) {
        (void)s3_habit_learn(req->client, S3_HABIT_NO_CHECKSUMS);
        return 0;
    }
    if (rp->sum_kind == put->checksum && !rp->sum_of_sums && rp->sum != put->hash.crc)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "the server has stored other bytes than were sent");
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
