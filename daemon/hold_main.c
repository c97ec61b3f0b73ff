/* stateproxyd hold: its options. What it does is in hold.c. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/manual.h"
#include "conf/conf_value.h"
#include "daemon/exit_code.h"
#include "daemon/hold.h"
#include "daemon/options.h"

#define DEADLINE_MAX_NS (24 * 3600 * NS_PER_S)

struct hold_options {
    const char *socket;
    uint64_t deadline_ns;
};

static void print_hold_help(void)
{
    puts("Usage: stateproxyd hold --socket PATH [--deadline TIME]\n"
         "Keeps the descriptors of daemons whose daemon.holder is PATH, so that the next daemon "
         "goes on.\n");
    manual_print_options(daemon_hold_options, stdout);
}

static int usage(const char *why)
{
    fprintf(stderr, "stateproxyd hold: %s; see --help\n", why);
    return EXIT_CODE_USAGE;
}

/* -1: go on; else the exit code. */
static int parse_hold_options(int argc, char **argv, struct hold_options *o)
{
    struct option options[MANUAL_OPTIONS_MAX + 1];
    int c;

    manual_getopt(daemon_hold_options, options);
    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case 's':
            o->socket = optarg;
            break;
        case 'd':
            if (conf_value_duration(optarg, &o->deadline_ns) < 0 || !o->deadline_ns ||
                o->deadline_ns > DEADLINE_MAX_NS)
                return usage("--deadline: expected a time such as 60s, at most 24h");
            break;
        case 'h':
            print_hold_help();
            return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_SYSTEM;
        default:
            return EXIT_CODE_USAGE;
        }
    }
    if (optind < argc)
        return usage("unexpected argument");
    if (!o->socket || *o->socket != '/')
        return usage("--socket: expected an absolute path");
    return -1;
}

int hold_main(int argc, char **argv)
{
    struct hold_options o = {.deadline_ns = HOLD_DEADLINE_S * NS_PER_S};
    int code = parse_hold_options(argc, argv, &o), r;
    struct hold *hold;
    struct err err = {0};

    if (code >= 0)
        return code;
    log_init(LOG_NOTICE, "holder");
    if (hold_new(o.socket, o.deadline_ns, &hold, &err) < 0) {
        log_err("%s", err.text);
        return err.code == ENOMEM || err.code == EMFILE ? EXIT_CODE_SYSTEM : EXIT_CODE_CREATE;
    }
    log_notice("ready socket=\"%s\" deadline_s=%llu", o.socket,
               (unsigned long long)(o.deadline_ns / NS_PER_S));
    r = hold_run(hold);
    if (r < 0)
        log_err("the event loop failed: %s", strerror(-r));
    hold_free(hold);
    log_notice("ended");
    return r < 0 ? EXIT_CODE_SYSTEM : EXIT_CODE_OK;
}
