/* Log lines to stderr. No heap, no lock: one bounded buffer on the stack, one write(2). */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static enum log_level log_max = LOG_NOTICE;
static const char *log_role = "stateproxy";

void log_init(enum log_level level, const char *role)
{
    log_max = level;
    log_role = role;
}

bool log_enabled(enum log_level level)
{
    return level <= log_max;
}

static size_t put_head(char *out, size_t cap, enum log_level level)
{
    static const char *const names[] = {"err", "warn", "notice", "debug"};
    struct timespec ts;
    struct tm tm;
    int n;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = snprintf(out, cap, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %s[%d]: ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                 (int)((uint64_t)ts.tv_nsec / NS_PER_MS), names[level], log_role, (int)getpid());
    return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}

/* C0 controls, DEL, and both bytes of a C1 control in UTF-8 (U+009B begins a terminal's escape
 * sequence). */
static bool is_control(const char *text, size_t i)
{
    unsigned char c = (unsigned char)text[i];
    unsigned char before = i > 0 ? (unsigned char)text[i - 1] : 0;
    unsigned char after = (unsigned char)text[i + 1];

    return c < 0x20 || c == 0x7f || (c == 0xc2 && after >= 0x80 && after < 0xa0) ||
           (before == 0xc2 && c >= 0x80 && c < 0xa0);
}

size_t log_escape(char *out, size_t cap, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    for (size_t i = 0; text[i] && n + 5 < cap; i++) {
        unsigned char c = (unsigned char)text[i];

        if (!is_control(text, i)) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    out[n] = '\0';
    return n;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char text[LOG_LINE_MAX];
    char line[LOG_LINE_MAX + 512];
    size_t n;
    va_list ap;

    if (!log_enabled(level))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    n = put_head(line, sizeof(line), level);
    n += log_escape(line + n, sizeof(line) - n - 1, text);
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0) {
        /* The log itself cannot be written: there is no other place to report that. */
        return;
    }
}
