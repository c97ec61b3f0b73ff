/* Reading x-amz-meta-{mode,uid,gid,mtime}. s3fs writes decimal numbers (mode with its type
 * bits), rclone an octal mode and seconds with a fraction. What is sent is what s3fs writes, and a
 * fraction of seconds. */
#include "workers/meta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define MODE_KEPT 01777 /* set-uid and set-gid bits from elsewhere are not believed */
#define SECONDS_MAX (INT64_MAX / (int64_t)NS_PER_S)

static bool parse(const char *text, int base, unsigned long max, unsigned long *ret)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoul(text, &end, base);
    return !errno && !*end && *ret <= max;
}

/* Decimal where that makes a mode of a file (33188 = 0100644), else octal ("100644", "0644",
 * "644"), else decimal permissions alone. */
static bool parse_mode(const char *text, uint32_t *ret)
{
    unsigned long v;

    if ((*text != '0' && parse(text, 10, 0177777, &v) && S_ISREG(v)) ||
        (parse(text, 8, 0177777, &v) && (S_ISREG(v) || v <= 07777)) ||
        parse(text, 10, 07777, &v)) {
        *ret = (uint32_t)v & MODE_KEPT;
        return true;
    }
    return false;
}

/* Digits behind the point, as nanoseconds; more than nine are cut. */
static bool parse_fraction(const char *text, int64_t *ret)
{
    int64_t ns = 0, unit = NS_PER_S / 10;

    for (; *text >= '0' && *text <= '9'; text++) {
        ns += (*text - '0') * unit;
        unit /= 10;
    }
    *ret = ns;
    return !*text;
}

static bool parse_time(const char *text, int64_t *ret)
{
    char *end;
    long long s;
    int64_t ns = 0;

    errno = 0;
    s = strtoll(text, &end, 10);
    if (end == text || errno || s < 0 || s >= SECONDS_MAX)
        return false;
    if (*end == '.' ? !parse_fraction(end + 1, &ns) : *end != '\0')
        return false;
    *ret = s * (int64_t)NS_PER_S + ns;
    return true;
}

static void parse_id(const char *text, uint32_t *ret)
{
    unsigned long v;

    if (text && parse(text, 10, SHM_MODE_UNSET - 1, &v))
        *ret = (uint32_t)v;
}

bool meta_read(const struct s3_object *obj, struct shm_version *v)
{
    const char *mode = s3_object_meta(obj, "mode");
    const char *mtime = s3_object_meta(obj, "mtime");

    if (mode)
        (void)parse_mode(mode, &v->mode); /* else the configured one */
    parse_id(s3_object_meta(obj, "uid"), &v->uid);
    parse_id(s3_object_meta(obj, "gid"), &v->gid);
    return mtime && parse_time(mtime, &v->mtime_ns);
}

static void add_text(struct meta_out *out, const char *name, const char *text)
{
    char *to = out->text[out->n_text++];

    snprintf(to, META_VALUE_MAX, "%s", text);
    out->pair[out->n++] = (struct s3_meta_pair){name, to};
}

static void add_number(struct meta_out *out, const char *name, uint32_t v)
{
    char text[META_VALUE_MAX];

    snprintf(text, sizeof(text), "%u", v);
    add_text(out, name, text);
}

void meta_write(struct meta_out *out, const struct shm_node *n)
{
    char text[META_VALUE_MAX];

    *out = (struct meta_out){0};
    if (n->mode != SHM_MODE_UNSET)
        add_number(out, "mode", (n->mode & MODE_KEPT) | S_IFREG);
    if (n->uid != SHM_MODE_UNSET)
        add_number(out, "uid", n->uid);
    if (n->gid != SHM_MODE_UNSET)
        add_number(out, "gid", n->gid);
    if (n->flags & SHM_NODE_MTIME_SET) {
        snprintf(text, sizeof(text), "%lld.%09lld",
                 (long long)(n->mtime_ns / (int64_t)NS_PER_S),
                 (long long)(n->mtime_ns % (int64_t)NS_PER_S));
        add_text(out, "mtime", text);
    }
}

static bool is_own(const char *name)
{
    return strcmp(name, "mode") == 0 || strcmp(name, "uid") == 0 ||
           strcmp(name, "gid") == 0 || strcmp(name, "mtime") == 0;
}

static void keep(struct meta_out *out, const struct s3_object *obj, bool own)
{
    for (size_t at = 0; at < obj->meta_len && out->n < META_PAIRS_MAX;) {
        const char *name = obj->meta + at;
        const char *value = name + strlen(name) + 1;

        at += strlen(name) + strlen(value) + 2;
        if (own || !is_own(name))
            out->pair[out->n++] = (struct s3_meta_pair){name, value};
    }
}

void meta_keep(struct meta_out *out, const struct s3_object *obj)
{
    keep(out, obj, false);
}

void meta_keep_all(struct meta_out *out, const struct s3_object *obj)
{
    keep(out, obj, true);
}
