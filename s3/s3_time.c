/* Times as S3 writes them. Strict: any deviation from the form is refused. Years 1970 to 9999. */
#include "s3/s3_time.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

void s3_time_amz(uint64_t wall_ns, char *out)
{
    time_t t = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;

    gmtime_r(&t, &tm);
    snprintf(out, S3_TIME_AMZ_MAX, "%04u%02u%02uT%02u%02u%02uZ",
             (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday,
             (unsigned)tm.tm_hour, (unsigned)tm.tm_min, (unsigned)tm.tm_sec);
}

/* Reads `n` digits at *p and moves past them. False if there are fewer. */
static bool digits(const char **p, int n, int *ret)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)(*p)[i]))
            return false;
        v = v * 10 + ((*p)[i] - '0');
    }
    *p += n;
    *ret = v;
    return true;
}

static bool literal(const char **p, const char *text)
{
    size_t len = strlen(text);

    if (strncmp(*p, text, len) != 0)
        return false;
    *p += len;
    return true;
}

static bool clock_of_day(const char **p, struct tm *tm)
{
    return digits(p, 2, &tm->tm_hour) && literal(p, ":") && digits(p, 2, &tm->tm_min) &&
           literal(p, ":") && digits(p, 2, &tm->tm_sec);
}

/* Checks the ranges of the fields; timegm(3) would silently carry over. */
static bool to_ns(struct tm *tm, int64_t fraction_ns, int64_t *ret_ns)
{
    if (tm->tm_year < 70 || tm->tm_mon < 0 || tm->tm_mon > 11 || tm->tm_mday < 1 ||
        tm->tm_mday > 31 || tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
        return false;
    if (tm->tm_year > 2200 - 1900)
        return false; /* nanoseconds would overflow */
    *ret_ns = (int64_t)timegm(tm) * (int64_t)NS_PER_S + fraction_ns;
    return true;
}

bool s3_time_parse_iso(const char *text, int64_t *ret_ns)
{
    struct tm tm = {0};
    const char *p = text;
    int64_t fraction = 0, unit = (int64_t)NS_PER_S;

    if (!digits(&p, 4, &tm.tm_year) || !literal(&p, "-") || !digits(&p, 2, &tm.tm_mon) ||
        !literal(&p, "-") || !digits(&p, 2, &tm.tm_mday) || !literal(&p, "T") ||
        !clock_of_day(&p, &tm))
        return false;
    if (*p == '.') {
        for (p++; isdigit((unsigned char)*p); p++) {
            unit /= 10;
            fraction += unit * (*p - '0');
        }
    }
    if (strcmp(p, "Z") != 0 && strcmp(p, "+00:00") != 0)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    return to_ns(&tm, fraction, ret_ns);
}

bool s3_time_parse_http(const char *text, int64_t *ret_ns)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {0};
    const char *p = strchr(text, ','), *month;
    char name[4];

    if (!p || p - text != 3)
        return false;
    p++;
    if (!literal(&p, " ") || !digits(&p, 2, &tm.tm_mday) || !literal(&p, " ") || strlen(p) < 4)
        return false;
    memcpy(name, p, 3);
    name[3] = '\0';
    month = strstr(months, name);
    if (!month || (month - months) % 3 != 0)
        return false;
    tm.tm_mon = (int)(month - months) / 3;
    p += 3;
    if (!literal(&p, " ") || !digits(&p, 4, &tm.tm_year) || !literal(&p, " ") ||
        !clock_of_day(&p, &tm) || strcmp(p, " GMT") != 0)
        return false;
    tm.tm_year -= 1900;
    return to_ns(&tm, 0, ret_ns);
}
