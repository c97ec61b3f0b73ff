/* Responses: headers, each bounded and checked, and bodies, which go to the operation (data of a
 * GET, a page of a LIST) or to the XML parser (refusals and other documents of S3), within a limit.
 * Called by curl. */
#include "s3/s3_reply.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "s3/s3_client.h"
#include "s3/s3_crc.h"
#include "s3/s3_etag.h"
#include "s3/s3_extra.h"
#include "s3/s3_request.h"
#include "s3/s3_time.h"
#include "s3/s3_xml.h"

#define LINE_MAX_LEN 4096       /* a longer header is ignored */
#define RETRY_AFTER_MAX_S 86400 /* beyond any deadline */
#define SKEW_NS (10 * 60 * (int64_t)NS_PER_S)
#define META_PREFIX "x-amz-meta-"

static bool success(const struct s3_req *req)
{
    return req->reply.status >= 200 && req->reply.status < 300;
}

/* ---- values ---- */

static bool reply_parse_number(const char **p, uint64_t *ret)
{
    uint64_t v = 0;

    if (!isdigit((unsigned char)**p))
        return false;
    for (; isdigit((unsigned char)**p); (*p)++) {
        unsigned d = (unsigned)(**p - '0');

        if (v > ((uint64_t)INT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

static bool visible(const char *s)
{
    for (; *s; s++) {
        if (*s <= ' ' || *s > '~')
            return false;
    }
    return true;
}

static void take_etag(struct s3_req *req, const char *value)
{
    char before[S3_ETAG_MAX];
    unsigned form;

    strcpy(before, req->result.obj.etag);
    form = s3_etag_read(value, req->result.obj.etag);
    req->reply.contradicts |= *before && strcmp(before, req->result.obj.etag) != 0;
    for (unsigned bit = 1; success(req) && bit <= form; bit <<= 1) {
        if (form & bit)
            (void)s3_habit_learn(req->client, (enum s3_habit)bit);
    }
}

/* "MinIO", "AmazonS3", "nginx/1.22": up to the version. */
static void take_server(struct s3_req *req, const char *value)
{
    char *server = req->client->conf.server;
    size_t len = strcspn(value, "/(\"\\");

    while (len > 0 && value[len - 1] == ' ')
        len--;
    if (server && !*server && len > 0 && len < S3_SERVER_MAX) {
        memcpy(server, value, len);
        server[len] = '\0';
        s3_reply_clean(server);
    }
}

/* Ceph does not always send its name. */
static void take_ceph(struct s3_req *req, const char *value)
{
    (void)value;
    if (req->client->conf.server)
        strcpy(req->client->conf.server, "Ceph");
}

static void take_type(struct s3_req *req, const char *value)
{
    if (strlen(value) < S3_TYPE_MAX)
        strcpy(req->result.obj.content_type, value);
}

static void take_version(struct s3_req *req, const char *value)
{
    if (strlen(value) < S3_VERSION_MAX && visible(value))
        strcpy(req->result.obj.version, value);
}

static void take_class(struct s3_req *req, const char *value)
{
    if (strlen(value) < S3_CLASS_MAX && visible(value))
        strcpy(req->result.obj.storage_class, value);
}

static void take_length(struct s3_req *req, const char *value)
{
    struct s3_reply *rp = &req->reply;
    uint64_t before = rp->length;
    bool again = rp->has_length;

    rp->has_length = reply_parse_number(&value, &rp->length) && !*value;
    rp->contradicts |= again && (!rp->has_length || rp->length != before);
}

/* "bytes 0-9/100" */
static void take_range(struct s3_req *req, const char *value)
{
    struct s3_reply *rp = &req->reply;
    struct s3_reply before = *rp;

    rp->told_range = true;
    if (strncasecmp(value, "bytes ", 6) != 0)
        return;
    value += 6;
    rp->has_range = reply_parse_number(&value, &rp->first) && *value++ == '-' &&
                    reply_parse_number(&value, &rp->last) && *value++ == '/' &&
                    reply_parse_number(&value, &rp->total) && !*value && rp->first <= rp->last &&
                    rp->last < rp->total;
    rp->contradicts |= before.has_range && (rp->first != before.first || rp->last != before.last ||
                                            rp->total != before.total);
}

static void take_mtime(struct s3_req *req, const char *value)
{
    (void)s3_time_parse_http(value, &req->result.obj.mtime_ns); /* else 0 */
}

static void take_date(struct s3_req *req, const char *value)
{
    (void)s3_time_parse_http(value, &req->reply.date_ns); /* else 0 */
}

/* A number of seconds, or a date. */
static void take_retry_after(struct s3_req *req, const char *value)
{
    int64_t at, now = (int64_t)clock_wall_ns();
    uint64_t s;

    if (reply_parse_number(&value, &s) && !*value)
        req->reply.retry_after_ns = (s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S) * NS_PER_S;
    else if (s3_time_parse_http(value, &at) && at > now)
        req->reply.retry_after_ns = (uint64_t)(at - now);
}

/* With AES256 (SSE-S3) the ETag is still an MD5; not with aws:kms, aws:kms:dsse. */
static void take_encryption(struct s3_req *req, const char *value)
{
    req->reply.own_etag |= strcasecmp(value, "AES256") != 0;
    req->result.obj.own_etag = req->reply.own_etag;
}

/* A key of the customer. */
static void take_customer_key(struct s3_req *req, const char *value)
{
    (void)value;
    req->reply.own_etag = req->result.obj.own_etag = true;
}

/* Classes whose objects have to be restored before they are read; x-amz-restore says that it was
 * done, and INTELLIGENT_TIERING says by x-amz-archive-status that it must be. */
static void take_restore(struct s3_req *req, const char *value)
{
    req->reply.restored = strstr(value, "ongoing-request=\"false\"") != NULL;
}

static void take_archive(struct s3_req *req, const char *value)
{
    req->result.obj.archived = *value != '\0';
}

/* How many there are. */
static void take_tags(struct s3_req *req, const char *value)
{
    uint64_t n;

    if (reply_parse_number(&value, &n) && !*value)
        req->result.obj.tags = n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
}

static void take_region(struct s3_req *req, const char *value)
{
    if (strlen(value) < S3_REGION_MAX && visible(value))
        strcpy(req->result.region, value);
}

/* "https://bucket.s3.eu-west-1.amazonaws.com/key": up to the host, for the operator. */
static void take_location(struct s3_req *req, const char *value)
{
    const char *host = strstr(value, "://");
    size_t len = host ? (size_t)(host + 3 - value) + strcspn(host + 3, "/?#") : 0;

    if (len == 0 || len >= S3_HOST_MAX || req->reply.status < 300 || req->reply.status >= 400 ||
        !visible(value))
        return;
    memcpy(req->result.location, value, len);
    req->result.location[len] = '\0';
}

/* MinIO puts the code of a response without a body into a header; S3 has no such header. */
static void take_code(struct s3_req *req, const char *value)
{
    if (strlen(value) < S3_CODE_MAX && visible(value))
        strcpy(req->result.code, value);
}

/* For the log only. */
static void take_request_id(struct s3_req *req, const char *value)
{
    if (strlen(value) < S3_REQUEST_ID_MAX && visible(value))
        strcpy(req->result.request_id, value);
}

/* Of two, either will do. */
static void take_sum(struct s3_req *req, enum s3_crc kind, const char *value)
{
    if (s3_crc_read(kind, value, &req->reply.sum))
        req->reply.sum_kind = kind;
}

static void take_crc64nvme(struct s3_req *req, const char *value)
{
    take_sum(req, S3_CRC_64NVME, value);
}

static void take_crc32c(struct s3_req *req, const char *value)
{
    if (!req->reply.sum_kind)
        take_sum(req, S3_CRC_32C, value);
}

static void take_sum_type(struct s3_req *req, const char *value)
{
    req->reply.sum_of_sums = strcasecmp(value, "COMPOSITE") == 0;
}

static void take_meta(struct s3_object *obj, const char *name, const char *value)
{
    size_t name_len = strlen(name) + 1, value_len = strlen(value) + 1;
    char *to = obj->meta + obj->meta_len;

    if (name_len + value_len > sizeof(obj->meta) - obj->meta_len)
        return;
    for (size_t i = 0; i < name_len; i++)
        to[i] = (char)tolower((unsigned char)name[i]);
    memcpy(to + name_len, value, value_len);
    obj->meta_len += name_len + value_len;
}

static const struct {
    const char *name;
    void (*take)(struct s3_req *req, const char *value);
} known[] = {
    {"etag", take_etag},
    {"content-length", take_length},
    {"content-type", take_type},
    {"x-amz-version-id", take_version},
    {"x-amz-storage-class", take_class},
    {"content-range", take_range},
    {"x-amz-restore", take_restore},
    {"x-amz-archive-status", take_archive},
    {"x-amz-tagging-count", take_tags},
    {"last-modified", take_mtime},
    {"date", take_date},
    {"retry-after", take_retry_after},
    {"x-amz-server-side-encryption", take_encryption},
    {"x-amz-server-side-encryption-customer-algorithm", take_customer_key},
    {"x-amz-bucket-region", take_region},
    {"x-amz-checksum-crc64nvme", take_crc64nvme},
    {"x-amz-checksum-crc32c", take_crc32c},
    {"x-amz-checksum-type", take_sum_type},
    {"location", take_location},
    {"x-minio-error-code", take_code},
    {"x-amz-request-id", take_request_id},
    {"server", take_server},
    {"x-rgw-object-type", take_ceph},
};

/* ---- headers ---- */

void s3_reply_begin(struct s3_req *req)
{
    req->reply = (struct s3_reply){0};
    memset(&req->result.obj, 0, offsetof(struct s3_object, meta));
    req->result.obj.kept.len = 0;
    req->result.code[0] = req->result.region[0] = req->result.location[0] = '\0';
    req->body_bytes = 0;
    s3_xml_free(req->xml);
    req->xml = NULL;
}

/* "HTTP/1.1 200 OK": a new response, perhaps after 100 Continue. */
static void status_line(struct s3_req *req, const char *line)
{
    const char *p = strchr(line, ' ');
    unsigned lines = req->reply.lines;
    size_t bytes = req->reply.bytes;
    uint64_t status = 0;

    req->move_ns = clock_mono_ns(); /* a head that comes line by line is no progress */
    s3_reply_begin(req);
    req->reply.lines = lines;
    req->reply.bytes = bytes;
    if (p)
        p += strspn(p, " ");
    if (p && reply_parse_number(&p, &status) && status >= 100 && status <= 999)
        req->reply.status = (int)status;
}

static void field(struct s3_req *req, char *line)
{
    char *value = strchr(line, ':');

    if (!value)
        return;
    *value++ = '\0';
    value += strspn(value, " \t");
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(line, known[i].name) == 0)
            known[i].take(req, value);
    }
    s3_extra_take(req, line, value);
    if (strncasecmp(line, META_PREFIX, strlen(META_PREFIX)) == 0)
        take_meta(&req->result.obj, line + strlen(META_PREFIX), value);
}

static int headers_over(struct s3_req *req)
{
    if (req->reply.status < 200)
        return 0; /* 100 Continue */
    req->move_ns = clock_mono_ns();
    req->reply.complete = true;
    if (success(req) && req->reply.contradicts)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "a response whose headers contradict each other");
    if (req->reply.status == 304)
        req->result.not_modified = req->op->kind == S3_OP_GET && req->get.if_none_match;
    s3_extra_taken(req);
    return success(req) && req->op->on_head ? req->op->on_head(req) : 0;
}

static int header_line(struct s3_req *req, const char *data, size_t len)
{
    struct s3_reply *rp = &req->reply;
    char line[LINE_MAX_LEN];

    rp->bytes += len;
    if (++rp->lines > S3_REPLY_LINES_MAX || rp->bytes > S3_REPLY_BYTES_MAX)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "a response with too many headers");
    if (rp->complete)
        return 0; /* a trailer */
    while (len > 0 && isspace((unsigned char)data[len - 1]))
        len--;
    if (len == 0)
        return headers_over(req);
    if (len >= sizeof(line) || memchr(data, '\0', len))
        return 0;
    memcpy(line, data, len);
    line[len] = '\0';
    if (strncmp(line, "HTTP/", 5) == 0)
        status_line(req, line);
    else
        field(req, line);
    return 0;
}

