/* stateproxyctl: inspects a running stateproxyd, restarts it in place or ends it. Options and
 * commands are listed in options.c. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/manual.h"
#include "conf/conf.h"
#include "ctl/client.h"
#include "ctl/leave.h"
#include "ctl/options.h"
#include "ctl/status.h"
#include "ctl/top.h"

extern char **environ;

#define ASK_MS 10000
#define CHECK_MS 40000
#define RESTART_MS (1200 * 1000) /* the daemon ends it: each process may take half a minute */
#define END_MS (3600 * 1000)     /* the daemon ends it by its own timeout */

#define FRAMES_MAX 1000000000
#define DELAY_MIN 0.1 /* seconds */
#define DELAY_MAX 3600.0

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static void print_help(FILE *out)
{
    fputs("Usage: stateproxyctl [OPTION]... COMMAND\n"
          "Inspects a running stateproxyd, restarts it in place, or stops it.\n\n",
          out);
    manual_print_rows(ctl_commands, out);
    putc('\n', out);
    manual_print_options(ctl_options, out);
    fputs("\nExit codes:\n", out);
    manual_print_rows(ctl_exit_codes, out);
}

struct options {
    const char *socket;
    const char *config;
    struct conf *conf; /* of `config`, NULL = none */
    bool json;
    bool batch;
    unsigned frames;
    uint64_t delay_ns;
};

static int ctl_fail(const struct err *err)
{
    fprintf(stderr, "stateproxyctl: %s\n", err->text);
    return EXIT_FAILED;
}

/* "ok", or "error TEXT" */
static int ctl_judge(const char *answer)
{
    if (strncmp(answer, "ok\n", 3) == 0)
        return 0;
    fprintf(stderr, "stateproxyctl: %s",
            strncmp(answer, "error ", 6) == 0 ? answer + 6 : "no reply\n");
    return EXIT_FAILED;
}

/* The segment that came with the answer; NULL if none did or it is of another version (an error has
 * been printed). */
static struct shm *map_segment(int fd)
{
    struct err err = {0};
    struct shm *shm = NULL;

    if (fd < 0) {
        fputs("stateproxyctl: the daemon sent no tables (it is starting, or cannot open "
              "/proc/self/fd)\n",
              stderr);
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
        return ctl_fail(&err);
    if (ctl_judge(answer) != 0)
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

static int ctl_check(const struct options *o)
{
    char answer[CLIENT_ANSWER_MAX];
    struct err err = {0};
    int fd, r;

    if (client_ask(o->socket, "check", CHECK_MS, answer, &fd, &err) < 0)
        return ctl_fail(&err);
    r = ctl_judge(answer);
    if (r == 0)
        puts("the shared tables are consistent");
    return r;
}

#define LEFT 79 /* the exit code of a daemon that has left what is open to the next one */

/* Sends a request that ends the daemon, and waits for its end. */
static int end_daemon(const struct options *o, const char *request, int code, const char *done)
{
    char answer[CLIENT_ANSWER_MAX];
    const char *ended;
    struct err err = {0};
    int fd;

    if (client_ask(o->socket, request, END_MS, answer, &fd, &err) < 0)
        return ctl_fail(&err);
    ended = strstr(answer, "ended ");
    if (ctl_judge(answer) != 0)
        return EXIT_FAILED;
    if (!ended || atoi(ended + 6) != code) {
        fprintf(stderr, "stateproxyctl: the daemon did not stop cleanly; see its log\n");
        return EXIT_FAILED;
    }
    puts(done);
    return 0;
}

static int ctl_leave(const struct options *o)
{
    struct err err = {0};

    if (o->conf && leave_check(o->socket, o->conf, &err) < 0)
        return ctl_fail(&err);
    return end_daemon(o, "leave", LEFT, "left to the next daemon");
}

static int ctl_restart(const struct options *o)
{
    char answer[CLIENT_ANSWER_MAX];
    struct err err = {0};
    int fd, r;

    if (client_ask(o->socket, "restart", RESTART_MS, answer, &fd, &err) < 0)
        return ctl_fail(&err);
    if (!*answer) {
        fputs("stateproxyctl: the daemon ended while it was restarted; see its log\n", stderr);
        return EXIT_FAILED;
    }
    r = ctl_judge(answer);
    if (r == 0)
        puts("restarted in place");
    return r;
}

static int top(const struct options *o)
{
    const struct top_opts opts = {.socket = o->socket,
                                  .batch = o->batch || !isatty(STDOUT_FILENO),
                                  .frames = o->frames,
                                  .interval_ns = o->delay_ns,
                                  .map = map_segment};
    struct err err = {0};

    if (top_run(&opts, &err) == 0)
        return 0;
    return *err.text ? ctl_fail(&err) : EXIT_FAILED;
}

static int run(const struct options *o, const char *command)
{
    if (strcmp(command, "top") == 0)
        return top(o);
    if (strcmp(command, "check") == 0)
        return ctl_check(o);
    if (strcmp(command, "drain") == 0)
        return end_daemon(o, "drain", 0, "drained and stopped");
    if (strcmp(command, "leave") == 0)
        return ctl_leave(o);
    if (strcmp(command, "restart") == 0)
        return ctl_restart(o);
    return show(o, command);
}

static bool is_command(const char *s)
{
    for (const struct manual_row *row = ctl_commands; row->name; row++) {
        if (strcmp(s, row->name) == 0)
            return true;
    }
    return false;
}

/* Checks that all output could be written (the disk may be full): the exit code reports it. */
static int printed(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "stateproxyctl: cannot write: %s\n", strerror(errno));
    return EXIT_FAILED;
}

static int print_version(void)
{
    puts("stateproxyctl " PACKAGE_VERSION);
    return printed(0);
}

/* A whole number of frames from 1. */
static bool parse_frames(const char *text, unsigned *ret)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || n == 0 || n > FRAMES_MAX)
        return false;
    *ret = (unsigned)n;
    return true;
}

