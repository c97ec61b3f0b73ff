/* Set-up before the first fork. Everything that is made here lives until the supervisor exits: the
 * kernel releases it. */
#include "daemon/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/carry.h"
#include "fuse/fuse_timeout.h"
#include "http/http_listen.h"
#include "shm/shm_budget.h"
#include "workers/op/spool_dirty.h"

#define INIT_TIMEOUT_MS 10000
#define TIMEOUT_DEADLINES 3 /* the request timeout is at least so many times s3.deadline */
#define LIMIT_LEAVES_MAX_S 60
#define WORKERS_AUTO_MIN 2
#define WORKERS_AUTO_MAX 8
/* descriptors besides spool slots and connections: eventfds, parking files, clients */
#define FDS_OTHER 128
#define FDS_CLIENTS 256 /* connections to the connector's socket, for each worker */
#define FDS_SCRAPES 16  /* the same to metrics.listen */

uint32_t setup_worker_count(const struct conf *conf)
{
    cpu_set_t set;
    uint32_t cpus;

    if (conf->workers.count)
        return conf->workers.count;
    cpus = shm_budget_cgroup_cpus("");
    if (!cpus && sched_getaffinity(0, sizeof(set), &set) == 0)
        cpus = (uint32_t)CPU_COUNT(&set);
    if (cpus < WORKERS_AUTO_MIN)
        return WORKERS_AUTO_MIN;
    return cpus > WORKERS_AUTO_MAX ? WORKERS_AUTO_MAX : cpus;
}

int setup_fd_limit(const struct conf *conf, struct err *err)
{
    rlim_t need = 2 * (rlim_t)conf->buffer.sessions + 2 * (rlim_t)conf->s3.connections + FDS_OTHER +
                  (*conf->connector.socket ? FDS_CLIENTS : 0) +
                  (*conf->metrics.listen ? FDS_SCRAPES : 0);
    struct rlimit lim;

    if (conf->daemon.fdstore || *conf->daemon.holder)
        need *= 2; /* for a moment, when they are taken over */
    if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
        return err_set(err, errno, "getrlimit: %s", strerror(errno));
    if (lim.rlim_cur >= need)
        return 0;
    lim.rlim_cur = need;
    if (lim.rlim_max < need)
        lim.rlim_max = need;
    if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
        return err_set(err, EMFILE,
                       "%u file descriptors are needed for buffer.sessions %u: raise "
                       "the limit (ulimit -n) or lower buffer.sessions",
                       (unsigned)need, conf->buffer.sessions);
    return 0;
}

void setup_memory_limit(const struct conf *conf, uint64_t *ret_limit, const char **ret_from)
{
    uint64_t cgroup = shm_budget_cgroup_limit("");

    *ret_limit = conf->memory.limit ? conf->memory.limit : cgroup ? cgroup : SHM_BUDGET_DEFAULT;
    *ret_from = conf->memory.limit ? "memory.limit" : cgroup ? "the cgroup" : "default";
}

int setup_sizes(const struct conf *conf, uint32_t n_workers, struct shm_sizes *ret, struct err *err)
{
    uint32_t baselines = conf->variant == CONF_S3_BUFFERED_CAS ? conf->cas.baselines : 0;
    const char *from;
    uint64_t limit;

    setup_memory_limit(conf, &limit, &from);
    return shm_budget_sizes(limit, n_workers, conf->buffer.sessions, baselines, ret, err);
}

static int make_segment(const struct conf *conf, uint32_t n_workers, struct worker_env *env,
                        struct err *err)
{
    struct shm_sizes sizes;
    int r = setup_sizes(conf, n_workers, &sizes, err);

    return r < 0 ? r : shm_create(&sizes, &env->shm, err);
}

/* As the cgroup is now: after a restart it may be another. */
static uint64_t dirty_max(uint32_t n_workers)
{
    return spool_dirty_max(shm_budget_cgroup_limit(""), n_workers);
}

