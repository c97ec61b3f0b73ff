/* stateproxyd: options, start-up in order, and the roles. After the start the supervisor takes
 * over. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_journal.h"
#include "base/manual.h"
#include "conf/conf.h"
#include "conf/conf_control.h"
#include "conf/conf_env.h"
#include "conf/conf_keys.h"
#include "daemon/carry.h"
#include "daemon/check_s3.h"
#include "daemon/child_ask.h"
#include "daemon/confine.h"
#include "daemon/driver.h"
#include "daemon/duties.h"
#include "daemon/exit_code.h"
#include "daemon/fdstore.h"
#include "daemon/handover.h"
#include "daemon/hold.h"
#include "daemon/holder.h"
#include "daemon/keeper.h"
#include "daemon/limits.h"
#include "daemon/options.h"
#include "daemon/reexec.h"
#include "daemon/setup.h"
#include "daemon/supervisor.h"
#include "shm/shm_cred.h"
#include "shm/shm_journal.h"
#include "workers/server/cas_kept.h"
#include "workers/server/server.h"

extern char **environ;

static struct worker_env env;
static struct sandbox sandbox;
static struct fuse_mount mount;
static struct driver driver = {.listen_fd = -1};
static char last_failure[ERR_TEXT_MAX]; /* of daemon_fail */
static bool driver_comes_again;         /* of mount_gone */
static const char *config_file;         /* --config; NULL = none */
static int record_fd = -1;              /* --take-over; -1 = none */
#define WAY_BACK_NOT_GIVEN (-2)
static int way_back_fd = WAY_BACK_NOT_GIVEN; /* --way-back; -1 = none */
static int record_copy = -1;                 /* of record_fd, for the way back */
static struct setup_gone gone = {-1, -1};    /* what was carried over */
static struct holder holder;                 /* .path "": none */

/* ---- options ---- */

enum action { ACTION_RUN, ACTION_CHECK, ACTION_PRINT };

static void print_help(void)
{
    puts("Usage: stateproxyd [OPTION]...\n"
         "       stateproxyd hold --socket PATH [OPTION]...\n"
         "Serves an S3 bucket prefix as files: as a mount, through a Unix socket, or both.\n");
    manual_print_options(daemon_options, stdout);
    puts("\nOptions of \"hold\", which keeps the descriptors of daemons beyond their death:");
    manual_print_options(daemon_hold_options, stdout);
    puts("\nExit codes:");
    manual_print_rows(daemon_exit_codes, stdout);
    puts("\nConfiguration keys:");
    conf_print_keys(stdout);
}

/* The exit code after printing: a write error, such as a full disk, is reported. */
static int printed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_CODE_OK;
    fprintf(stderr, "stateproxyd: cannot write: %s\n", strerror(errno));
    return EXIT_CODE_SYSTEM;
}

/* The options that only reexec.c uses. */
static void add_hidden(struct option options[MANUAL_OPTIONS_MAX + 1])
{
    unsigned n = 0;

    while (options[n].name)
        n++;
    if (n + 2 > MANUAL_OPTIONS_MAX)
        abort();
    options[n] = (struct option){REEXEC_OPTION, required_argument, NULL, 't'};
    options[n + 1] = (struct option){REEXEC_WAY_BACK, required_argument, NULL, 'w'};
    options[n + 2] = (struct option){0};
}

/* Parses the options. Exits after those that only print something, and on errors; else returns the
 * action. */
static enum action parse_options(int argc, char **argv)
{
    struct option options[MANUAL_OPTIONS_MAX + 1];
    enum action action = ACTION_RUN;
    int c;

    manual_getopt(daemon_options, options);
    add_hidden(options);
    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            config_file = optarg;
            break;
        case 'k':
            action = ACTION_CHECK;
            break;
        case 'p':
            action = ACTION_PRINT;
            break;
        case 's':
            conf_print_sample(stdout);
            exit(printed());
        case 'h':
            print_help();
            exit(printed());
        case 't':
            record_fd = atoi(optarg);
            break;
        case 'w':
            way_back_fd = atoi(optarg);
            break;
        case 'V':
            puts("stateproxyd " PACKAGE_VERSION);
            exit(printed());
        default:
            exit(EXIT_CODE_USAGE);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "stateproxyd: unexpected argument \"%s\"; see --help\n", argv[optind]);
        exit(EXIT_CODE_USAGE);
    }
    return action;
}

