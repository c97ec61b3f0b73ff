/* Signature Version 4. A canonical request is made in a buffer with a limit, hashed, and signed
 * with a key that whoever has the secret derived for the day, the region and the service. Hashes
 * are mbedTLS's. */
#include "s3/s3_sigv4.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <mbedtls/md.h>
#include <sodium.h>

#include "base/min.h"
#include "s3/s3_url.h"

#define HASH_LEN S3_SIGV4_KEY_LEN
#define SCOPE_MAX 256

/* ---- path ---- */

/* RFC 3986 5.2.4, and runs of "/" become one, in place. The path begins with "/". */
static void normalize_path(char *path)
{
    char *out = path;
    const char *in = path;
    bool slash = false;

    while (*in) {
        const char *part = in + 1;
        size_t len = strcspn(part, "/");

        slash = part[len] == '/' || len == 0;
        if (len == 2 && part[0] == '.' && part[1] == '.') {
            while (out > path && *--out != '/')
                ;
            slash = true;
        } else if (len == 1 && part[0] == '.') {
            slash = true;
        } else if (len > 0) {
            *out++ = '/';
            memmove(out, part, len);
            out += len;
        }
        in = part + len;
    }
    if (slash || out == path)
        *out++ = '/';
    *out = '\0';
}

static int canonical_path(const struct s3_sigv4_request *req, struct buf *out)
{
    const char *path = *req->path ? req->path : "/";
    char *copy;
    int r;

    if (!req->normalize_path && !req->encode_path)
        return buf_puts(out, path);
    copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    if (req->normalize_path && copy[0] == '/')
        normalize_path(copy);
    r = req->encode_path ? s3_url_encode(out, copy, strlen(copy), true) : buf_puts(out, copy);
    free(copy);
    return r;
}

/* ---- query ---- */

struct param {
    size_t name, name_len, value, value_len; /* in a buffer, encoded */
    const char *text;                        /* that buffer, once it is complete */
};

static int compare_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int r = memcmp(a, b, min_u64(a_len, b_len));

    return r ? r : (a_len > b_len) - (a_len < b_len);
}

static int compare_params(const void *x, const void *y)
{
    const struct param *a = x, *b = y;
    int r = compare_text(a->text + a->name, a->name_len, b->text + b->name, b->name_len);

    return r ? r : compare_text(a->text + a->value, a->value_len, b->text + b->value, b->value_len);
}

/* Decodes and encodes again, so that any spelling becomes the one that is signed. */
static int recode(struct buf *out, const char *text, size_t len, size_t *ret_at, size_t *ret_len)
{
    char *copy = strndup(text, len);
    int r;

    if (!copy)
        return -ENOMEM;
    *ret_at = out->len;
    r = s3_url_encode(out, copy, s3_url_decode(copy, strlen(copy), false), false);
    *ret_len = out->len - *ret_at;
    free(copy);
    return r;
}

static int split_query(const char *query, struct buf *text, struct param *params, size_t *ret_n)
{
    size_t n = 0;

    for (const char *at = query; *at;) {
        size_t len = strcspn(at, "&"), name = strcspn(at, "=&");
        struct param *p = &params[n];
        size_t skip = name < len ? name + 1 : len;
        int r;

        if (n == S3_SIGV4_QUERY_MAX)
            return -E2BIG;
        r = recode(text, at, name, &p->name, &p->name_len);
        if (r == 0)
            r = recode(text, at + skip, len - skip, &p->value, &p->value_len);
        if (r < 0)
            return r;
        n += len > 0;
        at += len + (at[len] == '&');
    }
    *ret_n = n;
    return 0;
}

static int canonical_query(const char *query, struct buf *out)
{
    struct param params[S3_SIGV4_QUERY_MAX];
    struct buf text;
    size_t n = 0;
    int r;

    buf_init(&text, S3_SIGV4_CANONICAL_MAX);
    r = split_query(query, &text, params, &n);
    for (size_t i = 0; i < n && r == 0; i++)
        params[i].text = text.data;
    if (r == 0)
        qsort(params, n, sizeof(params[0]), compare_params);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = buf_printf(out, "%s%.*s=%.*s", i ? "&" : "", (int)params[i].name_len,
                       text.data + params[i].name, (int)params[i].value_len,
                       text.data + params[i].value);
    }
    buf_done(&text);
    return r;
}

/* ---- headers ---- */

struct ordered {
    const struct s3_sigv4_header *header;
    size_t place; /* original position: equal names keep their order */
};

static int compare_headers(const void *x, const void *y)
{
    const struct ordered *a = x, *b = y;
    int r = strcasecmp(a->header->name, b->header->name);

    return r ? r : (a->place > b->place) - (a->place < b->place);
}

static int put_lower(struct buf *out, const char *name)
{
    int r = 0;

    for (; *name && r == 0; name++)
        r = buf_append(out, (char[]){(char)tolower((unsigned char)*name)}, 1);
    return r;
}

static int put_trimmed(struct buf *out, const char *value)
{
    int r = 0;

    while (isspace((unsigned char)*value))
        value++;
    while (*value && r == 0) {
        size_t word = strcspn(value, " \t\r\n\v\f");

        r = buf_append(out, value, word);
        value += word;
        while (isspace((unsigned char)*value))
            value++;
        if (r == 0 && *value)
            r = buf_append(out, " ", 1);
    }
    return r;
}