static int make_boxes(uint32_t n_workers, struct worker_env *env, struct err *err)
{
    int r = observer_boxes_new(n_workers, &env->boxes, &env->boxes_fd);

    return r < 0 ? err_set(err, -r, "no memory for the workers' mailboxes: %s", strerror(-r)) : 0;
}

static int make_event(int *ret_fd, struct err *err)
{
    *ret_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (*ret_fd < 0)
        return err_set(err, errno, "eventfd: %s", strerror(errno));
    return 0;
}

/* An unnamed file in buffer.dir: no other process can open it, and it disappears when our last
 * process exits. */
static int make_file(const char *dir, int *ret_fd, struct err *err)
{
    *ret_fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*ret_fd < 0)
        return err_set(err, errno, "buffer.dir: cannot create an unnamed file in \"%s\": %s%s", dir,
                       strerror(errno),
                       errno == EOPNOTSUPP || errno == EISDIR
                           ? " (its file system cannot; choose another)"
                           : "");
    return 0;
}

static int make_slot(const struct conf *conf, struct worker_spool *slot, struct err *err)
{
    slot->mem_fd = memfd_create("stateproxy-spool", MFD_CLOEXEC);
    if (slot->mem_fd < 0)
        return err_set(err, errno, "memfd_create: %s", strerror(errno));
    return make_file(conf->buffer.dir, &slot->file_fd, err);
}

int setup_env(const struct conf *conf, uint32_t n_workers, struct worker_env *env, struct err *err)
{
    int r = setup_fd_limit(conf, err);

    env->conf = conf;
    env->dirty_max = dirty_max(n_workers);
    env->listen_fd = env->metrics_fd = env->boxes_fd = -1;
    if (r == 0)
        r = make_segment(conf, n_workers, env, err);
    if (r == 0)
        r = make_event(&env->notify_fd, err);
    if (r == 0)
        r = make_event(&env->forget_fd, err);
    if (r == 0)
        r = make_event(&env->keeper_fd, err);
    for (uint32_t i = 0; r == 0 && i < n_workers; i++) {
        r = make_event(&env->wake_fd[i], err);
        if (r == 0)
            r = make_file(conf->buffer.dir, &env->park_fd[i], err);
    }
    if (r == 0 && env->sandbox && env->sandbox->on)
        r = make_boxes(n_workers, env, err);
    env->spool = r == 0 ? calloc(conf->buffer.sessions, sizeof(*env->spool)) : NULL;
    if (r == 0 && !env->spool)
        r = err_set(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; r == 0 && i < conf->buffer.sessions; i++)
        r = make_slot(conf, &env->spool[i], err);
    return r;
}

/* `key`: of the configuration; `path`: its value. */
static int open_socket(const char *key, const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    int r = http_listen_open(key, path, mode, ret_fd, err);

    return r == 0 ? http_listen_publish(key, path, err) : r;
}

int setup_sockets(struct worker_env *env, struct driver *driver, struct err *err)
{
    const struct conf *conf = env->conf;
    int r = 0;

    if (*conf->connector.socket)
        r = open_socket("connector.socket", conf->connector.socket, conf->connector.mode,
                        &env->listen_fd, err);
    if (r == 0 && conf->metrics.listen[0] == '/')
        r = open_socket("metrics.listen", conf->metrics.listen, conf->metrics.mode,
                        &env->metrics_fd, err);
    else if (r == 0 && *conf->metrics.listen)
        r = http_listen_tcp("metrics.listen", conf->metrics.listen, &env->metrics_fd, err);
    return r == 0 ? driver_open(conf, driver, err) : r;
}

/* The request timeout to ask the kernel for, in seconds: longer than S3 requests can take. */
static uint32_t timeout_to_ask(const struct conf *conf)
{
    uint64_t ns = conf->daemon.request_timeout_ns;

    if (ns && ns < TIMEOUT_DEADLINES * conf->s3.deadline_ns)
        ns = TIMEOUT_DEADLINES * conf->s3.deadline_ns;
    ns = (ns + NS_PER_S - 1) / NS_PER_S;
    return ns > FUSE_REQUEST_TIMEOUT_MAX ? FUSE_REQUEST_TIMEOUT_MAX : (uint32_t)ns;
}

