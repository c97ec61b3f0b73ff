/* What goes with the requests of this mount (s3_options of s3.h): made in the supervisor, before
 * the first fork, because it reads files that workers cannot. Declared in worker_abi.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nettle/md5.h>
#include <sodium.h>

#include "base/fd.h"
#include "s3/s3.h"
#include "workers/objmeta/meta.h"
#include "workers/objmeta/suffix.h"
#include "workers/op/worker_abi.h"

#define KEY_LEN 32
#define KEY_TEXT_MAX 45 /* of 32 bytes in base64, and NUL; the next: of 16 */
#define MD5_TEXT_MAX 25
#define BASE64 sodium_base64_VARIANT_ORIGINAL

/* In locked memory. */
struct customer_key {
    char text[KEY_TEXT_MAX];
    char md5[MD5_TEXT_MAX];
    char file[KEY_TEXT_MAX + 4]; /* what was read: a line break may follow */
    unsigned char bytes[KEY_LEN];
};

static const char *sse_name(enum conf_sse sse)
{
    switch (sse) {
    case CONF_SSE_S3:
        return "AES256";
    case CONF_SSE_KMS:
        return "aws:kms";
    case CONF_SSE_KMS_DSSE:
        return "aws:kms:dsse";
    case CONF_SSE_OFF:
    case CONF_SSE_CUSTOMER:
        break;
    }
    return NULL;
}

static const char *bucket_key_name(enum conf_bucket_key key)
{
    return key == CONF_BUCKET_KEY_ON ? "true" : key == CONF_BUCKET_KEY_OFF ? "false" : NULL;
}

static bool is_marker(const char *key)
{
    size_t len = strlen(key);

    return len > 0 && key[len - 1] == '/';
}

static const char *type_by_suffix(const void *arg, const char *key)
{
    return is_marker(key) ? META_TYPE_MARKER : suffix_type(arg, key);
}

static const char *type_of_marker(const void *arg, const char *key)
{
    (void)arg;
    return is_marker(key) ? META_TYPE_MARKER : NULL;
}

/* ---- the customer's key ---- */

static bool take_text(struct customer_key *k, const char *text)
{
    size_t len = 0;

    return sodium_base642bin(k->bytes, sizeof(k->bytes), text, strlen(text), NULL, &len, NULL,
                             BASE64) == 0 &&
           len == KEY_LEN;
}

static int key_of_file(struct customer_key *k, const char *path, struct err *err)
{
    ssize_t len = fd_read_file(path, k->file, sizeof(k->file));

    if (len < 0 && len != -EFBIG)
        return err_set(err, EINVAL, "s3.sse_customer_key_file: \"%.120s\": %s", path,
                       strerror((int)-len));
    if (len == KEY_LEN) {
        memcpy(k->bytes, k->file, KEY_LEN);
        return 0;
    }
    while (len > 0 && strchr("\r\n", k->file[len - 1]))
        k->file[--len] = '\0';
    if (len < 0 || !take_text(k, k->file))
        return err_set(err, EINVAL,
                       "s3.sse_customer_key_file: \"%.120s\" is not a key, expected 32 bytes, or "
                       "those in base64",
                       path);
    return 0;
}

static int fill_key(struct customer_key *k, const struct conf *conf, struct err *err)
{
    uint8_t md5[MD5_DIGEST_SIZE];
    struct md5_ctx ctx;
    int r = 0;

    if (*conf->s3.sse_customer_key_file)
        r = key_of_file(k, conf->s3.sse_customer_key_file, err);
    else if (!take_text(k, conf->s3.sse_customer_key))
        r = err_set(err, EINVAL, "s3.sse_customer_key: not 32 bytes in base64");
    if (r < 0)
        return r;
    md5_init(&ctx);
    md5_update(&ctx, sizeof(k->bytes), k->bytes);
    md5_digest(&ctx, sizeof(md5), md5);
    sodium_bin2base64(k->text, sizeof(k->text), k->bytes, sizeof(k->bytes), BASE64);
    sodium_bin2base64(k->md5, sizeof(k->md5), md5, sizeof(md5), BASE64);
    sodium_memzero(k->bytes, sizeof(k->bytes));
    sodium_memzero(k->file, sizeof(k->file));
    return 0;
}

static int add_key(struct s3_options *o, const struct conf *conf, struct err *err)
{
    struct customer_key *k;
    int r;

    if (conf->s3.sse != CONF_SSE_CUSTOMER)
        return 0;
    if (sodium_init() < 0 || !(k = sodium_malloc(sizeof(*k))))
        return err_set(err, ENOMEM, "no locked memory for the key of s3.sse: customer");
    memset(k, 0, sizeof(*k));
    r = fill_key(k, conf, err);
    if (r < 0) {
        sodium_free(k);
        return r;
    }
    sodium_mprotect_readonly(k);
    o->customer_key = k->text;
    o->customer_key_md5 = k->md5;
    return 0;
}

/* ---- all of it ---- */

static int add_types(struct s3_options *o, const struct conf *conf, struct err *err)
{
    struct suffix_types *types;

    o->type_of = type_of_marker;
    if (conf->content_type == CONF_TYPE_OFF)
        return 0;
    if (suffix_types_load(SUFFIX_FILE, &types) < 0)
        return err_set(err, ENOMEM, "out of memory");
    o->type_of = type_by_suffix;
    o->type_arg = types;
    return 0;
}

int worker_options_new(const struct conf *conf, const struct s3_options **ret, struct err *err)
{
    struct s3_options *o = calloc(1, sizeof(*o));
    int r;

    if (!o)
        return err_set(err, ENOMEM, "out of memory");
    *o = (struct s3_options){
        .bucket_owner = conf->s3.expected_bucket_owner,
        .requester_pays = conf->s3.requester_pays,
        .sse = sse_name(conf->s3.sse),
        .kms_key = conf->s3.sse_kms_key_id,
        .bucket_key = bucket_key_name(conf->s3.sse_bucket_key),
        .storage_class = conf->s3.storage_class,
        .acl = conf_acl_name(conf),
        .tags = conf->s3.tags,
        .cache_control = conf->s3.cache_control,
    };
    r = add_key(o, conf, err);
    if (r == 0)
        r = add_types(o, conf, err);
    if (r < 0) {
        free(o);
        return r;
    }
    *ret = o;
    return 0;
}