size_t s3_reply_header(char *data, size_t size, size_t n, void *arg)
{
    struct s3_req *req = arg;

    if (req->state == S3_REQ_GONE || req->stopped)
        return 0;
    return header_line(req, data, size * n) == 0 ? size * n : 0;
}

/* ---- bodies ---- */

/* The kind of document in a success of this kind of request; NOTHING: none. */
static enum s3_xml_kind success_says(enum s3_op_kind op)
{
    switch (op) {
    case S3_OP_COPY:
    case S3_OP_PART_COPY:
        return S3_XML_COPY;
    case S3_OP_CREATE:
        return S3_XML_CREATE;
    case S3_OP_COMPLETE:
        return S3_XML_COMPLETE;
    case S3_OP_TAGS:
        return S3_XML_TAGS;
    default:
        return S3_XML_NOTHING;
    }
}

static int begin_xml(struct s3_req *req)
{
    int r = s3_xml_new(NULL, NULL, &req->xml);

    if (r == 0 && success(req))
        s3_xml_expect(req->xml, success_says(req->op->kind));
    return r;
}

/* A refusal, or the short response to a change: S3 sends XML, others may not. */
static int say(struct s3_req *req, const char *data, size_t len)
{
    if (req->body_bytes > S3_REFUSAL_MAX)
        return -1; /* enough; the status decides */
    /* other content is discarded: s3_reply_end checks again */
    if ((!req->xml && begin_xml(req) < 0) || s3_xml_feed(req->xml, data, len) == -ENOMEM)
        return s3_req_stop(req, -ENOMEM, S3_FAIL_LOCAL, S3_RETRY_NO, "no memory");
    return 0;
}