/* ---- roles ---- */

static int run_worker(void *ctx, unsigned slot)
{
    log_set_role("worker");
    conf_forget_secrets((struct conf *)env.conf); /* it signs with keys from the segment */
    return worker_main(ctx, slot);
}

static int run_notifier(void *ctx, unsigned slot)
{
    (void)slot;
    conf_forget_secrets((struct conf *)env.conf);
    log_set_role("notifier");
    return notifier_main(ctx);
}

static int run_keeper(void *ctx, unsigned slot)
{
    (void)slot;
    log_set_role("keeper");
    return keeper_main(ctx);
}

static int run_observer(void *ctx, unsigned slot)
{
    (void)slot;
    conf_forget_secrets((struct conf *)env.conf);
    log_set_role("observer");
    return observer_main(ctx);
}

static uint64_t worker_turned(void *ctx, unsigned slot)
{
    (void)ctx;
    return __atomic_load_n(&shm_arena_of(env.shm, slot)->turn_ns, __ATOMIC_RELAXED);
}

/* The dead worker's arena is unused until the next one starts, so no lock is needed. That one
 * blames the requests in flight: it knows which these are, once it has the lock (recover.c). */
static void worker_crashed(void *ctx, unsigned slot)
{
    (void)ctx;
    shm_arena_of(env.shm, slot)->crashed++;
}

/* ---- start-up ---- */

/* The last line of this process: see log_journal.h. */
static int daemon_fail(int code, const struct err *err)
{
    log_journal_close();
    log_err("%s", err->text);
    snprintf(last_failure, sizeof(last_failure), "%s", err->text);
    return code;
}

/* The end, told to the CSI driver as well, which shows it with the pod; but not that it has
 * unmounted, which its next attempt would take for a failure of its own. Returns the code. */
static int daemon_ended(const struct conf *conf, int code)
{
    if (code && !*last_failure)
        snprintf(last_failure, sizeof(last_failure),
                 "stateproxyd has ended with exit code %d: see its log", code);
    if (code && !(code == EXIT_CODE_ABORTED && driver_comes_again))
        driver_report(conf, last_failure);
    return code;
}

static void log_set_as(const struct conf *conf)
{
    log_init(conf->log.level, "supervisor");
    log_set_format(conf->log.format);
}

static void tell_log(const struct conf *conf)
{
    log_notice("SIGHUP: log.level is now %s, and log.format %s, in all processes; any other change "
               "needs a restart",
               conf_choice_name("log.level", (int)conf->log.level),
               conf_choice_name("log.format", (int)conf->log.format));
}

/* SIGHUP. The workers have the configuration that they were forked with, so only what they share
 * can change. The line is logged at the more verbose of the two levels. */
static void reload(void *ctx)
{
    struct conf *next;
    struct err err = {0};
    bool told = log_enabled(LOG_NOTICE);

    (void)ctx;
    if (conf_load(config_file, environ, &next, &err) < 0) {
        log_err("SIGHUP: keeping the current configuration: %s", err.text);
        return;
    }
    if (told)
        tell_log(next);
    log_set_as(next);
    if (!told)
        tell_log(next);
    conf_free(next);
}

#define TITLE_MAX (PATH_MAX + 2048)
#define CHECK_LINE_MAX 400
#define LOAD_TRIES 50 /* after the exec of a restart in place */
#define LOAD_PAUSE_MS 100
#define LOAD_OTHER_TRIES 10
#define TRIAL_LIMIT_MS 5000

/* The timeouts that the machine sets, if any. */
static void add_timeouts(char *out, size_t cap)
{
    const struct fuse_timeouts *t = &env.timeouts;
    size_t n = strlen(out);

    if (t->max)
        n += (size_t)snprintf(out + n, cap - n, " fs.fuse.max_request_timeout=%u", t->max);
    if (t->def)
        n += (size_t)snprintf(out + n, cap - n, " fs.fuse.default_request_timeout=%u", t->def);
    if (t->max || t->def)
        snprintf(out + n, cap - n, " requests_end_after=%llus",
                 (unsigned long long)(env.request_limit_ns / NS_PER_S));
}

