/* Log lines to stderr, or to the journal. No heap, no lock: one bounded buffer on the stack, one
 * write(2). */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_journal.h"
#include "base/log_shared.h"
#include "base/utf8.h"

/* Bytes of a line that a pipe takes in one piece, on every Linux. */
#define LOG_WRITE_MAX 4096
#define ESCAPE_MAX 8  /* bytes that one character becomes, at most */
#define TEXT_MORE 511 /* bytes of a line of text beside LOG_LINE_MAX */
#define TIME_MAX 32

static enum log_level log_max = LOG_NOTICE;
static enum log_format log_format;
static bool log_priorities;
static const char *log_role = "stateproxy";

static const char *const level_names[] = {"err", "warn", "notice", "debug"};
static const int priorities[] = {3, 4, 5, 7}; /* of syslog */

/* Level and form in one word. */
static uint32_t log_coded(void)
{
    return (uint32_t)log_max | (uint32_t)log_format << 8;
}

/* Takes over what the process that shares it has set meanwhile. */
static void log_look(void)
{
    const uint32_t *shared = log_shared_value();
    uint32_t coded = shared ? __atomic_load_n(shared, __ATOMIC_RELAXED) : log_coded();

    log_max = (enum log_level)(coded & 0xff);
    log_format = (enum log_format)(coded >> 8 & 0xff);
}

void log_init(enum log_level level, const char *role)
{
    log_max = level;
    log_role = role;
    (void)!log_shared_set(log_coded()); /* (it may not be shared) */
}

void log_set_role(const char *role)
{
    log_role = role;
}

bool log_enabled(enum log_level level)
{
    log_look();
    return level <= log_max;
}

void log_set_format(enum log_format format)
{
    log_format = format;
    (void)!log_shared_set(log_coded());
}

void log_share(void)
{
    (void)!log_shared_new(log_coded());
}

void log_set_journal(const char *stream)
{
    unsigned long long dev, ino;
    struct stat st;
    char rest;

    log_priorities = stream && sscanf(stream, "%llu:%llu%c", &dev, &ino, &rest) == 2 &&
                     fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
    if (log_priorities)
        log_journal_open(LOG_JOURNAL_SOCKET);
    else
        log_journal_close();
}

static void format_now(char out[TIME_MAX])
{
    struct timespec ts;
    struct tm tm;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = strftime(out, TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, TIME_MAX - n, ".%03dZ", (int)((uint64_t)ts.tv_nsec / NS_PER_MS));
}

static size_t put_head(char *out, size_t cap, enum log_level level)
{
    static const char *const forms[] = {
        [LOG_TEXT] = "%s%s %s %s[%d]: ",
        [LOG_LOGFMT] = "%stime=%s level=%s process=%s pid=%d message=\"",
        [LOG_JSON] = ("%s{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,"
                      "\"message\":\""),
    };
    char now[TIME_MAX], priority[4] = "";
    int n;

    format_now(now);
    if (log_priorities)
        snprintf(priority, sizeof(priority), "<%d>", priorities[level]);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    n = snprintf(out, cap, forms[log_format], priority, now, level_names[level], log_role,
                 (int)getpid());
#pragma GCC diagnostic pop
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

/* The number of a control character at the start of a text; 0: there is none. */
static unsigned control_code(const char *text, unsigned len)
{
    unsigned char c = (unsigned char)text[0];

    if (len == 1 && (c < 0x20 || c == 0x7f))
        return c;
    return len == 2 && c == 0xc2 && (unsigned char)text[1] < 0xa0 ? (unsigned char)text[1] : 0;
}

/* One character in quotes; *ret_used: its bytes in `text`. Returns those in `out`. */
static size_t quote_one(char out[ESCAPE_MAX], const char *text, unsigned *ret_used)
{
    unsigned len = utf8_len(text), control = control_code(text, len);

    *ret_used = len ? len : 1;
    if (!len)
        return (size_t)snprintf(out, ESCAPE_MAX, "%s", UTF8_REPLACEMENT);
    if (control)
        return (size_t)snprintf(out, ESCAPE_MAX, log_format == LOG_JSON ? "\\u%04x" : "\\x%02x",
                                control);
    if (*text == '"' || *text == '\\')
        return (size_t)snprintf(out, ESCAPE_MAX, "\\%c", *text);
    memcpy(out, text, len);
    return len;
}

/* The text in the form of a string in quotes, cut between two characters if it does not fit. */
static size_t put_quoted(char *out, size_t cap, const char *text)
{
    char one[ESCAPE_MAX];
    size_t n = 0, len;
    unsigned used;

    while (*text) {
        len = quote_one(one, text, &used);
        if (n + len > cap)
            break;
        memcpy(out + n, one, len);
        n += len;
        text += used;
    }
    return n;
}

/* The line for stderr. Returns its bytes. */
static size_t put_line(char line[LOG_WRITE_MAX], enum log_level level, const char *text)
{
    static const char *const ends[] = {
        [LOG_TEXT] = "\n", [LOG_LOGFMT] = "\"\n", [LOG_JSON] = "\"}\n"};
    size_t room = log_format == LOG_TEXT ? LOG_LINE_MAX + TEXT_MORE : LOG_WRITE_MAX - ESCAPE_MAX;
    size_t n = put_head(line, LOG_WRITE_MAX, level);

    if (log_format == LOG_TEXT)
        n += log_escape(line + n, room - n, text);
    else
        n += put_quoted(line + n, room - n, text);
    memcpy(line + n, ends[log_format], strlen(ends[log_format]));
    return n + strlen(ends[log_format]);
}

static bool log_to_journal(enum log_level level, const char *text, const char *fmt, va_list ap)
{
    char message[LOG_LINE_MAX + TEXT_MORE];

    if (log_format != LOG_TEXT || !log_journal_is_open())
        return false;
    log_escape(message, sizeof(message), text);
    return log_journal_send(priorities[level], log_role, message, fmt, ap);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char text[LOG_LINE_MAX];
    char line[LOG_WRITE_MAX];
    bool taken;
    va_list ap;

    if (!log_enabled(level))
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    va_start(ap, fmt);
    taken = log_to_journal(level, text, fmt, ap);
    va_end(ap);
    if (!taken && write(STDERR_FILENO, line, put_line(line, level, text)) < 0) {
        /* The log itself cannot be written: there is no other place to report that. */
        return;
    }
}
