/* stateproxyctl: looks at a running stateproxyd and tells it to drain. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/status.h"

#define ASK_MS 10000
#define CHECK_MS 40000
#define DRAIN_MS (3600 * 1000) /* the daemon's own timeout ends it */

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char help[] =
    "Usage: stateproxyctl [--socket PATH] [--json] COMMAND\n"
    "\n"
    "  status     processes, mount, tables, counters\n"
    "  sessions   files that are open for writing; with compare-and-set, what each expects:\n"
    "             an ETag, absent, any (it overwrites), refused (its close will fail)\n"
    "  inflight   requests that are being worked on\n"
    "  conflicts  the last 100 writes that compare-and-set has refused, newest last\n"
    "  check      check the shared tables; exit 0 if they are sound\n"
    "  drain      let it finish its uploads, unmount and end; wait for that\n"
    "  version\n"
    "\n"
    "Without --socket, STATEPROXY_CONTROL_SOCKET in the environment says whom to ask; else\n"
    "the only daemon of this user is asked.\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage.\n";

struct options {
    const char *socket;
    bool json;
};

static int fail(const struct err *err)
{
    fprintf(stderr, "stateproxyctl: %s\n", err->text);
    return EXIT_FAILED;
}

/* "ok", or "error TEXT" */
static int judge(const char *answer)
{
    if (strncmp(answer, "ok\n", 3) == 0)
        return 0;
    fprintf(stderr, "stateproxyctl: %s",
            strncmp(answer, "error ", 6) == 0 ? answer + 6 : "no answer\n");
    return EXIT_FAILED;
}

/* The segment that came with the answer; NULL, and said why, if none did or it is of another
 * version. */
static struct shm *map_segment(int fd)
{
    struct err err = {0};
    struct shm *shm = NULL;

    if (fd < 0) {
        fputs("stateproxyctl: the daemon gives no tables (it is starting, or "
              "cannot open /proc/self/fd)\n", stderr);
    } else if (shm_open_readonly(fd, &shm, &err) < 0) {
        fprintf(stderr, "stateproxyctl: no tables: %s\n", err.text);
        close(fd);
    }
    return shm;
}

static int show(const struct options *o, const char *what)
{
    char answer[CLIENT_ANSWER_MAX];
    struct err err = {0};
    struct shm *shm;
    int fd;

    if (client_ask(o->socket, "status", ASK_MS, answer, &fd, &err) < 0)
        return fail(&err);
    if (judge(answer) != 0)
        return EXIT_FAILED;
    shm = map_segment(fd);
    if (strcmp(what, "status") == 0)
        status_print(answer, shm, o->json);
    else if (shm && strcmp(what, "sessions") == 0)
        status_sessions(shm, o->json);
    else if (shm && strcmp(what, "conflicts") == 0)
        status_conflicts(shm, o->json);
    else if (shm)
        status_inflight(shm, o->json);
    shm_close(shm);
    return shm ? 0 : EXIT_FAILED;
}

static int check(const struct options *o)
{
    char answer[CLIENT_ANSWER_MAX];
    struct err err = {0};
    int fd, r;

    if (client_ask(o->socket, "check", CHECK_MS, answer, &fd, &err) < 0)
        return fail(&err);
    r = judge(answer);
    if (r == 0)
        puts("the shared tables are sound");
    return r;
}

static int drain(const struct options *o)
{
    char answer[CLIENT_ANSWER_MAX];
    const char *ended;
    struct err err = {0};
    int fd;

    if (client_ask(o->socket, "drain", DRAIN_MS, answer, &fd, &err) < 0)
        return fail(&err);
    ended = strstr(answer, "ended ");
    if (judge(answer) != 0)
        return EXIT_FAILED;
    if (!ended || atoi(ended + 6) != 0) {
        fprintf(stderr, "stateproxyctl: it did not end well; see its log\n");
        return EXIT_FAILED;
    }
    puts("drained and ended");
    return 0;
}

static int run(const struct options *o, const char *command)
{
    if (strcmp(command, "check") == 0)
        return check(o);
    if (strcmp(command, "drain") == 0)
        return drain(o);
    return show(o, command);
}

static bool is_command(const char *s)
{
    static const char *const names[] = {"status", "sessions", "inflight", "conflicts",
                                        "check", "drain"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(s, names[i]) == 0)
            return true;
    }
    return false;
}

/* What was printed has arrived, or the exit code says that it has not (a full disk). */
static int printed(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "stateproxyctl: cannot write: %s\n", strerror(errno));
    return EXIT_FAILED;
}

static int print(const char *text)
{
    fputs(text, stdout);
    return printed(0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {0};
    struct err err = {0};
    char found[512];
    int c;

    while ((c = getopt_long(argc, argv, "s:jh", options, NULL)) != -1) {
        if (c == 's')
            o.socket = optarg;
        else if (c == 'j')
            o.json = true;
        else if (c == 'V')
            return print("stateproxyctl " PACKAGE_VERSION "\n");
        else if (c == 'h')
            return print(help);
        else {
            fputs(help, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc && strcmp(argv[optind], "version") == 0)
        return print("stateproxyctl " PACKAGE_VERSION "\n");
    if (optind < argc && strcmp(argv[optind], "help") == 0)
        return print(help);
    /* Options may follow the command too: getopt has moved them in front. */
    if (optind + 1 != argc || !is_command(argv[optind])) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    if (!o.socket)
        o.socket = getenv("STATEPROXY_CONTROL_SOCKET");
    if (!o.socket || !*o.socket) {
        if (client_find(found, sizeof(found), &err) < 0)
            return fail(&err);
        o.socket = found;
    }
    return printed(run(&o, argv[optind]));
}