static void make_title(char *out, size_t cap, uint32_t n_workers)
{
    const struct conf *c = env.conf;
    int n = 0;

    if (env.mount)
        n = snprintf(out, cap, "mount=\"%s\" ", mount.path);
    if (*c->connector.socket)
        n += snprintf(out + n, cap - (size_t)n, "socket=\"%s\" ", c->connector.socket);
    n += snprintf(out + n, cap - (size_t)n, "bucket=\"%s\" prefix=\"%s\" variant=%s workers=%u",
                  c->bucket, c->prefix, conf_choice_name("variant", (int)c->variant), n_workers);
    if (n > 0 && (size_t)n + 1 < cap) {
        out[n] = ' ';
        server_describe(&env, "=", " ", out + n + 1, cap - (size_t)n - 1);
    }
    n = (int)strlen(out);
    limits_title(c, &env.shm->header->sizes, out + n, cap - (size_t)n);
    add_timeouts(out, cap);
    n = (int)strlen(out);
    if ((size_t)n + 1 < cap) {
        out[n] = ' ';
        confine_describe(&sandbox, out + n + 1, cap - (size_t)n - 1);
    }
}

static void make_info(char *out, size_t cap)
{
    const struct conf *c = env.conf;
    char id[CONF_FIXED_ID_MAX];
    int n = 0;

    if (env.mount)
        n = snprintf(out, cap, "mount %s\n", mount.path);
    if (*c->connector.socket)
        n += snprintf(out + n, cap - (size_t)n, "socket %s\n", c->connector.socket);
    n += snprintf(out + n, cap - (size_t)n, "bucket %s\nprefix %s\nvariant %s\n", c->bucket,
                  c->prefix, conf_choice_name("variant", (int)c->variant));
    if (conf_fixed_id(c, id) == 0)
        snprintf(out + n, cap - (size_t)n, "configuration %s\n", id);
}

static void tell_server(void *ctx, char *out, size_t cap)
{
    (void)ctx;
    server_describe(&env, " ", "\n", out, cap);
    if (strlen(out) + 1 < cap)
        strcat(out, "\n");
}

/* A worker found that what the probe had found, and what was saved of it, does not hold. */
static void forget_traits(void *ctx)
{
    (void)ctx;
    cas_kept_forget(env.conf);
}

/* A mount that was handed over has ended. */
static int mount_gone(void *ctx)
{
    (void)ctx;
    driver_comes_again = driver_wants_another(env.conf);
    return driver_comes_again ? EXIT_CODE_ABORTED : EXIT_CODE_OK;
}

static char title[TITLE_MAX]; /* what follows "ready" in the log */

/* In a task, while the connector answers requests that only read. */
static int probe_server(void *ctx, struct err *err)
{
    conf_forget_secrets((struct conf *)env.conf);
    return check_exit_code(worker_probe(ctx, err));
}

/* Writes have waited for it. */
static void server_probed(void *ctx, bool passed)
{
    uint32_t n = env.shm->header->sizes.workers;

    (void)ctx;
    if (passed) {
        server_stored(&env, &env.traits);
        env.traits.later = false;
        cas_kept_write(env.conf, &env.traits);
        make_title(title, sizeof(title), n);
    }
    __atomic_store_n(&env.shm->header->probe, passed ? SHM_PROBE_OVER : SHM_PROBE_FAILED,
                     __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < n; i++)
        fd_event_set(env.wake_fd[i]);
}

static int supervise(struct supervisor *sup, uint32_t n_workers)
{
    char info[TITLE_MAX];
    struct role roles[] = {
        /* first: the workers ask it */
        {.name = "observer", .count = env.boxes ? 1 : 0, .entry = run_observer},
        {.name = "worker",
         .count = n_workers,
         .serves = true,
         .entry = run_worker,
         .turned_ns = worker_turned,
         .on_crash = worker_crashed},
        {.name = "keeper", .count = 1, .entry = run_keeper},
        {.name = "notifier", .count = 1, .entry = run_notifier}, /* only for a mount */
    };
    struct supervisor_run run = {
        .roles = roles,
        .n_roles = sizeof(roles) / sizeof(roles[0]) - (env.mount ? 0 : 1),
        .unmounts = env.mount && mount.form != FUSE_MOUNT_HANDED_IN,
        .lingers = env.mount,
        .forget_fd = env.forget_fd,
        .segment_fd = env.shm->fd,
        .title = title,
        .info = info,
        .request_limit_ns = env.request_limit_ns,
        .verify_limit_ns = env.traits.later ? check_probe_limit_ns() : 0,
    };

    make_title(title, sizeof(title), n_workers);
    make_info(info, sizeof(info));
    return supervisor_run(sup, &run);
}

