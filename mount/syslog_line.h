/* Where the log of a mount goes: to syslog, or to a file. Never waits for syslog: a line that does
 * not fit into its socket is dropped. */
#ifndef MOUNT_SYSLOG_LINE_H
#define MOUNT_SYSLOG_LINE_H

#include "base/err.h"

struct syslog_sink {
    int fd;      /* -1 = neither syslog nor a file: lines are dropped */
    int is_file; /* else a datagram socket */
    int pid;     /* of stateproxyd, for the tag */
};

/* One line of stateproxyd, taken apart: "TIME LEVEL PROCESS[PID]: TEXT". */
struct syslog_parts {
    int priority;        /* of syslog(3), without facility */
    const char *level;   /* "err"; level and what follows */
    const char *message; /* behind "PROCESS[PID]: " */
};

/* `file`: path, "" = syslog. 0 (also where nothing listens at /dev/log), or -errno of open(2). */
must_use int syslog_sink_open(struct syslog_sink *sink, const char *file, struct err *err);

/* Takes a line apart; whatever has another form is one of level notice as a whole. */
void syslog_line_parse(const char *line, struct syslog_parts *ret);

/* Writes a line without its newline. */
void syslog_line_write(struct syslog_sink *sink, const char *line);

#endif