/* The time limit for replies. The rest of the kernel's timeout is a reserve before it ends the
 * connection: a worker checks once a second, may be killed and replaced meanwhile, and the machine
 * may be busy. */
static uint64_t limit_of(uint32_t seconds)
{
    uint32_t left = seconds / 4;

    if (left > LIMIT_LEAVES_MAX_S)
        left = LIMIT_LEAVES_MAX_S;
    return (seconds - left) * NS_PER_S;
}

uint64_t setup_request_limit(const struct conf *conf, const struct fuse_timeouts *t)
{
    uint32_t seconds = fuse_timeout_in_force(t, t->known ? timeout_to_ask(conf) : 0);

    return seconds ? limit_of(seconds) : 0;
}

static void set_limits(struct worker_env *env, const struct fuse_timeouts *before)
{
    struct fuse_timeouts after;
    uint32_t seconds, other;

    /* The settings may have changed while we mounted: the shorter timeout is safe in either
     * case. */
    fuse_timeout_read(&after);
    seconds = fuse_timeout_in_force(before, env->fuse.request_timeout);
    other = fuse_timeout_in_force(&after, env->fuse.request_timeout);
    if (other && (!seconds || other < seconds))
        seconds = other;
    env->timeouts = *before;
    if (after.max && (!before->max || after.max < before->max))
        env->timeouts = after;
    env->request_limit_ns = seconds ? limit_of(seconds) : 0;
}

static int make_mount_point(const struct conf *conf, struct err *err)
{
    if (!conf->mount.create || conf->mount.fd >= 0 || mkdir(conf->mount.path, 0755) == 0 ||
        errno == EEXIST)
        return 0;
    return err_set(err, errno, "mount.create: cannot create \"%s\": %s", conf->mount.path,
                   strerror(errno));
}

static int make_mount(const struct conf *conf, bool ours_alone, struct fuse_mount *mount,
                      struct err *err)
{
    struct fuse_mount_opts opts = {
        .path = conf->mount.path,
        .source = conf->mount.source,
        .allow_other = conf->mount.allow_other,
        .default_permissions = conf->mount.default_permissions,
        .read_only = conf->mount.read_only,
        .noexec = conf->mount.noexec,
        .end_silent = ours_alone,
    };
    int r = make_mount_point(conf, err);

    return r == 0 ? fuse_mount(&opts, mount, err) : r;
}

int setup_mount(struct worker_env *env, bool ours_alone, struct driver *driver,
                struct fuse_mount *mount, struct err *err)
{
    const struct conf *conf = env->conf;
    bool handed_over = *conf->mount.fd_socket;
    struct fuse_init_wish wish = {
        .max_write = env->shm->header->sizes.payload,
        .max_readahead = 128 << 10, /* the maximum that the kernel grants here */
        .flock_locks = true,
        .posix_locks = true,
        .request_timeout = timeout_to_ask(conf),
    };
    struct fuse_timeouts timeouts;
    struct err ignored;
    int r;

    if (!*conf->mount.path)
        return 0;
    r = handed_over ? driver_take(conf, driver, mount, err)
                    : make_mount(conf, ours_alone, mount, err);
    if (r < 0)
        return r;
    if (mount->removed_stale)
        log_notice("removed the mount of a stateproxyd that is gone mount=\"%s\"", mount->path);
    env->mount = mount;
    fuse_timeout_read(&timeouts);
    r = fuse_init_answer(mount->fd, &wish, INIT_TIMEOUT_MS, &env->fuse, err);
    if (r < 0) {
        (void)!fuse_unmount_force(mount, &ignored); /* the first error is the one to report */
        return handed_over ? err_prefix(err, "mount.fd_socket: %s", conf->mount.fd_socket) : r;
    }
    snprintf(env->shm->header->mount_path, sizeof(env->shm->header->mount_path), "%.*s",
             (int)sizeof(env->shm->header->mount_path) - 1, mount->path);
    set_limits(env, &timeouts);
    r = fuse_set_readahead(mount, conf->mount.read_ahead);
    if (r < 0)
        log_debug("read-ahead stays at the kernel's 128 KiB: %s", strerror(-r));
    if (handed_over)
        driver_clear_report(conf);
    return 0;
}