static void warn_of_names(void)
{
    struct conf_env_doubt doubt;
    char *const *at = environ;

    while (conf_env_next_doubt(&at, &doubt))
        log_warn("environment %s is no name of stateproxy: if %s is meant, correct it", doubt.name,
                 doubt.meant);
}

static void warn_insecure(const struct conf *conf)
{
    if (conf->s3.tls_insecure)
        log_warn("s3.tls_insecure is set: no certificate is checked, and whoever is between this "
                 "machine and S3 can read and change everything that passes");
}

/* The first credentials, and the check of S3; both once more if the bucket is in another region
 * than the keys are for. 0, or an exit code with *err. */
static int reach_s3(struct err *err)
{
    struct server_traits traits = {0};
    int code = keeper_first(&env, err);

    if (code == 0)
        code = check_s3(&env, &traits, err);
    if (code == CHECK_S3_MOVED) {
        traits = (struct server_traits){0};
        code = keeper_first(&env, err);
        if (code == 0)
            code = check_s3(&env, &traits, err);
    }
    if (code == CHECK_S3_MOVED) {
        err_set(err, EINVAL,
                "the server names one region for bucket \"%.80s\" and then another: set "
                "s3.region",
                env.conf->bucket);
        code = EXIT_CODE_CONFIG;
    }
    if (code == 0)
        env.traits = traits;
    return code;
}

/* What is made of the configuration before anything else. */
static int resolve(const struct conf *conf, struct worker_endpoint *ret, struct err *err)
{
    int r = worker_endpoint(conf, ret, err);

    return r < 0 ? r : worker_options_new(conf, &env.options, err);
}

/* What is made of the configuration alone. 0 or an exit code, after a log line. */
static int prepare(const struct conf *conf, struct worker_endpoint *endpoint)
{
    struct err err = {0};

    warn_insecure(conf);
    if (resolve(conf, endpoint, &err) < 0)
        return daemon_fail(err.code == EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_SYSTEM, &err);
    if (confine_init(conf, environ, &sandbox, &err) < 0)
        return daemon_fail(EXIT_CODE_CONFIG, &err);
    env.sandbox = &sandbox;
    return 0;
}

/* Makes what is shared with the workers, and reaches S3. 0 or an exit code, after a log line. */
static int create(const struct conf *conf, const struct worker_endpoint *endpoint)
{
    struct err err = {0};
    int code;

    if (setup_env(conf, setup_worker_count(conf), &env, &err) < 0)
        return daemon_fail(err.code == EINVAL                         ? EXIT_CODE_CONFIG
                           : err.code == ENOMEM || err.code == EMFILE ? EXIT_CODE_SYSTEM
                                                                      : EXIT_CODE_CREATE,
                           &err);
    if (setup_sockets(&env, &driver, &err) < 0)
        return daemon_fail(EXIT_CODE_CREATE, &err);
    shm_cred_set_region(env.shm, endpoint->region);
    code = reach_s3(&err);
    if (code)
        return daemon_fail(code, &err);
    server_found(&env, &env.traits);
    env.shm->header->probe = env.traits.later ? SHM_PROBE_RUNS : SHM_PROBE_OVER;
    if (env.traits.fresh)
        cas_kept_write(conf, &env.traits);
    return 0;
}

/* The exit code after a failure of setup_mount. */
static int not_mounted(const struct err *err)
{
    if (err->code != ECANCELED)
        return daemon_fail(err->code == EXDEV ? EXIT_CODE_CONFIG : EXIT_CODE_CREATE, err);
    log_notice("ended before it was mounted: %s", err->text);
    return EXIT_CODE_OK;
}

/* What was carried over is used from now on. */
static int has_taken(void *ctx, struct err *err)
{
    (void)ctx;
    return setup_taken(&gone, err);
}

