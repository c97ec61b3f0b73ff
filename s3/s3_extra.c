/* Headers that go with requests: see s3_extra.h. Each operation takes some of them; the table says
 * which. */
#include "s3/s3_extra.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "s3/s3_client.h"
#include "s3/s3_enforce.h"
#include "s3/s3_learn.h"
#include "s3/s3_request.h"

#define TYPE_DEFAULT "binary/octet-stream" /* S3's */
#define CLASS_DEFAULT "STANDARD"
#define SSE "x-amz-server-side-encryption"
#define SSE_KEY SSE "-aws-kms-key-id"
#define SSE_BUCKET_KEY SSE "-bucket-key-enabled"
#define CUSTOMER SSE "-customer-"
#define SOURCE_CUSTOMER "x-amz-copy-source-server-side-encryption-customer-"

/* What an operation takes. */
enum takes {
    TAKES_READ_KEY = 1,     /* the customer's key, to read or to write */
    TAKES_SOURCE_KEY = 2,   /* the same, for the source of a copy */
    TAKES_ENCRYPTION = 4,   /* how S3 encrypts what is stored */
    TAKES_STORAGE = 8,      /* class, ACL */
    TAKES_DESCRIPTION = 16, /* of something new */
    TAKES_SOURCE_OWNER = 32,
};

static const unsigned takes[S3_N_OPS] = {
    [S3_OP_GET] = TAKES_READ_KEY,
    [S3_OP_HEAD] = TAKES_READ_KEY,
    [S3_OP_PUT] = TAKES_READ_KEY | TAKES_ENCRYPTION | TAKES_STORAGE | TAKES_DESCRIPTION,
    [S3_OP_COPY] =
        TAKES_READ_KEY | TAKES_SOURCE_KEY | TAKES_ENCRYPTION | TAKES_STORAGE | TAKES_SOURCE_OWNER,
    [S3_OP_CREATE] = TAKES_READ_KEY | TAKES_ENCRYPTION | TAKES_STORAGE | TAKES_DESCRIPTION,
    [S3_OP_PART] = TAKES_READ_KEY,
    [S3_OP_PART_COPY] = TAKES_READ_KEY | TAKES_SOURCE_KEY | TAKES_SOURCE_OWNER,
    [S3_OP_COMPLETE] = TAKES_READ_KEY,
};

/* ---- of a request ---- */

/* Unless the request has that header, or there is no value. */
static int extra_add(struct s3_req *req, const char *name, const char *value)
{
    if (!value || !*value || s3_headers_has(&req->headers, name))
        return 0;
    return s3_headers_add(&req->headers, name, value);
}

static int add_customer_key(struct s3_req *req, const char *prefix)
{
    const struct s3_options *o = req->client->conf.options;
    const char *const values[][2] = {
        {"algorithm", "AES256"}, {"key", o->customer_key}, {"key-md5", o->customer_key_md5}};
    char name[96];
    int r = 0;

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]) && r == 0; i++) {
        snprintf(name, sizeof(name), "%s%s", prefix, values[i][0]);
        r = s3_headers_add(&req->headers, name, values[i][1]);
    }
    return r;
}

static int add_keys(struct s3_req *req, unsigned which)
{
    const struct s3_options *o = req->client->conf.options;
    bool reads =
        which & TAKES_SOURCE_KEY || req->op->kind == S3_OP_GET || req->op->kind == S3_OP_HEAD;
    int r = 0;

    if (!o->customer_key)
        return 0;
    if ((which & TAKES_READ_KEY) && !(req->plain && reads && !(which & TAKES_SOURCE_KEY)))
        r = add_customer_key(req, CUSTOMER);
    if (r == 0 && (which & TAKES_SOURCE_KEY) && !req->plain)
        r = add_customer_key(req, SOURCE_CUSTOMER);
    return r;
}

