/* Endpoints: see s3_endpoint.h. The paths below them are s3_url.c. */
#include "s3/s3_endpoint.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 256
#define ACCOUNT_LEN 12
#define POINT_MIN 3 /* the name of an access point */
#define POINT_MAX 50
#define REGION_FIRST "us-east-1" /* the one that is asked for the bucket's */
#define ARN_FIELDS 6

/* AWS's partitions, by the prefix of their regions. The last one matches all. */
static const struct partition {
    const char *name;
    const char *region;
    const char *domain;
} partitions[] = {
    {"aws-cn", "cn-", "amazonaws.com.cn"},       {"aws-us-gov", "us-gov-", "amazonaws.com"},
    {"aws-iso", "us-iso-", "c2s.ic.gov"},        {"aws-iso-b", "us-isob-", "sc2s.sgov.gov"},
    {"aws-iso-f", "us-isof-", "csp.hci.ic.gov"}, {"aws-iso-e", "eu-isoe-", "cloud.adc-e.uk"},
    {"aws-eusc", "eusc-", "amazonaws.eu"},       {"aws", "", "amazonaws.com"},
};

#define N_PARTITIONS (sizeof(partitions) / sizeof(partitions[0]))

/* A URL, parsed. */
struct parsed {
    bool tls;
    bool v6;
    unsigned port; /* 0 = the scheme's default */
    char host[HOST_MAX];
    const char *path; /* points into the given text */
};

/* An access point, parsed; region "" = the bucket is not an ARN. */
struct point {
    const struct partition *partition;
    char region[S3_REGION_MAX];
    char label[POINT_MAX + ACCOUNT_LEN + 2]; /* NAME-ACCOUNT, the first label of its host */
    char source[S3_URL_SOURCE_MAX];
};

/* ---- names ---- */

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

static bool is_region(const char *region)
{
    return strlen(region) < S3_REGION_MAX && name_is(region, "-_");
}

