/* sd_notify without libsystemd. */
#include "daemon/sd_notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
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

int sd_notify_send(const struct sd_notify *n, const char *fmt, ...)
{
    cleanup_fd int fd = -1;
    char text[MESSAGE_MAX];
    va_list ap;
    int len;

    if (!n->addr_len)
        return 0;
    va_start(ap, fmt);
    len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (len < 0 || (size_t)len >= sizeof(text))
        return -EMSGSIZE;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (sendto(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL,
               (const struct sockaddr *)&n->addr, n->addr_len) < 0)
        return -errno;
    return 0;
}

void sd_notify_tell(const struct sd_notify *n, const char *what, const char *status)
{
    int r = sd_notify_send(n, "%sSTATUS=%s", what, status);

    if (r < 0)
        log_debug("cannot notify the service manager: %s", strerror(-r));
}