/* ---- after a restart in place ---- */

static void take_fds(const struct handover_record *r, struct worker_env *env)
{
    env->fuse = r->fuse;
    env->timeouts = r->timeouts;
    env->request_limit_ns = r->request_limit_ns;
    env->traits = r->traits;
    env->listen_fd = r->listen_fd;
    env->metrics_fd = r->metrics_fd;
    env->boxes_fd = r->boxes_fd;
    env->notify_fd = r->notify_fd;
    env->forget_fd = r->forget_fd;
    env->keeper_fd = r->keeper_fd;
    memcpy(env->wake_fd, r->wake_fd, sizeof(env->wake_fd));
    memcpy(env->park_fd, r->park_fd, sizeof(env->park_fd));
}

/* The slots of the spool belong to the sessions of the segment, as do the workers to its arenas. */
static int take_segment(const struct handover *h, struct worker_env *env, struct setup_gone *gone,
                        struct err *err)
{
    int fd = h->rec->segment_fd;
    /* (else processes are at work in it) */
    int r = h->rec->own.left ? carry_attach(fd, env->sandbox, &env->shm, err)
                             : shm_attach(fd, &env->shm, err);

    if (r == 0 && env->shm->fd != fd)
        gone->segment_fd = fd;
    if (r == 0 && (env->shm->header->sizes.workers != h->rec->n_workers ||
                   env->shm->header->sizes.sessions != h->rec->n_spool))
        r = err_set(err, EPROTO, "the record of the restart does not fit the segment");
    return r;
}

/* In those of another version are no questions that anybody waits for. */
static int take_boxes(const struct handover *h, struct worker_env *env, struct setup_gone *gone,
                      struct err *err)
{
    int r;

    if (gone->segment_fd >= 0 && env->boxes_fd >= 0) {
        gone->boxes_fd = env->boxes_fd;
        return make_boxes(h->rec->n_workers, env, err);
    }
    r = env->boxes_fd < 0 ? 0 : observer_boxes_open(env->boxes_fd, h->rec->n_workers, &env->boxes);

    return r < 0 ? err_set(err, -r, "cannot map the workers' mailboxes: %s", strerror(-r)) : 0;
}

int setup_take(const struct conf *conf, const struct handover *h, struct worker_env *env,
               struct fuse_mount *mount, struct setup_gone *gone, struct err *err)
{
    int r = handover_mark_fds(h, true, err);

    *gone = (struct setup_gone){-1, -1};
    env->conf = conf;
    env->dirty_max = dirty_max(h->rec->n_workers);
    if (r < 0)
        return r;
    take_fds(h->rec, env);
    if (h->rec->has_mount) {
        *mount = h->rec->mount;
        env->mount = mount;
    }
    r = take_segment(h, env, gone, err);
    if (r == 0)
        r = take_boxes(h, env, gone, err);
    env->spool = r == 0 ? calloc(h->rec->n_spool, sizeof(*env->spool)) : NULL;
    if (r == 0 && !env->spool)
        r = err_set(err, ENOMEM, "out of memory");
    if (r == 0)
        memcpy(env->spool, h->spool, h->rec->n_spool * sizeof(*env->spool));
    return r;
}

int setup_taken(const struct setup_gone *gone, struct err *err)
{
    int r = gone->segment_fd < 0 ? 0 : shm_carry_done(gone->segment_fd);

    if (r < 0)
        return err_set(err, -r, "the segment that was carried over cannot be spoilt: %s",
                       strerror(-r));
    if (gone->segment_fd >= 0)
        close(gone->segment_fd);
    if (gone->boxes_fd >= 0)
        close(gone->boxes_fd);
    return 0;
}