/* `taken`: of the image before this one, which has mounted; NULL = there was none. */
static int daemon_run(const struct conf *conf, const struct handover_own *taken)
{
    char dir[CONF_SOCKET_MAX];
    struct supervisor_duties all = duties;
    struct supervisor_opts opts = {
        .duties = &all,
        .ctx = &env,
        .drain_timeout_ns = conf->daemon.drain_timeout_ns,
        .fdstore = conf->daemon.fdstore,
        .holder = *holder.path ? &holder : NULL,
        .socket = conf->control.socket,
        .env = environ,
        .taken = taken,
        .returned = record_fd >= 0 && way_back_fd == WAY_BACK_NOT_GIVEN,
        .carried = gone.segment_fd >= 0,
        .gone_fd = {gone.segment_fd, gone.boxes_fd},
    };
    struct supervisor *sup;
    struct err err = {0};
    int code;

    if (conf_control_dir(environ, dir, sizeof(dir)) == 0)
        opts.socket_dir = dir;
    all.reload = reload;
    all.tell = tell_server;
    all.forget = forget_traits;
    all.verify = probe_server;
    all.verified = server_probed;
    all.gone = mount_gone;
    all.taken = has_taken;
    if (supervisor_new(&opts, &sup, &err) < 0)
        return daemon_fail(EXIT_CODE_CREATE, &err);
    if (!taken && setup_mount(&env, opts.socket != NULL, &driver, &mount, &err) < 0)
        code = not_mounted(&err);
    else
        code = supervise(sup, env.shm->header->sizes.workers);
    supervisor_free(sup);
    return code;
}

static int daemon_start(const struct conf *conf)
{
    struct worker_endpoint endpoint;
    int code = prepare(conf, &endpoint);

    if (code == 0)
        code = create(conf, &endpoint);
    return code ? code : daemon_run(conf, NULL);
}

/* ---- restart in place ---- */

/* The program of before goes on, with everything as it was. `h`: setup_take was tried; NULL: not
 * yet. Returns if there is no way back. */
static void go_back(const struct handover *h)
{
    struct err err = {0};

    if (way_back_fd < 0 || record_copy < 0)
        return;
    log_warn("this program cannot take over: the one of before goes on");
    if (!h || handover_mark_fds(h, false, &err) == 0)
        reexec_back(record_copy, way_back_fd, &err);
    log_err("%s", err.text);
}

/* From here on there is none. */
static void close_way_back(void)
{
    if (way_back_fd >= 0)
        close(way_back_fd);
    if (record_copy >= 0)
        close(record_copy);
    way_back_fd = way_back_fd == WAY_BACK_NOT_GIVEN ? WAY_BACK_NOT_GIVEN : -1;
    record_copy = -1;
}

/* Nobody serves the mount any more: the children end with this process. But what a daemon that is
 * gone has left stays with its keeper, for the next try. */
static int lose(int code, const struct conf *conf, const struct handover_own *own)
{
    bool kept = !own->in_place || *holder.path || conf->daemon.fdstore;

    if (own->left && kept)
        return code == EXIT_CODE_CONFIG ? EXIT_CODE_LATER : code;
    if (env.mount)
        duties.abort(&env);
    return code;
}

/* There may be enough of it a moment later. */
static bool is_shortage(int r)
{
    return r == -ENOMEM || r == -EAGAIN || r == -EMFILE || r == -ENFILE;
}

/* The one before may have been ending. */
static void end_draining(struct shm *shm)
{
    __atomic_store_n(&shm->header->draining, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->header->gave_up, 0, __ATOMIC_RELAXED);
}

/* All that can fail. 0, or -errno with *err; *ret_code is that of the daemon then. */
static int take_all(const struct conf *conf, const struct handover *h, int *ret_code)
{
    struct worker_endpoint endpoint;
    struct err err = {0};
    int r = confine_init(conf, environ, &sandbox, &err);

    env.sandbox = &sandbox;
    if (r == 0)
        r = setup_take(conf, h, &env, &mount, &gone, &err);
    if (r == 0)
        r = setup_fd_limit(conf, &err);
    *ret_code = r < 0 ? daemon_fail(EXIT_CODE_SYSTEM, &err) : prepare(conf, &endpoint);
    return r;
}

/* The new image, or the daemon after one that is gone: all is there already, and S3 need not be
 * reached. What is left to the latter stays valid until it has left its own (fdstore_keep). */
