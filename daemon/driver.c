/* Sockets and files of a CSI driver. fuse_fd_socket.c receives, driver_message.c reads. */
#include "daemon/driver.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/conf_control.h"
#include "conf/conf_keys.h"
#include "conf/conf_value.h"
#include "daemon/driver_message.h"
#include "fuse/fuse_fd_socket.h"
#include "http/http_listen.h"

#define KEY "mount.fd_socket"
#define SOCKET_MODE 0600 /* the driver is root */
#define FILE_NAME_MAX 16 /* of those beside the socket */
#define REPORT_MAX 1024  /* bytes of one */

/* NULL = the protocol has no such file. */
struct rules {
    bool we_listen;
    const char *report;
    mode_t report_mode;
    const char *end;
};

static const struct rules *rules_of(const struct conf *conf)
{
    static const struct rules rules[] = {
        [CONF_FD_NONE] = {.report = NULL},
        [CONF_FD_META_FUSE] = {.report = NULL},
        [CONF_FD_GCSFUSE] = {.report = "error", .report_mode = 0644},
        [CONF_FD_MOUNTPOINT] = {.we_listen = true,
                                .report = "mount.err",
                                .report_mode = 0600,
                                .end = "mount.exit"},
    };

    return &rules[conf->mount.fd_protocol];
}

static const char *protocol_of(const struct conf *conf)
{
    return conf_choice_name("mount.fd_protocol", (int)conf->mount.fd_protocol);
}

/* ---- files beside the socket ---- */

static void path_beside(const struct conf *conf, const char *name,
                        char out[CONF_SOCKET_MAX + FILE_NAME_MAX])
{
    const char *socket = conf->mount.fd_socket;
    int n = snprintf(out, CONF_SOCKET_MAX + FILE_NAME_MAX, "%.*s/%s",
                     (int)(strrchr(socket, '/') - socket), socket, name);

    assert(n > 0 && n < CONF_SOCKET_MAX + FILE_NAME_MAX);
}

void driver_report(const struct conf *conf, const char *text)
{
    const struct rules *rules = rules_of(conf);
    char path[CONF_SOCKET_MAX + FILE_NAME_MAX], line[REPORT_MAX];
    size_t n = log_escape(line, sizeof(line) - 1, text);
    cleanup_fd int fd = -1;
    int r;

    if (!rules->report)
        return;
    path_beside(conf, rules->report, path);
    line[n++] = '\n';
    /* (Another one is not followed: the folder may be writable by others.) */
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
              rules->report_mode);
    r = fd < 0 ? -errno : fd_write_full(fd, line, n);
    if (r < 0)
        log_warn("the CSI driver cannot be told of the failure: %s: %s", path, strerror(-r));
}

void driver_clear_report(const struct conf *conf)
{
    char path[CONF_SOCKET_MAX + FILE_NAME_MAX];

    if (!rules_of(conf)->report)
        return;
    path_beside(conf, rules_of(conf)->report, path);
    if (unlink(path) < 0 && errno != ENOENT)
        log_warn("%s cannot be removed, and the CSI driver may take it for a failure: %s", path,
                 strerror(errno));
}

static bool is_asked_to_end(const struct conf *conf)
{
    char path[CONF_SOCKET_MAX + FILE_NAME_MAX];

    if (!rules_of(conf)->end)
        return false;
    path_beside(conf, rules_of(conf)->end, path);
    return access(path, F_OK) == 0;
}

bool driver_wants_another(const struct conf *conf)
{
    return rules_of(conf)->end && !is_asked_to_end(conf);
}

/* ---- the socket ---- */

int driver_open(const struct conf *conf, struct driver *driver, struct err *err)
{
    int r;

    driver->listen_fd = -1;
    if (!rules_of(conf)->we_listen)
        return 0;
    r = http_listen_open(KEY, conf->mount.fd_socket, SOCKET_MODE, &driver->listen_fd, err);
    return r == 0 ? http_listen_publish(KEY, conf->mount.fd_socket, err) : r;
}

static void driver_close(struct driver *driver)
{
    if (driver->listen_fd >= 0)
        close(driver->listen_fd);
    driver->listen_fd = -1;
}

static void remove_socket(const struct conf *conf)
{
    if (unlink(conf->mount.fd_socket) < 0 && errno != ENOENT)
        log_debug("%s cannot be removed: %s", conf->mount.fd_socket, strerror(errno));
}

/* Readable when a signal that ends the daemon is pending. Nobody reads it: the supervisor will. */
static int watch_end(struct err *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? err_set(err, errno, "signalfd: %s", strerror(errno)) : fd;
}

