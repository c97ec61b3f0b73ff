/* Reading x-amz-meta-{mode,uid,gid,mtime}. s3fs writes decimal numbers (mode with its type
 * bits), rclone an octal mode and seconds with a fraction. What is sent: publish.c. */
#include "workers/meta.h"

#include <errno.h>
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