static int take_over(const struct conf *conf, struct handover *h)
{
    static struct handover_own own; /* lives as long as the supervisor */
    int r, code;

    own = h->rec->own;
    r = take_all(conf, h, &code);
    if (code)
        go_back(h);
    if (!own.in_place && (r == 0 || is_shortage(r)))
        handover_leave(h);
    else
        handover_close(h); /* (spoiled: the next daemon gives it up) */
    close_way_back();
    if (code)
        return lose(code, conf, &own);
    end_draining(env.shm);
    return daemon_run(conf, &own);
}

/* --check: checks the configuration, and shows the endpoint, the source of the credentials, and the
 * limits that hold. Uses no network. */
static int check_only(const struct conf *conf)
{
    char provider[CREDS_PROVIDER_MAX], confined[CHECK_LINE_MAX];
    struct worker_endpoint endpoint;
    struct creds_conf creds;
    struct shm_sizes sizes;
    struct err err = {0};

    if (resolve(conf, &endpoint, &err) < 0)
        return daemon_fail(EXIT_CODE_CONFIG, &err);
    keeper_conf(conf, &creds);
    if (creds_look(&creds, provider, &err) < 0)
        return daemon_fail(EXIT_CODE_CONFIG, &err);
    if (confine_init(conf, environ, &sandbox, &err) < 0 ||
        setup_sizes(conf, setup_worker_count(conf), &sizes, &err) < 0)
        return daemon_fail(EXIT_CODE_CONFIG, &err);
    confine_explain(&sandbox, confined, sizeof(confined));
    printf(
        "the configuration is valid\nendpoint: %s\nregion: %s%s\ncredentials come from: %s\n%s\n",
        endpoint.url, endpoint.region,
        strcmp(conf->s3.region, "auto") == 0 && strcmp(endpoint.region, "auto") != 0
            ? " (asked for the bucket's at the start)"
            : "",
        provider, confined);
    limits_explain(conf, &sizes, stdout);
    return printed();
}

/* What a restart in place would do, without doing it. 0 or -errno with *err. */
static int try_to_take(const struct conf *conf, struct err *err)
{
    char provider[CREDS_PROVIDER_MAX];
    struct worker_endpoint endpoint;
    struct creds_conf creds;
    int r = setup_fd_limit(conf, err);

    if (r == 0)
        r = resolve(conf, &endpoint, err);
    if (r == 0)
        r = worker_certificates(conf, err);
    if (r == 0)
        r = confine_init(conf, environ, &sandbox, err);
    keeper_conf(conf, &creds);
    return r == 0 ? creds_look(&creds, provider, err) : r;
}

/* From here on it is a daemon. */
static void begin(const struct conf *conf)
{
    conf_wipe_env(environ);
    log_set_as(conf);
    log_share();
}

static int load_same(const struct handover *h, struct conf **ret, struct err *err)
{
    struct conf *conf;
    int r = handover_load_conf(h, config_file, environ, &conf, err);

    if (r < 0)
        return r;
    r = handover_compare(h, conf, err);
    if (r < 0)
        conf_free(conf);
    else
        *ret = conf;
    return r;
}

/* The trial has just loaded it. If it cannot be loaded now, somebody is writing it at this moment,
 * and the daemon must not end for that: the workers serve meanwhile. */
static int load_taken(const struct handover *h, bool trial, struct conf **ret, struct err *err)
{
    const struct timespec pause = {.tv_nsec = LOAD_PAUSE_MS * 1000 * 1000};
    int r = load_same(h, ret, err);

    for (int i = 0; r < 0 && !trial && i < LOAD_TRIES; i++) {
        nanosleep(&pause, NULL);
        r = load_same(h, ret, err);
    }
    return r;
}

/* The answer of a trial: nothing is wrong, but processes of both cannot work side by side. */
static int tell_carries(const char *version)
{
    bool same = strcmp(version, PACKAGE_VERSION) == 0;

    printf("%sversion %s\n", same ? "another build of " : "", PACKAGE_VERSION);
    return printed() ? EXIT_CODE_SYSTEM : REEXEC_CARRIES;
}