static int add_encryption(struct s3_req *req)
{
    const struct s3_options *o = req->client->conf.options;
    int r = extra_add(req, SSE, o->sse);

    if (r == 0 && o->sse)
        r = extra_add(req, SSE_KEY, o->kms_key);
    if (r == 0 && o->sse)
        r = extra_add(req, SSE_BUCKET_KEY, o->bucket_key);
    return r;
}

int s3_extra_describe(struct s3_req *req)
{
    const struct s3_options *o = req->client->conf.options;

    return o ? extra_add(req, "cache-control", o->cache_control) : 0;
}

static int add_description(struct s3_req *req)
{
    int r = s3_extra_describe(req);

    if (r == 0 && !req->no_tags)
        r = extra_add(req, "x-amz-tagging", req->client->conf.options->tags);
    return r;
}

/* The caller has given it tags. (The HEAD that may come before it has none.) */
static bool gives_tags(const struct s3_req *req)
{
    enum s3_op_kind op = req->op->kind;

    return req->tags && !req->no_tags &&
           (op == S3_OP_PUT || op == S3_OP_CREATE || op == S3_OP_COPY);
}

/* The copy gets those of its source: it is no new file, and they may be read. */
static bool copies_tags(const struct s3_req *req)
{
    return req->op->kind == S3_OP_COPY && !req->copy.is_new && !req->no_tags;
}

static int add_kept_tags(struct s3_req *req)
{
    const struct s3_options *o = req->client->conf.options;
    int r = 0;

    if (req->op->kind == S3_OP_COPY &&
        (gives_tags(req) || !copies_tags(req) || s3_habit_has(req->client, S3_HABIT_NO_TAGS)))
        r = s3_headers_add(&req->headers, "x-amz-tagging-directive", "REPLACE");
    if (r == 0 && gives_tags(req))
        return s3_headers_add(&req->headers, "x-amz-tagging", req->tags);
    if (r == 0 && o && req->op->kind == S3_OP_COPY && req->copy.is_new && !req->no_tags)
        r = extra_add(req, "x-amz-tagging", o->tags);
    return r;
}

int s3_extra_headers(struct s3_req *req)
{
    const struct s3_options *o = req->client->conf.options;
    unsigned which = takes[req->op->kind];
    int r = add_kept_tags(req);

    if (r < 0 || !o)
        return r;
    r = extra_add(req, "x-amz-expected-bucket-owner", o->bucket_owner);
    if (r == 0 && (which & TAKES_SOURCE_OWNER))
        r = extra_add(req, "x-amz-source-expected-bucket-owner", o->bucket_owner);
    if (r == 0 && o->requester_pays)
        r = extra_add(req, "x-amz-request-payer", "requester");
    if (r == 0)
        r = add_keys(req, which);
    if (r == 0 && (which & TAKES_ENCRYPTION))
        r = add_encryption(req);
    if (r == 0 && (which & TAKES_STORAGE))
        r = extra_add(req, "x-amz-storage-class", o->storage_class);
    if (r == 0 && (which & TAKES_STORAGE))
        r = extra_add(req, "x-amz-acl", o->acl);
    if (r == 0 && (which & TAKES_DESCRIPTION))
        r = add_description(req);
    return r;
}

/* The configured encryption replaces the object's. */
static bool is_replaced(const struct s3_req *req, const char *name)
{
    const struct s3_options *o = req->client->conf.options;

    return o && (o->sse || o->customer_key) && strncmp(name, SSE, strlen(SSE)) == 0;
}

int s3_extra_keep(struct s3_req *req, const struct s3_pairs *kept, bool all)
{
    int r = 0;

    for (size_t at = 0; kept && at < kept->len && r == 0;) {
        const char *name = kept->text + at, *value = name + strlen(name) + 1;

        at = (size_t)(value - kept->text) + strlen(value) + 1;
        if (!is_replaced(req, name) && (all || strncmp(name, "x-amz-", 6) == 0))
            r = s3_headers_add(&req->headers, name, value);
    }
    return r;
}

