/* Multipart uploads: create, a part from a body or copied from another object, complete, abort.
 * Each is one request; the caller keeps track of the parts and ends the upload. */
#include "s3/s3.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "s3/s3_client.h"
#include "s3/s3_crc.h"
#include "s3/s3_etag.h"
#include "s3/s3_object.h"
#include "s3/s3_request.h"
#include "s3/s3_success.h"
#include "s3/s3_sum.h"
#include "s3/s3_url.h"

#define NUMBER_MAX 64 /* a number or a range as text */
/* The list of parts, each with its tags and an ETag in which every byte may be escaped. */
#define COMPLETE_MAX (S3_PARTS_MAX * (128u + 6 * S3_ETAG_MAX))

/* ---- what they share ---- */

/* Begins a request that names its upload (NULL: s3_create, which has no id yet). */
static int multipart_begin(struct s3_client *c, const struct s3_op *op, const char *key,
                           const char *upload_id, s3_done_fn *done, void *arg,
                           struct s3_req **ret_req)
{
    int r;

    if (!key || (upload_id && (!*upload_id || strlen(upload_id) >= S3_UPLOAD_ID_MAX)))
        return -EINVAL;
    r = s3_req_new(c, op, key, done, arg, ret_req);
    if (r < 0)
        return r;
    r = upload_id ? s3_query_add(&(*ret_req)->query, "uploadId", upload_id)
                  : s3_query_add(&(*ret_req)->query, "uploads", "");
    if (r < 0)
        s3_req_free(*ret_req);
    return r;
}

/* Submits a request that was built without error, frees it otherwise. Returns `r`. */
static int submit(struct s3_req *req, int r, struct s3_req **ret_req)
{
    if (r < 0)
        s3_req_free(req);
    else
        s3_req_submit(req, ret_req);
    return r;
}

/* ---- create ---- */

static int create_end(struct s3_req *req)
{
    const struct s3_xml_doc *doc =
        s3_success_document(req, S3_XML_CREATE, "the response to the created upload has no result");

    if (!doc)
        return -1;
    if (!*doc->upload_id)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "the response to the created upload has no id");
    strcpy(req->upload_id, doc->upload_id);
    req->result.upload_id = req->upload_id;
    req->result.checksum = req->upload_checksum;
    if (req->upload_doubted)
        (void)s3_habit_learn(req->client, S3_HABIT_NO_CHECKSUMS);
    return 0;
}

static int create_prepare(struct s3_req *req)
{
    return s3_sum_create(req, req->upload_checksum);
}

/* A server that knows uploads but no checksums. */
static bool create_turn(struct s3_req *req)
{
    if (!req->upload_checksum || s3_habit_has(req->client, S3_HABIT_CHECKSUMS) ||
        !s3_condition_unknown(req->reply.status, req->result.code))
        return false;
    req->upload_checksum = S3_CRC_NONE;
    req->upload_doubted = true;
    return true;
}

static const struct s3_op op_create = {
    .kind = S3_OP_CREATE,
    .name = "CREATE UPLOAD",
    .method = "POST",
    .prepare = create_prepare,
    .on_end = create_end,
    .turn = create_turn,
};

int s3_create(struct s3_client *c, const struct s3_create *create, s3_done_fn *done, void *arg,
              struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = multipart_begin(c, &op_create, create->key, NULL, done, arg, &req);

    if (r < 0)
        return r;
    req->upload_checksum = create->checksum ? s3_sum_kind(c) : S3_CRC_NONE;
    req->tags = create->tags;
    r = s3_object_describe(req, create->content_type, create->meta, create->n_meta, create->kept);
    return submit(req, r, ret_req);
}

/* ---- parts ---- */

static int multipart_add_number(struct s3_req *req, unsigned number)
{
    char text[NUMBER_MAX];

    if (number < 1 || number > S3_PARTS_MAX)
        return -EINVAL;
    snprintf(text, sizeof(text), "%u", number);
    return s3_query_add(&req->query, "partNumber", text);
}