static const struct partition *partition_of(const char *region)
{
    size_t i = 0;

    while (strncmp(region, partitions[i].region, strlen(partitions[i].region)) != 0)
        i++;
    return &partitions[i];
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

static bool has_end(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n > m && strcmp(text + n - m, end) == 0;
}

/* ---- a configured URL ---- */

/* "host", "host:port" or "[v6]:port", up to the path. */
static int parse_authority(struct parsed *e, const char *text, size_t len, struct err *err)
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

static int parse_url(struct parsed *e, const char *text, struct err *err)
{
    const char *host, *end;

    *e = (struct parsed){0};
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

static bool host_of_aws(const char *host)
{
    for (size_t i = 0; i < N_PARTITIONS; i++) {
        if (ends_with(host, partitions[i].domain))
            return true;
    }
    return false;
}

bool s3_endpoint_is_aws(const char *endpoint)
{
    struct parsed e;
    struct err ignored;

    if (!endpoint || !*endpoint)
        return true;
    return parse_url(&e, endpoint, &ignored) == 0 && host_of_aws(e.host);
}

/* ---- access points ---- */

static bool is_arn(const char *bucket)
{
    return strncmp(bucket, "arn:", 4) == 0;
}

/* Splits "arn:partition:service:region:account:resource" in place; the resource is the rest. */
static bool split_arn(char *text, char *field[ARN_FIELDS])
{
    for (int i = 0; i < ARN_FIELDS - 1; i++) {
        char *colon = strchr(text, ':');

        if (!colon)
            return false;
        field[i] = text;
        *colon = '\0';
        text = colon + 1;
    }
    field[ARN_FIELDS - 1] = text;
    return true;
}

static int check_service(const char *service, const char *region, const char *resource,
                         struct err *err)
{
    if (strcmp(service, "s3-outposts") == 0 || strcmp(service, "s3-object-lambda") == 0)
        return err_set(err, EINVAL, "bucket: access points of %s are not supported", service);
    if (strcmp(service, "s3express") == 0)
        return err_set(err, EINVAL, "bucket: directory buckets are not supported");
    if (strcmp(service, "s3") != 0)
        return err_set(err, EINVAL,
                       "bucket: an ARN of %.40s, expected one of an access point "
                       "of s3",
                       service);
    if (strncmp(resource, "accesspoint", strlen("accesspoint")) != 0)
        return err_set(err, EINVAL,
                       "bucket: an ARN that is not an access point's, expected "
                       "the bucket's name alone");
    if (!*region)
        return err_set(err, EINVAL,
                       "bucket: multi-Region access points are not supported (they "
                       "need SigV4A): use the access point of a region, or a "
                       "bucket");
    return 0;
}

static bool is_point(const char *name)
{
    size_t len = strlen(name);

    return len >= POINT_MIN && len <= POINT_MAX &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0' && name[0] != '-' &&
           name[len - 1] != '-';
}

/* arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME, or with a colon before the name. */
static int parse_point(const char *bucket, struct point *p, struct err *err)
{
    char text[S3_URL_SOURCE_MAX], *f[ARN_FIELDS], *name;
    int r;

    *p = (struct point){0};
    if (!is_arn(bucket))
        return 0;
    if (strlen(bucket) + strlen("/object") >= sizeof(p->source))
        return err_set(err, EINVAL, "bucket: an ARN that is too long");
    strcpy(text, bucket);
    if (!split_arn(text, f))
        return err_set(err, EINVAL,
                       "bucket: an ARN that is cut, expected "
                       "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME");
    r = check_service(f[2], f[3], f[5], err);
    if (r < 0)
        return r;
    name = f[5] + strlen("accesspoint");
    if ((*name != '/' && *name != ':') || !is_point(name + 1) || strlen(f[4]) != ACCOUNT_LEN ||
        f[4][strspn(f[4], "0123456789")] || !is_region(f[3]))
        return err_set(err, EINVAL,
                       "bucket: not the ARN of an access point, expected "
                       "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME");
    p->partition = partition_of(f[3]);
    if (strcmp(p->partition->name, f[1]) != 0)
        return err_set(err, EINVAL,
                       "bucket: region %s is of the partition %s, but the ARN "
                       "says %.40s",
                       f[3], p->partition->name, f[1]);
    strcpy(p->region, f[3]);
    snprintf(p->label, sizeof(p->label), "%.*s-%.*s", POINT_MAX, name + 1, ACCOUNT_LEN, f[4]);
    snprintf(p->source, sizeof(p->source), "%s/object", bucket);
    return 0;
}

/* ---- AWS's endpoints ---- */

static int check_accelerate(const struct s3_endpoint *e, const struct partition *part,
                            struct err *err)
{
    if (e->fips)
        return err_set(err, EINVAL, "s3.accelerate: AWS has no accelerated endpoint with FIPS");
    if (strcmp(part->name, "aws") != 0)
        return err_set(err, EINVAL, "s3.accelerate: the partition %s has no such endpoint",
                       part->name);
    if (is_arn(e->bucket))
        return err_set(err, EINVAL, "s3.accelerate: access points have no such endpoint");
    if (e->addressing == S3_ADDRESSING_PATH || !bucket_is_host(e->bucket) || strchr(e->bucket, '.'))
        return err_set(err, EINVAL,
                       "s3.accelerate: the bucket must be part of the host name, "
                       "with a name without dots, not in the path");
    return 0;
}

static int check_variant(const struct s3_endpoint *e, const struct partition *part, struct err *err)
{
    if (e->fips && strcmp(part->name, "aws-cn") == 0)
        return err_set(err, EINVAL, "s3.fips: the partition aws-cn has no such endpoints");
    if (has_end(e->bucket, "--x-s3") || has_end(e->bucket, "--xa-s3"))
        return err_set(err, EINVAL,
                       "bucket: \"%.80s\" is a directory bucket: those are not "
                       "supported",
                       e->bucket);
    return e->accelerate ? check_accelerate(e, part, err) : 0;
}

/* The host, without the bucket. */
static int aws_host(const struct s3_endpoint *e, const struct point *p, const char *region,
                    struct parsed *ret, struct err *err)
{
    const char *service = *p->region ? "s3-accesspoint" : "s3";
    const struct partition *part;
    int r;

    if (!is_region(region) || strchr(region, '_'))
        return err_set(err, EINVAL, "\"%.80s\" is not a region", region);
    part = partition_of(region);
    r = check_variant(e, part, err);
    if (r < 0)
        return r;
    *ret = (struct parsed){.tls = true, .path = ""};
    if (e->accelerate)
        snprintf(ret->host, sizeof(ret->host), "s3-accelerate%s.%s",
                 e->dualstack ? ".dualstack" : "", part->domain);
    else
        snprintf(ret->host, sizeof(ret->host), "%s%s%s.%s.%s", service, e->fips ? "-fips" : "",
                 e->dualstack ? ".dualstack" : "", region, part->domain);
    return 0;
}

static int check_custom(const struct s3_endpoint *e, struct err *err)
{
    const char *key = e->dualstack ? "s3.dualstack" : e->fips ? "s3.fips" : "s3.accelerate";

    if (!e->dualstack && !e->fips && !e->accelerate)
        return 0;
    return err_set(err, EINVAL, "%s: only for AWS's own endpoints, but s3.endpoint names one", key);
}

/* ---- both ---- */

static int check_bucket(const struct s3_url *url, const char *bucket, struct err *err)
{
    if (strlen(bucket) > 255 || !name_is(bucket, url->aws ? "-._" : "-._:") ||
        strcmp(bucket, ".") == 0 || strcmp(bucket, "..") == 0)
        return err_set(err, EINVAL, "\"%.80s\" is not a bucket name", bucket);
    return 0;
}

static int choose_addressing(struct s3_url *url, const struct parsed *e,
                             const struct s3_endpoint *given, struct err *err)
{
    bool address = e->v6 || !strpbrk(e->host, "abcdefghijklmnopqrstuvwxyz");
    const char *bucket = given->bucket;
    int r = check_bucket(url, bucket, err);

    if (r < 0)
        return r;
    url->virtual_host = given->addressing == S3_ADDRESSING_VIRTUAL;
    if (given->addressing == S3_ADDRESSING_AUTO)
        url->virtual_host = url->aws && bucket_is_host(bucket) && !strchr(bucket, '.');
    if (url->virtual_host && (address || !bucket_is_host(bucket)))
        return err_set(err, EINVAL,
                       "bucket \"%.80s\" cannot be part of a host name at "
                       "%.80s: use path addressing",
                       bucket, e->host);
    return 0;
}

/* Access points are addressed by host name only. */
static int address_point(struct s3_url *url, const struct parsed *e,
                         const struct s3_endpoint *given, struct err *err)
{
    if (given->addressing == S3_ADDRESSING_PATH || e->v6 ||
        !strpbrk(e->host, "abcdefghijklmnopqrstuvwxyz"))
        return err_set(err, EINVAL,
                       "bucket: an access point is part of the host name: it cannot "
                       "be in the path, or at an IP address");
    url->virtual_host = true;
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

        if (!coded && path[i] != '/' && !s3_url_unreserved((unsigned char)path[i]))
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

static void put_authority(struct s3_url *url, const struct parsed *e, const char *label)
{
    char port[16] = "";

    if (e->port && e->port != (e->tls ? 443u : 80u))
        snprintf(port, sizeof(port), ":%u", e->port);
    snprintf(url->authority, sizeof(url->authority), "%s%s%s%s", url->virtual_host ? label : "",
             url->virtual_host ? "." : "", e->host, port);
}

/* The region to sign for. */
static const char *region_of(const struct s3_endpoint *e, const struct point *p, bool aws)
{
    if (*p->region)
        return p->region;
    if (!e->region || !*e->region)
        return REGION_FIRST;
    return aws && strcmp(e->region, S3_REGION_AUTO) == 0 ? REGION_FIRST : e->region;
}

int s3_endpoint_resolve(const struct s3_endpoint *endpoint, struct s3_url *ret_url, struct err *err)
{
    bool custom = endpoint->url && *endpoint->url;
    struct s3_url url = {0};
    struct parsed e;
    struct point p;
    const char *region;
    int r = parse_point(endpoint->bucket, &p, err);

    if (r == 0 && custom)
        r = check_custom(endpoint, err);
    if (r < 0)
        return r;
    region = region_of(endpoint, &p, s3_endpoint_is_aws(endpoint->url));
    if (!is_region(region))
        return err_set(err, EINVAL, "\"%.80s\" is not a region", region);
    r = custom ? parse_url(&e, endpoint->url, err) : aws_host(endpoint, &p, region, &e, err);
    if (r < 0)
        return r;
    url.tls = e.tls;
    url.aws = host_of_aws(e.host);
    strcpy(url.region, region);
    r = *p.region ? address_point(&url, &e, endpoint, err)
                  : choose_addressing(&url, &e, endpoint, err);
    if (r < 0)
        return r;
    put_authority(&url, &e, *p.region ? p.label : endpoint->bucket);
    strcpy(url.source, *p.region ? p.source : endpoint->bucket);
    r = put_base(&url, e.path, *p.region ? "" : endpoint->bucket, err);
    if (r < 0)
        return r;
    *ret_url = url;
    return 0;
}

int s3_endpoint_move(const struct s3_endpoint *endpoint, const char *region, struct s3_url *url)
{
    struct s3_endpoint there = *endpoint;
    struct err ignored;

    if (is_arn(endpoint->bucket) || !is_region(region) || strcmp(region, url->region) == 0)
        return -EINVAL;
    if (url->aws && partition_of(region) != partition_of(url->region))
        return -EINVAL;
    there.region = region;
    return s3_endpoint_resolve(&there, url, &ignored);
}