/* --take-over. In a trial the reason goes to stdout, for the supervisor that asks. */
static int taken_main(bool trial)
{
    char version[SHM_VERSION_MAX] = "";
    struct handover h;
    struct conf *conf = NULL;
    struct err err = {0};
    bool kept = getenv("NOTIFY_SOCKET");
    int r, carries = 0;

    if (way_back_fd >= 0)
        record_copy = fcntl(record_fd, F_DUPFD_CLOEXEC, 0); /* (-1: then there is no way back) */
    r = handover_open(record_fd, &h, &err);
    if (r == 0) {
        r = load_taken(&h, trial, &conf, &err);
        if (r == 0 && trial)
            r = try_to_take(conf, &err);
        if (r == 0 && trial) {
            carries = carry_look(h.rec->segment_fd, &sandbox, &err);
            r = carries < 0 ? carries : 0;
        }
        if (r == 0 && !trial) {
            begin(conf);
            holder_init(&holder, conf, h.rec->own.life_fd);
            return daemon_ended(conf, take_over(conf, &h));
        }
        memcpy(version, h.version, sizeof(version));
        kept |= h.rec->own.life_fd[0] >= 0;
        handover_leave(&h);
    }
    conf_free(conf);
    if (r == 0 && carries)
        return tell_carries(version);
    if (r == 0)
        return EXIT_CODE_OK;
    if (!trial) {
        /* The children end with this process. What a keeper has is there for the next try. */
        int code = daemon_fail(kept ? EXIT_CODE_LATER : EXIT_CODE_CONFIG, &err);

        go_back(NULL);
        return code;
    }
    puts(err.text);
    return printed() ? EXIT_CODE_SYSTEM : EXIT_CODE_CONFIG;
}

/* ---- what a daemon that is gone has left ---- */

static struct fdstore_left left;

/* What would fail only later, when it is too late to try again, or to give it up. In a child. */
static void try_left(const void *conf, void *answer)
{
    struct err *err = answer;

    (void)!try_to_take(conf, err); /* (it is in *err) */
}

/* 0 and *ret_conf: the configuration is right, and the same. -EXDEV with *err: it is another.
 * Another -errno with *err: it is wrong. */
static int load_left(const struct handover *h, struct conf **ret_conf, struct err *err)
{
    struct err answer;
    struct conf *conf;
    int r = load_same(h, &conf, err);

    if (r < 0)
        return r;
    r = child_ask(try_left, conf, TRIAL_LIMIT_MS, &answer, sizeof(answer));
    if (r < 0)
        r = err_set(err, -r, "the trial of the configuration did not end: %s", strerror(-r));
    else if (answer.code)
        r = err_set(err, EINVAL, "%.*s", ERR_TEXT_MAX - 1, answer.text);
    if (r < 0)
        conf_free(conf);
    else
        *ret_conf = conf;
    return r;
}

/* If the configuration is wrong, somebody may be writing it at this moment; if it is another one,
 * too, but then programs wait no longer than a second for their error. */
static int await_conf(const struct handover *h, struct conf **ret_conf, struct err *err)
{
    const struct timespec pause = {.tv_nsec = LOAD_PAUSE_MS * 1000 * 1000};
    int r = load_left(h, ret_conf, err);

    for (int i = 0; r < 0 && i < (r == -EXDEV ? LOAD_OTHER_TRIES : LOAD_TRIES); i++) {
        nanosleep(&pause, NULL);
        r = load_left(h, ret_conf, err);
    }
    return r;
}

/* Whether its tables can be read. 0; -ECONNRESET with *err: never; another -errno with *err: not
 * now. Frees `conf` on failure. */
static int look_left(const struct handover *h, struct conf *conf, struct err *err)
{
    int r = confine_init(conf, environ, &sandbox, err);

    if (r == 0)
        r = carry_look(h->rec->segment_fd, &sandbox, err);
    if (r >= 0)
        return 0;
    conf_free(conf);
    return r == -EPROTO ? -ECONNRESET : r;
}

/* 0 and *ret_conf: it can be taken over. -ECONNRESET with *err: it is of no use, and is given up.
 * Another -errno with *err: it can be taken over later. */
