/* mount.stateproxy: the helper that mount(8) runs for the type stateproxy. Checks options and
 * configuration, then starts stateproxyd (start.c).
 *
 * It is C, not a shell script: which options there are and what they accept is the table of
 * conf_keys.c, values are passed without quoting, and waiting for a process, a pipe and a
 * notification at once is one poll(2). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "conf/conf.h"
#include "mount/mount_options.h"
#include "mount/mount_set.h"
#include "mount/start.h"

extern char **environ;

static int mount_fail(int code, const struct err *err)
{
    fprintf(stderr, "mount.stateproxy: %s\n", err->text);
    return code;
}

static void mount_print_help(void)
{
    puts(
        "Usage: mount.stateproxy BUCKET[/PREFIX] DIRECTORY [-fnsvrw] [-o OPTION,...]\n"
        "Mounts a prefix of an S3 bucket; run by mount(8) for the type stateproxy.\n\n"
        "  -f          check options and configuration, but mount nothing\n"
        "  -n          accepted; there is no mtab to write\n"
        "  -s          ignore unknown options\n"
        "  -v          show the whole log of the start\n"
        "  -r, -w      the same as -o ro, -o rw\n"
        "  -N FILE     mount in the mount namespace of that file\n"
        "  -o OPTION   config=FILE, log=FILE, options of mount(8), or KEY=VALUE with a key of the\n"
        "              configuration: its whole name (s3.region), or the last part if there is\n"
        "              only one of it (region); see stateproxyd --help\n"
        "  --version   print the version and exit\n"
        "  --help      print this help and exit\n\n"
        "Exit codes: 0 mounted; 1 wrong options; 2 system error; 4 internal error; 8 interrupted;\n"
        "32 mount failed");
}

static int enter_namespace(const char *path, struct err *err)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
        return err_set(err, errno, "-N %s: %s", path, strerror(errno));
    return 0;
}

static int set_path(const char *dir, struct err *err)
{
    char path[PATH_MAX];

    if (!realpath(dir, path)) {
        /* A mount whose daemon is gone: stateproxyd removes it. */
        if (errno != ENOTCONN || *dir != '/' || strlen(dir) >= sizeof(path))
            return err_set(err, errno, "mount point \"%s\": %s", dir, strerror(errno));
        strcpy(path, dir);
    }
    return mount_set_key("mount.path", path, err);
}

/* At boot there is no HOME, and the credentials of root are in a file there. */
static void set_home(void)
{
    const struct passwd *pw = getenv("HOME") ? NULL : getpwuid(geteuid());

    if (pw && setenv("HOME", pw->pw_dir, 1) < 0)
        return; /* the same as without: credentials have to be named */
}

/* Variables for whoever started this process, not for stateproxyd. */
static void forget_manager(void)
{
    static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                        "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unsetenv(names[i]); /* fails only for names with '=' */
}

/* Loads what stateproxyd will load: the first thing that is wrong is told before anything is
 * started. */
static int check_conf(const struct mount_options *options, struct err *err)
{
    struct conf *conf;
    int r = conf_load(*options->config ? options->config : NULL, environ, &conf, err);

    if (r == 0)
        conf_free(conf);
    return r;
}

int main(int argc, char **argv)
{
    static struct mount_options options;
    struct err err = {0};

    if (mount_options_parse(argc, argv, &options, &err) < 0)
        return mount_fail(err.code == ENOMEM ? START_SYSTEM : START_USAGE, &err);
    if (options.help || options.version) {
        if (options.help)
            mount_print_help();
        else
            puts("mount.stateproxy " PACKAGE_VERSION);
        return fflush(stdout) == 0 ? START_OK : START_SYSTEM;
    }
    if (options.remount) {
        err_set(&err, EINVAL, "a mount cannot be changed (remount): unmount it and mount it again");
        return mount_fail(START_FAILED, &err);
    }
    if (options.namespace && enter_namespace(options.namespace, &err) < 0)
        return mount_fail(START_FAILED, &err);
    forget_manager();
    set_home();
    if (set_path(options.dir, &err) < 0)
        return mount_fail(START_FAILED, &err);
    if (check_conf(&options, &err) < 0)
        return mount_fail(err.code == ENOMEM ? START_SYSTEM : START_USAGE, &err);
    return options.fake ? START_OK : start_mount(&options);
}