size_t s3_reply_body(char *data, size_t size, size_t n, void *arg)
{
    struct s3_req *req = arg;
    size_t len = size * n;
    int r;

    if (req->state == S3_REQ_GONE || req->stopped)
        return CURL_WRITEFUNC_ERROR;
    if (len == 0)
        return 0; /* curl reports an empty body this way */
    if (req->held_on && success(req))
        return CURL_WRITEFUNC_PAUSE;
    if (!req->reply.complete) {
        /* to curl a line that begins with CR ends the headers, whatever follows */
        (void)s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                          "a response whose headers do not end");
        return CURL_WRITEFUNC_ERROR;
    }
    req->body_bytes += len;
    if (success(req) && req->op->on_body) {
        r = req->op->on_body(req, data, len);
    } else {
        req->move_ns = clock_mono_ns();
        r = say(req, data, len);
    }
    return r == 0 ? len : CURL_WRITEFUNC_ERROR;
}

/* A code for responses that cannot carry one: a bare 403 to a HEAD whose Date differs much from our
 * clock. */
static void guess_skew(struct s3_req *req)
{
    int64_t off = req->reply.date_ns - (int64_t)clock_wall_ns() - req->client->skew_ns;

    if (req->op->kind == S3_OP_HEAD && req->reply.status == 403 && !*req->result.code &&
        req->reply.date_ns && (off > SKEW_NS || off < -SKEW_NS))
        strcpy(req->result.code, "RequestTimeTooSkewed");
}