static int judge_left(struct handover *h, struct conf **ret_conf, struct err *err)
{
    int r = handover_open(left.record, h, err);

    left.record = -1; /* (taken) */
    if (r < 0)
        return is_shortage(r) ? r : -ECONNRESET;
    r = fdstore_check(&left, h, holder.state == HOLDER_READY, err);
    if (r < 0)
        r = is_shortage(r) ? r : -ECONNRESET;
    else
        r = await_conf(h, ret_conf, err);
    if (r == 0)
        r = look_left(h, *ret_conf, err);
    if (r == -EXDEV)
        r = -ECONNRESET;
    if (r == -ECONNRESET) {
        fdstore_abort(&left, h);
        handover_close(h);
    } else if (r < 0) {
        handover_leave(h);
    }
    return r;
}

static void give_up_left(const char *why)
{
    log_warn("not taken over: what a stateproxyd that is gone has left: %s", why);
    fdstore_discard(&left, environ);
    holder_drop(&holder);
}

/* Asks the holder for what is left, unless it was handed in. (If the configuration cannot be read,
 * the start says why.) 0, or the exit code after a log line. */
static int ask_holder(void)
{
    struct conf *conf;
    struct err err = {0};
    int r;

    if (conf_load(config_file, environ, &conf, &err) < 0)
        return 0;
    holder_init(&holder, conf, NULL);
    conf_free(conf);
    if (!*holder.path || left.record >= 0 || left.n)
        return 0;
    r = holder_take(&holder, &left, &err);
    if (r == -ENOTCONN) {
        holder.told = true;
        log_warn("daemon.holder: it cannot be reached, so nothing is taken over, and a crash of "
                 "the whole daemon ends the mount until it is there: %s",
                 err.text);
    } else if (r == -EBUSY) {
        err_prefix(&err, "daemon.holder: \"%s\": set daemon.holder_name to a name of its own",
                   holder.name);
        return daemon_fail(EXIT_CODE_CREATE, &err);
    } else if (r == -ETIMEDOUT || is_shortage(r)) { /* it keeps all */
        return daemon_fail(EXIT_CODE_LATER, &err);
    } else if (r < 0) {
        give_up_left(err.text);
    }
    return 0;
}

/* True if it was decided: *ret_code is the daemon's. */
static bool go_on_with_left(int *ret_code)
{
    struct handover h;
    struct conf *conf;
    struct err err = {0};
    int r;

    if (left.record < 0) {
        if (left.n)
            give_up_left("its record is missing");
        return false;
    }
    r = judge_left(&h, &conf, &err);
    if (r == -ECONNRESET) {
        give_up_left(err.text);
        return false;
    }
    if (r < 0) {
        err_prefix(&err, "what a stateproxyd that is gone has left cannot be taken over yet");
        *ret_code = daemon_fail(EXIT_CODE_LATER, &err);
        return true;
    }
    begin(conf);
    fdstore_tidy(&left, &h, environ);
    log_notice("taking over what a stateproxyd that is gone has left");
    *ret_code = daemon_ended(conf, take_over(conf, &h));
    conf_free(conf);
    return true;
}

int main(int argc, char **argv)
{
    enum action action;
    struct err err = {0};
    struct conf *conf;
    int code = 0;

    if (argc > 1 && strcmp(argv[1], "hold") == 0)
        return hold_main(argc - 1, argv + 1);
    action = parse_options(argc, argv);
    log_init(LOG_NOTICE, "supervisor");
    left.record = -1;
    if (action == ACTION_RUN && record_fd < 0 && fdstore_take(environ, &left, &err) < 0)
        give_up_left(err.text);
    if (action == ACTION_RUN && record_fd < 0)
        code = ask_holder();
    if (code)
        return code;
    log_set_journal(getenv("JOURNAL_STREAM"));
    reexec_init(argv[0], config_file);
    if (record_fd >= 0)
        return taken_main(action == ACTION_CHECK);
    if (action == ACTION_RUN && go_on_with_left(&code))
        return code;
    warn_of_names();
    if (conf_load(config_file, environ, &conf, &err) < 0)
        return daemon_fail(err.code == ENOMEM                    ? EXIT_CODE_SYSTEM
                           : err.code == ENODATA && !config_file ? EXIT_CODE_MISSING
                                                                 : EXIT_CODE_CONFIG,
                           &err);
    if (action == ACTION_PRINT) {
        conf_print(conf, stdout);
        code = printed();
    } else if (action == ACTION_CHECK) {
        code = check_only(conf);
    } else {
        begin(conf);
        code = daemon_ended(conf, daemon_start(conf));
    }
    conf_free(conf);
    return code;
}