/* What to do, after what has happened. */
static int say_what_to_do(const struct conf *conf, int r, struct err *err)
{
    char limit[CONF_VALUE_TEXT_MAX];

    conf_value_format_duration(conf->mount.fd_timeout_ns, limit);
    if (r == -ECANCELED)
        return r;
    if (r == -EACCES)
        return err_set(err, EACCES,
                       KEY ": %s: permission denied to user %u: CSI drivers give their sockets to "
                           "user 65534, so run the container as that one (runAsUser)",
                       conf->mount.fd_socket, (unsigned)geteuid());
    if (r == -ETIMEDOUT && is_asked_to_end(conf))
        return err_set(err, ECANCELED, "the CSI driver has asked to end");
    if (r == -ETIMEDOUT && rules_of(conf)->we_listen)
        return err_set(err, ETIMEDOUT,
                       KEY ": no CSI driver has connected to %s within %s (mount.fd_timeout): see "
                           "the log of the driver on this node, and that it has this folder",
                       conf->mount.fd_socket, limit);
    if (r == -ETIMEDOUT) {
        char what[ERR_TEXT_MAX];

        snprintf(what, sizeof(what), "%.200s", err->text);
        return err_set(err, ETIMEDOUT,
                       KEY ": no descriptor within %s (mount.fd_timeout): %s. Driver and daemon "
                           "must have the same folder; and a driver hands it over once for each "
                           "pod: if this container has been started anew, delete the pod",
                       limit, what);
    }
    return err_prefix(err, KEY);
}

static int connect_driver(const struct conf *conf, const struct driver *driver, int stop_fd,
                          uint64_t deadline_ns, int *ret_fd, struct err *err)
{
    int r = driver->listen_fd >= 0
                ? fuse_fd_accept(driver->listen_fd, deadline_ns, stop_fd, ret_fd, err)
                : fuse_fd_connect(conf->mount.fd_socket, deadline_ns, stop_fd, ret_fd, err);

    return r < 0 ? say_what_to_do(conf, r, err) : 0;
}

static int no_use(const struct conf *conf, struct err *err)
{
    return err_prefix(err,
                      KEY ": what the CSI driver sent at %s (mount.fd_protocol: %s) is of no "
                          "use",
                      conf->mount.fd_socket, protocol_of(conf));
}

/* Who only looks whether somebody listens says nothing, and may hold the connection for long. (No
 * descriptor comes without a byte.) */
static bool was_silent(int r, const struct buf *message)
{
    return (r == -ENOMSG || r == -ETIMEDOUT) && !message->len;
}

static int receive_from(const struct conf *conf, const struct driver *driver, int stop_fd,
                        struct buf *message, int *ret_fd, struct err *err)
{
    uint64_t deadline_ns = clock_mono_ns() + conf->mount.fd_timeout_ns;
    int r;

    do {
        cleanup_fd int conn = -1;

        r = connect_driver(conf, driver, stop_fd, deadline_ns, &conn, err);
        if (r < 0)
            return r;
        r = fuse_fd_receive(conn, stop_fd, message, ret_fd, err);
    } while (driver->listen_fd >= 0 && was_silent(r, message));
    return r < 0 && r != -ECANCELED ? no_use(conf, err) : r;
}

static int judge(const struct conf *conf, const struct buf *message, int fd,
                 struct fuse_mount *ret_mount, struct err *err)
{
    char ignored[DRIVER_IGNORED_MAX];
    int r = driver_message_check(conf, message->data, message->len, ignored, err);

    if (r == -EXDEV)
        return err_prefix(err, KEY ": %s", conf->mount.fd_socket);
    if (r == -EINVAL)
        err_prefix(err, "the message");
    if (r == 0)
        r = fuse_mount_take(fd, conf->mount.path, ret_mount, err);
    if (r < 0)
        return no_use(conf, err);
    log_notice("the CSI driver has handed over its mount socket=\"%s\" protocol=%s%s%s",
               conf->mount.fd_socket, protocol_of(conf), *ignored ? " options_ignored=" : "",
               ignored);
    return 0;
}

static int take_from(const struct conf *conf, const struct driver *driver, int stop_fd,
                     struct fuse_mount *ret_mount, struct err *err)
{
    cleanup_fd int fd = -1;
    struct buf message;
    int r;

    buf_init(&message, FUSE_FD_MESSAGE_MAX);
    r = receive_from(conf, driver, stop_fd, &message, &fd, err);
    if (r == 0)
        r = judge(conf, &message, fd, ret_mount, err);
    buf_done(&message);
    if (r == 0)
        (void)take_fd(&fd); /* ret_mount has it */
    return r;
}

int driver_take(const struct conf *conf, struct driver *driver, struct fuse_mount *ret_mount,
                struct err *err)
{
    cleanup_fd int stop_fd = watch_end(err);
    int r = stop_fd;

    if (r >= 0) {
        log_notice("waiting for the CSI driver socket=\"%s\" protocol=%s", conf->mount.fd_socket,
                   protocol_of(conf));
        r = take_from(conf, driver, stop_fd, ret_mount, err);
    }
    driver_close(driver);
    if (r == 0)
        remove_socket(conf);
    return r;
}