/* A server that has created an upload with checksums, and refuses those of its parts: this upload
 * fails, the next has none. */
static bool part_turn(struct s3_req *req)
{
    if (req->put.checksum && !s3_habit_has(req->client, S3_HABIT_CHECKSUMS) &&
        s3_condition_unknown(req->reply.status, req->result.code))
        (void)s3_habit_learn(req->client, S3_HABIT_NO_CHECKSUMS);
    return false;
}

static const struct s3_op op_part = {
    .kind = S3_OP_PART,
    .name = "PUT PART",
    .method = "PUT",
    .prepare = s3_sum_prepare,
    .on_end = s3_success_stored,
    .turn = part_turn,
};

int s3_part(struct s3_client *c, const struct s3_part *part, s3_done_fn *done, void *arg,
            struct s3_req **ret_req)
{
    struct s3_req *req;
    int r;

    if (!part->upload_id)
        return -EINVAL;
    if (part->body.len > S3_PUT_MAX)
        return -EFBIG;
    r = multipart_begin(c, &op_part, part->key, part->upload_id, done, arg, &req);
    if (r < 0)
        return r;
    s3_object_body(req, &part->body, part->checksum);
    return submit(req, multipart_add_number(req, part->number), ret_req);
}

static int part_copy_end(struct s3_req *req)
{
    const struct s3_xml_doc *doc =
        s3_success_document(req, S3_XML_COPY, "the response to the copy has no result");

    if (!doc)
        return -1;
    strcpy(req->result.obj.etag, doc->etag);
    req->result.obj.mtime_ns = doc->mtime_ns;
    return 0;
}

static const struct s3_op op_part_copy = {
    .kind = S3_OP_PART_COPY,
    .name = "COPY PART",
    .method = "PUT",
    .on_end = part_copy_end,
};

static int add_range(struct s3_req *req, uint64_t off, uint64_t len)
{
    char text[NUMBER_MAX];

    if (len == 0)
        return off == 0 ? 0 : -EINVAL;
    if (off > INT64_MAX || len > S3_PUT_MAX)
        return -EINVAL;
    snprintf(text, sizeof(text), "bytes=%" PRIu64 "-%" PRIu64, off, off + len - 1);
    return s3_headers_add(&req->headers, "x-amz-copy-source-range", text);
}

int s3_part_copy(struct s3_client *c, const struct s3_part_copy *copy, s3_done_fn *done, void *arg,
                 struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = copy->from_key && copy->upload_id ? s3_url_check_key(copy->from_key) : -EINVAL;

    if (r == 0)
        r = multipart_begin(c, &op_part_copy, copy->key, copy->upload_id, done, arg, &req);
    if (r < 0)
        return r;
    r = multipart_add_number(req, copy->number);
    if (r == 0)
        r = s3_object_source(req, copy->from_key, copy->if_source_match);
    if (r == 0)
        r = add_range(req, copy->off, copy->len);
    return submit(req, r, ret_req);
}

/* ---- complete ---- */

static int complete_end(struct s3_req *req)
{
    const struct s3_xml_doc *doc = s3_success_document(
        req, S3_XML_COMPLETE, "the response to the completed upload has no result");

    if (!doc)
        return -1;
    strcpy(req->result.obj.etag, doc->etag);
    return 0;
}

static void complete_cleanup(struct s3_req *req)
{
    buf_done(&req->put.text);
}

static const struct s3_op op_complete = {
    .kind = S3_OP_COMPLETE,
    .name = "COMPLETE UPLOAD",
    .method = "POST",
    .prepare = s3_sum_complete_prepare,
    .on_end = complete_end,
    .turn = s3_sum_complete_turn,
    .cleanup = complete_cleanup,
};

static int add_escaped(struct buf *out, const char *text)
{
    int r = 0;

    for (; *text && r == 0; text++) {
        switch (*text) {
        case '&':
            r = buf_puts(out, "&amp;");
            break;
        case '<':
            r = buf_puts(out, "&lt;");
            break;
        case '>':
            r = buf_puts(out, "&gt;");
            break;
        default:
            r = *text > ' ' && *text <= '~' ? buf_append(out, text, 1) : -EINVAL;
        }
    }
    return r;
}

