/* sd_notify without libsystemd. */
#include "daemon/sd_notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/conf_env.h"

#define MESSAGE_MAX 1024

/* A path, or "@name" for the abstract namespace (there the name begins with NUL and needs no NUL at
 * the end). */
static void set_address(struct sd_notify *n, const char *name)
{
    size_t len = strlen(name);

    if ((*name != '/' && *name != '@') || len < 2 || len >= sizeof(n->addr.sun_path))
        return;
    n->addr.sun_family = AF_UNIX;
    memcpy(n->addr.sun_path, name, len);
    if (*name == '@')
        n->addr.sun_path[0] = '\0';
    n->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name == '/'));
}

static uint64_t number(const char *text)
{
    char *end;
    unsigned long long v;

    if (!text || *text < '0' || *text > '9')
        return 0;
    errno = 0;
    v = strtoull(text, &end, 10);
    return errno || *end ? 0 : v;
}

void sd_notify_init(struct sd_notify *n, char *const *env)
{
    const char *name = conf_env_get(env, "NOTIFY_SOCKET");
    const char *pid = conf_env_get(env, "WATCHDOG_PID");
    uint64_t usec = number(conf_env_get(env, "WATCHDOG_USEC"));

    memset(n, 0, sizeof(*n));
    if (name)
        set_address(n, name);
    /* The variable may be meant for the process that started us. */
    if (pid && number(pid) != (uint64_t)getpid())
        return;
    if (usec <= UINT64_MAX / 1000)
        n->watchdog_ns = usec * 1000;
}

/* `passed`: a descriptor that goes with it, -1 = none. `waits`: for room at the listener. */
__attribute__((format(printf, 4, 0))) static int
send_message(const struct sd_notify *n, int passed, bool waits, const char *fmt, va_list ap)
{
    const struct timeval limit = {.tv_sec = SD_NOTIFY_WAIT_MS / 1000,
                                  .tv_usec = SD_NOTIFY_WAIT_MS % 1000 * 1000};
    cleanup_fd int fd = -1;
    char text[MESSAGE_MAX];
    int len = vsnprintf(text, sizeof(text), fmt, ap);
    struct iovec iov = {.iov_base = text, .iov_len = (size_t)len};
    union fd_room room;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_name = (void *)(uintptr_t)&n->addr,
                         .msg_namelen = n->addr_len};

    if (len < 0 || (size_t)len >= sizeof(text))
        return -EMSGSIZE;
    if (passed >= 0)
        fd_pass(&msg, &room, passed);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || (waits && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0) ||
        sendmsg(fd, &msg, MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT)) < 0)
        return -errno;
    return 0;
}

int sd_notify_send(const struct sd_notify *n, const char *fmt, ...)
{
    va_list ap;
    int r;

    if (!n->addr_len)
        return 0;
    va_start(ap, fmt);
    r = send_message(n, -1, false, fmt, ap);
    va_end(ap);
    return r;
}

int sd_notify_send_waiting(const struct sd_notify *n, const char *fmt, ...)
{
    va_list ap;
    int r;

    if (!n->addr_len)
        return 0;
    va_start(ap, fmt);
    r = send_message(n, -1, true, fmt, ap);
    va_end(ap);
    return r;
}

int sd_notify_send_fd(const struct sd_notify *n, int fd, const char *fmt, ...)
{
    va_list ap;
    int r;

    if (!n->addr_len)
        return -ENOENT;
    va_start(ap, fmt);
    r = send_message(n, fd, false, fmt, ap);
    va_end(ap);
    return r;
}

void sd_notify_tell(const struct sd_notify *n, const char *what, const char *status)
{
    int r = sd_notify_send(n, "%sSTATUS=%s", what, status);

    if (r < 0)
        log_debug("cannot notify the service manager: %s", strerror(-r));
}
