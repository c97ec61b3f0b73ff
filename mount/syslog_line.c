/* Lines to syslog without syslog(3), which would wait for a syslog daemon that does not read: then
 * stateproxyd would wait in its log, and programs in the mount. */
#include "mount/syslog_line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define FACILITY_DAEMON (3 << 3)
#define PRIORITY_ERR 3
#define PRIORITY_WARN 4
#define PRIORITY_NOTICE 5
#define PRIORITY_DEBUG 7

static void connect_syslog(struct syslog_sink *sink)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};

    if (sink->fd >= 0)
        close(sink->fd);
    sink->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sink->fd >= 0 && connect(sink->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(sink->fd);
        sink->fd = -1;
    }
}

int syslog_sink_open(struct syslog_sink *sink, const char *file, struct err *err)
{
    sink->fd = -1;
    sink->is_file = *file != '\0';
    if (!sink->is_file) {
        connect_syslog(sink);
        return 0;
    }
    sink->fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (sink->fd < 0)
        return err_set(err, errno, "log=%s: %s", file, strerror(errno));
    return 0;
}

static int priority_of(const char *level, size_t n)
{
    static const struct {
        const char *name;
        int priority;
    } levels[] = {{"err", PRIORITY_ERR},
                  {"warn", PRIORITY_WARN},
                  {"notice", PRIORITY_NOTICE},
                  {"debug", PRIORITY_DEBUG}};

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strlen(levels[i].name) == n && memcmp(levels[i].name, level, n) == 0)
            return levels[i].priority;
    }
    return -1;
}

void syslog_line_parse(const char *line, struct syslog_parts *ret)
{
    const char *level = strchr(line, ' '), *role, *colon;
    int priority = -1;

    ret->priority = PRIORITY_NOTICE;
    ret->level = ret->message = line;
    if (!level || !strchr(line, 'T'))
        return;
    level++;
    role = strchr(level, ' ');
    if (role)
        priority = priority_of(level, (size_t)(role - level));
    if (priority < 0)
        return;
    colon = strstr(role, ": ");
    ret->priority = priority;
    ret->level = level;
    ret->message = colon ? colon + 2 : role + 1;
}

static void send_syslog(struct syslog_sink *sink, const char *line)
{
    struct syslog_parts parts;
    char text[LOG_LINE_MAX + 64];
    int n;

    syslog_line_parse(line, &parts);
    n = snprintf(text, sizeof(text), "<%d>stateproxyd[%d]: %s", FACILITY_DAEMON | parts.priority,
                 sink->pid, parts.level);
    if (n >= (int)sizeof(text))
        n = (int)sizeof(text) - 1;
    for (int tries = 0; tries < 2; tries++) {
        if (sink->fd >= 0 &&
            (send(sink->fd, text, (size_t)n, MSG_NOSIGNAL) >= 0 || errno == EAGAIN))
            return;
        connect_syslog(sink); /* it may have been started (again) meanwhile */
    }
}

void syslog_line_write(struct syslog_sink *sink, const char *line)
{
    char text[LOG_LINE_MAX + 2];
    int n;

    if (!sink->is_file) {
        send_syslog(sink, line);
        return;
    }
    n = snprintf(text, sizeof(text), "%s\n", line);
    if (n < (int)sizeof(text))
        (void)!fd_write_full(sink->fd, text, (size_t)n); /* a full disk: there is no other place */
}