/* "<ChecksumCRC64NVME>": servers want it though the object's follows. */
static int add_part_sum(struct buf *out, const struct s3_part_done *part, enum s3_crc kind)
{
    const char *tag = kind == S3_CRC_32C ? "ChecksumCRC32C" : "ChecksumCRC64NVME";
    char text[S3_CRC_TEXT_MAX];

    if (!kind)
        return 0;
    s3_crc_write(kind, part->crc, text);
    return buf_printf(out, "<%s>%s</%s>", tag, text, tag);
}

static int add_part(struct buf *out, const struct s3_part_done *part, enum s3_crc kind,
                    uint32_t habits)
{
    char etag[S3_ETAG_MAX];
    int r;

    if (!part->etag || !*part->etag || strlen(part->etag) >= S3_ETAG_MAX)
        return -EINVAL;
    s3_etag_write(part->etag, habits, false, etag);
    r = buf_printf(out, "<Part><PartNumber>%u</PartNumber><ETag>", part->number);
    if (r == 0)
        r = add_escaped(out, etag);
    if (r == 0)
        r = buf_puts(out, "</ETag>");
    if (r == 0)
        r = add_part_sum(out, part, kind);
    return r == 0 ? buf_puts(out, "</Part>") : r;
}

static int list_parts(struct buf *out, const struct s3_complete *complete, uint32_t habits)
{
    unsigned last = 0;
    int r = buf_puts(out, "<CompleteMultipartUpload "
                          "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");

    if (complete->n_parts < 1 || complete->n_parts > S3_PARTS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < complete->n_parts && r == 0; i++) {
        const struct s3_part_done *part = &complete->parts[i];

        if (part->number <= last || part->number > S3_PARTS_MAX)
            return -EINVAL;
        last = part->number;
        r = add_part(out, part, complete->checksum, habits);
    }
    return r == 0 ? buf_puts(out, "</CompleteMultipartUpload>") : r;
}

static int complete_fill(struct s3_req *req, const struct s3_complete *complete)
{
    struct s3_body body = {.fd = -1};
    int r = list_parts(&req->put.text, complete,
                       __atomic_load_n(req->client->conf.habits, __ATOMIC_RELAXED));

    if (r < 0)
        return r == -EMSGSIZE ? -E2BIG : r;
    body.mem = req->put.text.data;
    body.len = req->put.text.len;
    s3_object_body(req, &body, S3_CRC_NONE);
    s3_sum_complete(req, complete);
    r = s3_headers_add(&req->headers, "content-type", "application/xml");
    if (r == 0)
        r = s3_object_conditions(req, complete->if_match,
                                 complete->bare_match ||
                                     s3_habit_has(req->client, S3_HABIT_BARE_PUT_MATCH),
                                 complete->if_none_match);
    return r;
}

int s3_complete(struct s3_client *c, const struct s3_complete *complete, s3_done_fn *done,
                void *arg, struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = complete->upload_id ? 0 : -EINVAL;

    if (r == 0)
        r = multipart_begin(c, &op_complete, complete->key, complete->upload_id, done, arg, &req);
    if (r < 0)
        return r;
    buf_init(&req->put.text, COMPLETE_MAX);
    return submit(req, complete_fill(req, complete), ret_req);
}

/* ---- abort ---- */

static const struct s3_op op_abort = {
    .kind = S3_OP_ABORT,
    .name = "ABORT UPLOAD",
    .method = "DELETE",
    .on_end = s3_success_gone,
};

int s3_abort(struct s3_client *c, const char *key, const char *upload_id, s3_done_fn *done,
             void *arg, struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = upload_id ? multipart_begin(c, &op_abort, key, upload_id, done, arg, &req) : -EINVAL;

    return r < 0 ? r : submit(req, 0, ret_req);
}
