/* Log lines to stderr: one line an event, `key=value` after a short message.
 *
 *   2026-11-25T10:11:12.345Z notice worker[1234]: uploaded key="a/b" bytes=4096 ms=12
 *
 * Only daemon/, workers/ and ctl/ log above debug; the layers below return errors. A line is
 * written with one write(2), so lines of several processes do not mix. Control characters in the
 * text are shown as \xNN. Nothing is logged while a shared lock is held.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_NOTICE, LOG_DEBUG };

/* The form of lines. LOGFMT and JSON carry the whole message with its pairs as one text, which is
 * escaped: no name of a file can forge a field. Bytes that are not UTF-8 become U+FFFD there. */
enum log_format { LOG_TEXT, LOG_LOGFMT, LOG_JSON };

#define LOG_LINE_MAX 2048

/* Sets the least important level that is logged, and the name of this process ("supervisor",
 * "worker"; a literal, not copied). */
void log_init(enum log_level level, const char *role);

/* In a new process: its name. Level and form are those of the process that forked it. */
void log_set_role(const char *role);

/* Sets the form of lines. Until then it is LOG_TEXT. */
void log_set_format(enum log_format format);

/* From now on log_init and log_set_format in this process hold for all processes that it forks, at
 * once. Without memory for that each keeps what it was forked with. Once, before the first fork. */
void log_share(void);

/* `stream`: the value of JOURNAL_STREAM, or NULL. If stderr is that stream, lines of the form
 * LOG_TEXT go to the journal with fields (log_journal.h). What it does not take, and lines of other
 * forms, go to stderr, and begin with their priority as <N>, which the journal takes off. */
void log_set_journal(const char *stream);

/* Copies text to out[cap], with control characters as \xNN, so that a key with a newline cannot
 * forge a line; cut if it does not fit. Returns its length without the NUL. `cap` is at least 1. */
size_t log_escape(char *out, size_t cap, const char *text);

/* True if lines of this level are logged: guards work that only a log line needs. */
bool log_enabled(enum log_level level);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_line(LOG_DEBUG, __VA_ARGS__);                                                      \
    } while (0)

#endif