static bool parse_delay(const char *text, uint64_t *ret_ns)
{
    char *end;
    double seconds = strtod(text, &end);

    if (*text < '0' || *text > '9' || *end || !(seconds >= DELAY_MIN && seconds <= DELAY_MAX))
        return false;
    *ret_ns = (uint64_t)(seconds * (double)NS_PER_S);
    return true;
}

/* False: it is no option of ours, or its argument is wrong. */
static bool take_option(struct options *o, int c)
{
    switch (c) {
    case 's':
        o->socket = optarg;
        return true;
    case 'c':
        o->config = optarg;
        return true;
    case 'j':
        o->json = true;
        return true;
    case 'b':
        o->batch = true;
        return true;
    case 'n':
        return parse_frames(optarg, &o->frames);
    case 'd':
        return parse_delay(optarg, &o->delay_ns);
    default:
        return false;
    }
}

/* Finds the socket, loads the configuration, if one is named. 0 or -errno with *err. */
static int prepare(struct options *o, struct err *err)
{
    static char found[512];
    int r = o->config ? conf_load(o->config, environ, &o->conf, err) : 0;

    if (!o->socket)
        o->socket = o->conf ? o->conf->control.socket : getenv("STATEPROXY_CONTROL_SOCKET");
    if (r < 0 || (o->socket && *o->socket))
        return r;
    o->socket = found;
    return client_find(found, sizeof(found), err);
}

/* Says what is wrong with the words that are no options, if anything is. */
static bool is_wrong(int n, char **words)
{
    if (n == 1 && is_command(words[0]))
        return false;
    if (n == 0)
        fputs("stateproxyctl: a command is missing", stderr);
    else if (!is_command(words[0]))
        fprintf(stderr, "stateproxyctl: unknown command: %s", words[0]);
    else
        fprintf(stderr, "stateproxyctl: unexpected argument: %s", words[1]);
    fputs("; see stateproxyctl --help\n", stderr);
    return true;
}

int main(int argc, char **argv)
{
    struct option options[MANUAL_OPTIONS_MAX + 1];
    struct options o = {.delay_ns = NS_PER_S};
    struct err err = {0};
    int c;

    manual_getopt(ctl_options, options);
    while ((c = getopt_long(argc, argv, "s:c:jbn:d:h", options, NULL)) != -1) {
        if (c == 'V')
            return print_version();
        if (c == 'h') {
            print_help(stdout);
            return printed(0);
        }
        if (!take_option(&o, c)) {
            if (c != '?')
                fprintf(stderr, "stateproxyctl: wrong value: %s; ", optarg);
            fprintf(stderr, "see stateproxyctl --help\n");
            return EXIT_USAGE;
        }
    }
    if (optind < argc && strcmp(argv[optind], "version") == 0)
        return print_version();
    if (optind < argc && strcmp(argv[optind], "help") == 0) {
        print_help(stdout);
        return printed(0);
    }
    /* Options may also follow the command: getopt has moved them in front of it. */
    if (is_wrong(argc - optind, argv + optind))
        return EXIT_USAGE;
    c = prepare(&o, &err) < 0 ? ctl_fail(&err) : printed(run(&o, argv[optind]));
    conf_free(o.conf);
    return c;
}