bool s3_reply_is_part(const struct s3_reply *rp)
{
    bool whole = rp->has_range && rp->first == 0 && rp->last + 1 == rp->total;

    return rp->status == 206 || (rp->status == 200 && rp->told_range && !whole);
}

void s3_reply_clean(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
    }
}

static void take_error(struct s3_req *req, const struct s3_xml_doc *doc)
{
    struct s3_result *res = &req->result;

    strcpy(res->code, *doc->code ? doc->code : "InternalError");
    err_cut(res->text, sizeof(res->text),
            snprintf(res->text, sizeof(res->text), "%s", doc->message));
    s3_reply_clean(res->code);
    s3_reply_clean(res->text);
    if (*doc->region)
        take_region(req, doc->region);
}

void s3_reply_end(struct s3_req *req, CURLcode curl)
{
    if (req->stopped || req->whole)
        return;
    if (req->xml) {
        int r = s3_xml_end(req->xml);
        const struct s3_xml_doc *doc = s3_xml_doc(req->xml);

        /* a document that was cut after its code is still an error */
        if (doc->kind == S3_XML_ERROR && (r == 0 || *doc->code))
            take_error(req, doc);
    }
    guess_skew(req);
    if (curl == CURLE_OK && success(req) && !*req->result.code && req->op->on_end)
        (void)req->op->on_end(req); /* a failure is in req->verdict */
}

const char *s3_object_meta(const struct s3_object *obj, const char *name)
{
    size_t at = 0;

    while (at < obj->meta_len) {
        const char *n = obj->meta + at, *value = n + strlen(n) + 1;

        if (strcmp(n, name) == 0)
            return value;
        at = (size_t)(value - obj->meta) + strlen(value) + 1;
    }
    return NULL;
}
