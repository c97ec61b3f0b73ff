/* systemd's journal in its native protocol: a datagram of fields for each line, over a Unix socket.
 *
 *   MESSAGE            the line without time, level, process
 *   PRIORITY           3 err, 4 warning, 5 notice, 7 debug
 *   SYSLOG_IDENTIFIER  stateproxyd
 *   STATEPROXY_PROCESS supervisor, worker, ...
 *   STATEPROXY_NAME    each pair of the line: KEY, REQUEST_ID, PID (of the caller), ERROR, ...
 *
 * The socket is opened once, and inherited by every process that is forked: a sandbox that permits
 * to write to open descriptors is enough. */
#ifndef BASE_LOG_JOURNAL_H
#define BASE_LOG_JOURNAL_H

#include <stdarg.h>
#include <stdbool.h>

#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

/* Connects. Without a socket there, log_journal_send fails. */
void log_journal_open(const char *path);

/* Connects once more, for all processes that have inherited the socket: the journal may have been
 * restarted. May be called often; does nothing if log_journal_open has not connected. */
void log_journal_renew(void);

/* Closes this process's descriptor, if it has one: lines go to stderr. To be called before the last
 * lines of a process that ends at once: the journal looks up the unit of a process when it reads
 * the line, and finds none that has ended, while lines on stderr have the unit of the stream. */
void log_journal_close(void);

bool log_journal_is_open(void);

/* Sends a line. `message`: in one line, without control characters; the pairs of `fmt` become
 * fields. False if it was not taken: the caller has another place for it. Never waits. */
bool log_journal_send(int priority, const char *process, const char *message, const char *fmt,
                      va_list ap);

#endif
