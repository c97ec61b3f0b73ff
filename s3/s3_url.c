/* Endpoints, addressing, percent-encoding and valid keys. What is sent on the request line is
 * exactly what s3_sigv4.c signs. */
#include "s3/s3_url.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 256

/* AWS's partitions: the domain for regions with this prefix. The last one matches all. */
static const struct {
    const char *region;
    const char *domain;
} partitions[] = {
    {"cn-", "amazonaws.com.cn"},    {"us-iso-", "c2s.ic.gov"},      {"us-isob-", "sc2s.sgov.gov"},
    {"us-isof-", "csp.hci.ic.gov"}, {"eu-isoe-", "cloud.adc-e.uk"}, {"eusc-", "amazonaws.eu"},
    {"", "amazonaws.com"},
};

struct endpoint {
    bool tls;
    bool v6;
    unsigned port; /* 0 = the scheme's default */
    char host[HOST_MAX];
    const char *path; /* points into the given text */
};

static bool unreserved(unsigned char c)
{
    return (c < 0x80 && isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool name_is(const char *s, const char *also)
{
    if (!*s)
        return false;
    for (; *s; s++) {
        if (!(isalnum((unsigned char)*s) && (unsigned char)*s < 0x80) && !strchr(also, *s))
            return false;
    }
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n > m && s[n - m - 1] == '.' && strcmp(s + n - m, end) == 0;
}

/* "host", "host:port" or "[v6]:port", up to the path. */
static int parse_authority(struct endpoint *e, const char *text, size_t len, struct err *err)
{
    char buf[HOST_MAX + 8];
    char *port;

    if (len == 0 || len >= sizeof(buf))
        return err_set(err, EINVAL, "the endpoint has no host, or one that is too long");
    memcpy(buf, text, len);
    buf[len] = '\0';
    e->v6 = buf[0] == '[';
    port = e->v6 ? strchr(buf, ']') : strchr(buf, ':');
    if (e->v6 && (!port || (port[1] != ':' && port[1])))
        return err_set(err, EINVAL, "the endpoint has an invalid IPv6 address");
    if (e->v6)
        port = port[1] ? port + 1 : NULL;
    if (port) {
        char *end;
        unsigned long n = strtoul(port + 1, &end, 10);

        if (!isdigit((unsigned char)port[1]) || *end || n < 1 || n > 65535)
            return err_set(err, EINVAL, "the endpoint's port must be 1 to 65535");
        e->port = (unsigned)n;
        *port = '\0';
    }
    for (char *c = buf; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (!name_is(buf, e->v6 ? "[]:." : "-._") || strlen(buf) >= HOST_MAX)
        return err_set(err, EINVAL, "the endpoint's host is not a host name or address");
    strcpy(e->host, buf);
    return 0;
}

static int parse_endpoint(struct endpoint *e, const char *text, struct err *err)
{
    const char *host, *end;

    *e = (struct endpoint){0};
    if (strncasecmp(text, "https://", 8) == 0) {
        e->tls = true;
        host = text + 8;
    } else if (strncasecmp(text, "http://", 7) == 0) {
        host = text + 7;
    } else {
        return err_set(err, EINVAL, "the endpoint must begin with http:// or https://");
    }
    end = host + strcspn(host, "/?#");
    if (memchr(host, '@', (size_t)(end - host)))
        return err_set(err, EINVAL, "the endpoint must not contain a user name or password");
    if (strpbrk(host, "?#"))
        return err_set(err, EINVAL, "the endpoint must not contain a query or a fragment");
    e->path = end;
    return parse_authority(e, host, (size_t)(end - host), err);
}

static int default_endpoint(struct endpoint *e, const char *region, struct err *err)
{
    size_t i = 0;

    if (strlen(region) >= S3_REGION_MAX || !name_is(region, "-"))
        return err_set(err, EINVAL, "\"%.80s\" is not a region", region);
    while (strncmp(region, partitions[i].region, strlen(partitions[i].region)) != 0)
        i++;
    *e = (struct endpoint){.tls = true, .path = ""};
    snprintf(e->host, sizeof(e->host), "s3.%s.%s", region, partitions[i].domain);
    return 0;
}

static bool host_of_aws(const char *host)
{
    for (size_t i = 0; i < sizeof(partitions) / sizeof(partitions[0]); i++) {
        if (ends_with(host, partitions[i].domain))
            return true;
    }
    return false;
}

bool s3_endpoint_is_aws(const char *endpoint)
{
    struct endpoint e;
    struct err ignored;

    if (!endpoint || !*endpoint)
        return true;
    return parse_endpoint(&e, endpoint, &ignored) == 0 && host_of_aws(e.host);
}

/* One or more labels of a host name. */
static bool bucket_is_host(const char *bucket)
{
    size_t len = strlen(bucket);

    if (len < 3 || len > 63)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (isupper((unsigned char)bucket[i]) || bucket[i] == '_' || bucket[i] == ':')
            return false;
    }
    return isalnum((unsigned char)bucket[0]) && isalnum((unsigned char)bucket[len - 1]) &&
           !strstr(bucket, "..");
}

static int choose_addressing(struct s3_url *url, const struct endpoint *e, const char *bucket,
                             enum s3_addressing addressing, struct err *err)
{
    bool address = e->v6 || !strpbrk(e->host, "abcdefghijklmnopqrstuvwxyz");

    if (strlen(bucket) > 255 || !name_is(bucket, url->aws ? "-._" : "-._:") ||
        strcmp(bucket, ".") == 0 || strcmp(bucket, "..") == 0)
        return err_set(err, EINVAL, "\"%.80s\" is not a bucket name", bucket);
    url->virtual_host = addressing == S3_ADDRESSING_VIRTUAL;
    if (addressing == S3_ADDRESSING_AUTO)
        url->virtual_host = url->aws && bucket_is_host(bucket) && !strchr(bucket, '.');
    if (url->virtual_host && (address || !bucket_is_host(bucket)))
        return err_set(err, EINVAL,
                       "bucket \"%.80s\" cannot be part of a host name at "
                       "%.80s: use path addressing",
                       bucket, e->host);
    return 0;
}

/* Ceph's "tenant:bucket" is encoded: nothing else in a bucket's name needs it. */
static void put_bucket(char *to, const char *bucket)
{
    for (; *bucket; bucket++) {
        if (*bucket == ':') {
            memcpy(to, "%3A", 3);
            to += 3;
        } else {
            *to++ = *bucket;
        }
    }
    *to = '\0';
}

/* The base path is used unchanged, so that it is signed as it is sent. */
static int put_base(struct s3_url *url, const char *path, const char *bucket, struct err *err)
{
    size_t len = strlen(path);

    while (len > 0 && path[len - 1] == '/')
        len--;
    for (size_t i = 0; i < len; i++) {
        bool coded = path[i] == '%' && isxdigit((unsigned char)path[i + 1]) &&
                     isxdigit((unsigned char)path[i + 2]);

        if (!coded && path[i] != '/' && !unreserved((unsigned char)path[i]))
            return err_set(err, EINVAL,
                           "the endpoint's path may contain letters, digits, "
                           "\"-._~/\" and %%XX only");
    }
    if (len + 3 * strlen(bucket) + 2 > sizeof(url->base))
        return err_set(err, EINVAL, "the endpoint's path is too long");
    memcpy(url->base, path, len);
    url->base[len] = '\0';
    if (!url->virtual_host) {
        url->base[len++] = '/';
        put_bucket(url->base + len, bucket);
    }
    return 0;
}

int s3_url_init(struct s3_url *ret_url, const char *endpoint, const char *region,
                const char *bucket, enum s3_addressing addressing, struct err *err)
{
    struct s3_url url = {0};
    struct endpoint e;
    char port[16] = "";
    int r = endpoint && *endpoint ? parse_endpoint(&e, endpoint, err)
                                  : default_endpoint(&e, region, err);

    if (r < 0)
        return r;
    url.tls = e.tls;
    url.aws = host_of_aws(e.host);
    r = choose_addressing(&url, &e, bucket, addressing, err);
    if (r < 0)
        return r;
    if (e.port && e.port != (e.tls ? 443u : 80u))
        snprintf(port, sizeof(port), ":%u", e.port);
    snprintf(url.authority, sizeof(url.authority), "%s%s%s%s", url.virtual_host ? bucket : "",
             url.virtual_host ? "." : "", e.host, port);
    r = put_base(&url, e.path, bucket, err);
    if (r < 0)
        return r;
    *ret_url = url;
    return 0;
}

/* Length of the UTF-8 sequence at s (RFC 3629: shortest form, no surrogates), 0 if there is
 * none. */
static size_t utf8_len(const unsigned char *s)
{
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;

    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0; /* also stops at the NUL */
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static int check_component(const char *s, size_t len, bool last)
{
    if (len == 0 && !last)
        return -EINVAL;
    if ((len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
        return -EINVAL;
    return len > S3_KEY_COMPONENT_MAX ? -ENAMETOOLONG : 0;
}

int s3_url_check_key(const char *key)
{
    const char *at = key;

    if (!*key)
        return -EINVAL;
    if (strlen(key) > S3_KEY_MAX)
        return -ENAMETOOLONG;
    for (const char *c = key; *c;) {
        size_t n = utf8_len((const unsigned char *)c);

        if (n == 0)
            return -EINVAL;
        c += n;
    }
    for (;;) {
        size_t len = strcspn(at, "/");
        int r = check_component(at, len, !at[len]);

        if (r < 0 || !at[len])
            return r;
        at += len + 1;
    }
}

int s3_url_encode(struct buf *out, const char *text, size_t len, bool keep_slash)
{
    static const char hex[] = "0123456789ABCDEF";
    int r = 0;

    for (size_t i = 0; i < len && r == 0;) {
        size_t run = i;
        unsigned char c;

        while (run < len &&
               (unreserved((unsigned char)text[run]) || (keep_slash && text[run] == '/')))
            run++;
        r = buf_append(out, text + i, run - i);
        if (run < len && r == 0) {
            c = (unsigned char)text[run++];
            r = buf_append(out, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
        }
        i = run;
    }
    return r;
}

int s3_url_path(const struct s3_url *url, const char *key, struct buf *out)
{
    int r = buf_puts(out, url->base);

    if (r == 0 && (key || !*url->base))
        r = buf_puts(out, "/");
    if (r == 0 && key)
        r = s3_url_encode(out, key, strlen(key), true);
    return r;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t s3_url_decode(char *text, size_t len, bool plus)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int high = i + 2 < len && text[i] == '%' ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

        if (low >= 0) {
            text[n++] = (char)(high << 4 | low);
            i += 2;
        } else {
            text[n++] = plus && text[i] == '+' ? ' ' : text[i];
        }
    }
    text[n] = '\0';
    return n;
}