const char *s3_usual_type(const struct s3_client *client, const char *key)
{
    const struct s3_options *o = client->conf.options;
    const char *type = o && o->type_of ? o->type_of(o->type_arg, key) : NULL;

    return type ? type : TYPE_DEFAULT;
}

/* ---- refusals ---- */

/* S3 refuses a customer's key for an object that was stored without one. */
static bool reads_plain(struct s3_req *req)
{
    const struct s3_options *o = req->client->conf.options;
    enum s3_op_kind op = req->op->kind;
    const char *code = req->result.code;

    if (!o || !o->customer_key || req->plain || req->reply.status != 400 ||
        (op != S3_OP_GET && op != S3_OP_HEAD && op != S3_OP_COPY && op != S3_OP_PART_COPY))
        return false;
    if (*code && strcmp(code, "InvalidRequest") != 0 && strcmp(code, "InvalidArgument") != 0 &&
        strcmp(code, "InvalidEncryptionAlgorithmError") != 0)
        return false;
    req->plain = true;
    return true;
}

/* Tags need permissions of their own. */
static bool leaves_tags(struct s3_req *req)
{
    if ((!gives_tags(req) && !copies_tags(req)) || req->reply.status != 403 ||
        (*req->result.code && strcmp(req->result.code, "AccessDenied") != 0) ||
        (!gives_tags(req) && s3_habit_has(req->client, S3_HABIT_NO_TAGS)) ||
        (!req->enforce && s3_enforce_is_blind(req)))
        return false; /* (a condition may be what is missing: it is tried first) */
    req->no_tags = true;
    return true;
}

bool s3_extra_turn(struct s3_req *req)
{
    if (req->stopped || req->whole || !req->reply.complete)
        return false;
    return reads_plain(req) || leaves_tags(req);
}

void s3_extra_learn(struct s3_req *req)
{
    if (req->no_tags)
        (void)s3_habit_learn(req->client, S3_HABIT_NO_TAGS);
}

/* ---- of a response ---- */

static const char *const kept_names[] = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
    "x-amz-storage-class",
    SSE,
    SSE_KEY,
    SSE_BUCKET_KEY,
};

static bool extra_is_kept(const char *name)
{
    for (size_t i = 0; i < sizeof(kept_names) / sizeof(kept_names[0]); i++) {
        if (strcasecmp(name, kept_names[i]) == 0)
            return true;
    }
    return false;
}

static bool sendable(const char *value)
{
    for (const char *c = value; *c; c++) {
        if (*c < ' ' || *c > '~')
            return false;
    }
    return *value;
}

/* "gzip, aws-chunked" and "aws-chunked": some servers store how the body was sent. */
static const char *real_encoding(const char *value, char out[S3_TYPE_MAX])
{
    static const char chunked[] = "aws-chunked";
    size_t len = strlen(value);

    if (strcasecmp(value, chunked) == 0)
        return "";
    if (len < sizeof(chunked) || len >= S3_TYPE_MAX ||
        strcasecmp(value + len - strlen(chunked), chunked) != 0)
        return value;
    len -= strlen(chunked);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == ','))
        len--;
    memcpy(out, value, len);
    out[len] = '\0';
    return out;
}

/* Nobody could read new bytes there: the class is for those that were put away. */
static bool is_archive(const char *storage_class)
{
    return strcmp(storage_class, "GLACIER") == 0 || strcmp(storage_class, "DEEP_ARCHIVE") == 0;
}

/* False: it does not fit. */
static bool add_pair(struct s3_pairs *kept, const char *name, const char *value)
{
    size_t name_len = strlen(name) + 1, value_len = strlen(value) + 1;

    if (!sendable(value) || name_len + value_len > sizeof(kept->text) - kept->len)
        return false;
    for (size_t i = 0; i < name_len; i++)
        kept->text[kept->len + i] = (char)(name[i] | (name[i] >= 'A' && name[i] <= 'Z' ? 0x20 : 0));
    memcpy(kept->text + kept->len + name_len, value, value_len);
    kept->len += name_len + value_len;
    return true;
}