static int canonical_headers(const struct s3_sigv4_request *req, struct buf *out, struct buf *names)
{
    struct ordered order[S3_SIGV4_HEADERS_MAX];
    int r = 0;

    if (req->n_headers == 0 || req->n_headers > S3_SIGV4_HEADERS_MAX)
        return -E2BIG;
    for (size_t i = 0; i < req->n_headers; i++)
        order[i] = (struct ordered){&req->headers[i], i};
    qsort(order, req->n_headers, sizeof(order[0]), compare_headers);
    for (size_t i = 0; i < req->n_headers && r == 0; i++) {
        const struct s3_sigv4_header *h = order[i].header;
        bool same = i > 0 && strcasecmp(order[i - 1].header->name, h->name) == 0;

        if (!same && names->len)
            r = buf_puts(names, ";");
        if (!same && r == 0)
            r = put_lower(names, h->name);
        if (!same && r == 0 && i > 0)
            r = buf_puts(out, "\n");
        if (!same && r == 0)
            r = put_lower(out, h->name);
        if (r == 0)
            r = buf_puts(out, same ? "," : ":");
        if (r == 0)
            r = put_trimmed(out, h->value);
    }
    return r == 0 ? buf_puts(out, "\n") : r;
}

int s3_sigv4_canonical(const struct s3_sigv4_request *req, struct buf *canonical,
                       struct buf *signed_headers)
{
    int r = buf_printf(canonical, "%s\n", req->method);

    if (r == 0)
        r = canonical_path(req, canonical);
    if (r == 0)
        r = buf_puts(canonical, "\n");
    if (r == 0)
        r = canonical_query(req->query, canonical);
    if (r == 0)
        r = buf_puts(canonical, "\n");
    if (r == 0)
        r = canonical_headers(req, canonical, signed_headers);
    if (r == 0)
        r = buf_printf(canonical, "\n%s\n%s", signed_headers->data, req->payload_hash);
    return r == -EMSGSIZE ? -E2BIG : r;
}

/* ---- signature ---- */

static int hmac(const unsigned char *key, size_t key_len, const char *text, size_t len,
                unsigned char *out)
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);

    return mbedtls_md_hmac(md, key, key_len, (const unsigned char *)text, len, out) ? -ENOMEM : 0;
}

int s3_sigv4_derive(const char *secret, const struct s3_sigv4_scope *scope, unsigned char *ret_key)
{
    char first[S3_SECRET_MAX + 4];
    unsigned char k1[HASH_LEN], k2[HASH_LEN];
    int n = snprintf(first, sizeof(first), "AWS4%s", secret);
    int r = (size_t)n < sizeof(first) ? 0 : -E2BIG;

    if (r == 0)
        r = hmac((unsigned char *)first, (size_t)n, scope->amz_date, 8, k1);
    if (r == 0)
        r = hmac(k1, HASH_LEN, scope->region, strlen(scope->region), k2);
    if (r == 0)
        r = hmac(k2, HASH_LEN, scope->service, strlen(scope->service), k1);
    if (r == 0)
        r = hmac(k1, HASH_LEN, "aws4_request", 12, ret_key);
    sodium_memzero(first, sizeof(first));
    sodium_memzero(k1, sizeof(k1));
    sodium_memzero(k2, sizeof(k2));
    return r;
}

static void put_hex(const unsigned char *digest, char *hex)
{
    sodium_bin2hex(hex, HASH_LEN * 2 + 1, digest, HASH_LEN);
}

/* Signs a finished canonical request. */
static int sign_canonical(const struct buf *canonical, const char *names,
                          const struct s3_sigv4_scope *scope, const struct s3_cred *cred,
                          char *auth, size_t cap)
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    char scope_text[SCOPE_MAX], hex[HASH_LEN * 2 + 1], to_sign[512];
    unsigned char digest[HASH_LEN];
    int n = snprintf(scope_text, sizeof(scope_text), "%.8s/%s/%s/aws4_request", scope->amz_date,
                     scope->region, scope->service);
    int r;

    if ((size_t)n >= sizeof(scope_text))
        return -E2BIG;
    if (mbedtls_md(md, (const unsigned char *)canonical->data, canonical->len, digest))
        return -ENOMEM;
    put_hex(digest, hex);
    n = snprintf(to_sign, sizeof(to_sign), "AWS4-HMAC-SHA256\n%s\n%s\n%s", scope->amz_date,
                 scope_text, hex);
    r = hmac(cred->key, HASH_LEN, to_sign, (size_t)n, digest);
    if (r < 0)
        return r;
    put_hex(digest, hex);
    n = snprintf(auth, cap,
                 "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, "
                 "Signature=%s",
                 cred->access_key, scope_text, names, hex);
    return (size_t)n < cap ? 0 : -E2BIG;
}

int s3_sigv4_sign(const struct s3_sigv4_request *req, const struct s3_sigv4_scope *scope,
                  const struct s3_cred *cred, char *auth, size_t cap)
{
    struct buf canonical, names;
    int r;

    buf_init(&canonical, S3_SIGV4_CANONICAL_MAX);
    buf_init(&names, S3_SIGV4_AUTH_MAX);
    r = s3_sigv4_canonical(req, &canonical, &names);
    if (r == 0)
        r = sign_canonical(&canonical, names.data, scope, cred, auth, cap);
    buf_done(&canonical);
    buf_done(&names);
    return r;
}