static void keep_pair(struct s3_object *obj, const char *name, const char *value)
{
    if (!add_pair(&obj->kept, name, value))
        obj->kept_lost++;
}

void s3_class_keep(struct s3_pairs *kept, const char *storage_class)
{
    kept->len = 0;
    if (*storage_class && !is_archive(storage_class))
        (void)add_pair(kept, "x-amz-storage-class", storage_class);
}

void s3_extra_take(struct s3_req *req, const char *name, const char *value)
{
    struct s3_object *obj = &req->result.obj;
    struct s3_reply *rp = &req->reply;
    char encoding[S3_TYPE_MAX];

    if (!extra_is_kept(name))
        return;
    if (strcasecmp(name, SSE) == 0)
        snprintf(rp->sse, sizeof(rp->sse), "%s", value);
    else if (strcasecmp(name, SSE_KEY) == 0)
        snprintf(rp->sse_key, sizeof(rp->sse_key), "%s", value);
    else if (strcasecmp(name, SSE_BUCKET_KEY) == 0)
        rp->sse_bucket_key = strcasecmp(value, "true") == 0;
    else if (strcasecmp(name, "x-amz-storage-class") == 0 &&
             (strcmp(value, CLASS_DEFAULT) == 0 || is_archive(value)))
        return;
    else if (strcasecmp(name, "content-encoding") != 0)
        keep_pair(obj, name, value);
    else if (*(value = real_encoding(value, encoding)))
        keep_pair(obj, name, value);
}

/* The encryption that the bucket gives to what is written without a word about it. */
static void learn_usual(struct s3_req *req)
{
    const struct s3_options *o = req->client->conf.options;
    struct s3_sse *usual = &req->client->usual_sse;
    enum s3_op_kind op = req->op->kind;

    if ((op != S3_OP_PUT && op != S3_OP_CREATE && op != S3_OP_COPY) || (o && o->sse) ||
        s3_headers_has(&req->headers, SSE))
        return;
    strcpy(usual->name, req->reply.sse);
    strcpy(usual->key, req->reply.sse_key);
    usual->bucket_key = req->reply.sse_bucket_key;
    usual->known = true;
}

/* AES256 is what S3 does without a word. */
static bool is_usual(const struct s3_req *req)
{
    const struct s3_sse *usual = &req->client->usual_sse;
    const struct s3_reply *rp = &req->reply;

    return !*rp->sse || strcasecmp(rp->sse, "AES256") == 0 ||
           (strcmp(usual->name, rp->sse) == 0 && strcmp(usual->key, rp->sse_key) == 0 &&
            usual->bucket_key == rp->sse_bucket_key);
}

void s3_extra_taken(struct s3_req *req)
{
    const struct s3_reply *rp = &req->reply;
    struct s3_object *obj = &req->result.obj;
    enum s3_op_kind op = req->op->kind;

    if (rp->status < 200 || rp->status >= 300)
        return;
    learn_usual(req);
    if (op != S3_OP_GET && op != S3_OP_HEAD)
        return;
    if (is_archive(obj->storage_class))
        obj->archived = true;
    obj->archived &= !rp->restored;
    obj->own_type = *obj->content_type && strcmp(obj->content_type, TYPE_DEFAULT) != 0 &&
                    strcmp(obj->content_type, s3_usual_type(req->client, req->key)) != 0;
    if (is_usual(req))
        return;
    if (req->client->usual_sse.known)
        (void)s3_habit_learn(req->client, S3_HABIT_OWN_SSE);
    keep_pair(obj, SSE, rp->sse);
    if (*rp->sse_key)
        keep_pair(obj, SSE_KEY, rp->sse_key);
    if (rp->sse_bucket_key)
        keep_pair(obj, SSE_BUCKET_KEY, "true");
}
