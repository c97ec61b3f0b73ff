/* What a worker inherits from the supervisor: the one list of everything that is made before the
 * first fork. */
#ifndef WORKERS_OP_WORKER_ABI_H
#define WORKERS_OP_WORKER_ABI_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "fuse/fuse_init.h"
#include "fuse/fuse_mount.h"
#include "fuse/fuse_timeout.h"
#include "shm/shm_segment.h"

/* A spool slot: where the bytes of the session with the same index lie. */
struct worker_spool {
    int mem_fd;  /* memfd, up to buffer.memory */
    int file_fd; /* O_TMPFILE in buffer.dir, beyond that; -1 if none could be made */
};

#define SERVER_NAME_MAX 64 /* with NUL */

/* What the server was found to do at the start, with conditional requests for one; all false
 * where it was not probed. What is learned later is in the segment (shm_header.habits). */
struct server_traits {
    bool probed;                /* the others were tried */
    bool put_conditions;        /* PUT keeps If-Match and If-None-Match, also among racers */
    bool complete_conditions;   /* CompleteMultipartUpload does */
    bool delete_if_match;       /* DELETE does; else HEAD, compare, DELETE, and a window */
    uint32_t habits;            /* enum s3_habit */
    char name[SERVER_NAME_MAX]; /* as it calls itself, "" = it does not */
};

/* Filled by the supervisor before the first fork, constant after it. */
struct worker_env {
    const struct conf *conf;
    struct shm *shm;
    const struct fuse_mount *mount; /* ->fd: the shared channel, non-blocking */
    struct fuse_negotiated fuse;
    struct fuse_timeouts timeouts; /* the machine's */
    uint64_t request_limit_ns;     /* each request is answered before it is so old, 0 = no limit */
    struct server_traits traits;
    /* eventfds: one for each worker slot, "look at what you wait for" */
    int wake_fd[SHM_WORKERS_MAX];
    int notify_fd;                /* eventfd of the notifier: the ring is not empty */
    int keeper_fd;                /* eventfd of the keeper: a worker wants other credentials */
    int park_fd[SHM_WORKERS_MAX]; /* O_TMPFILEs: WRITE payloads of requests that wait */
    struct worker_spool *spool;   /* shm sizes.sessions of them */
};

/* Exit codes of a worker; any other end is a crash. */
enum worker_exit {
    WORKER_EXIT_DONE = 0,      /* told to end, or the supervisor is gone */
    WORKER_EXIT_UNMOUNTED = 3, /* the channel says ENODEV: the mount is gone */
    WORKER_EXIT_SETUP = 4,     /* could not start; said in the log */
};

/* Serves requests as worker `slot` until SIGTERM (exit when idle: the supervisor sends it only
 * after the unmount), the unmount, or the death of the supervisor (PR_SET_PDEATHSIG). Called in the
 * child right after fork, with SIGTERM blocked (term.h); returns the exit code. Takes over what the
 * former worker of the slot left. */
int worker_main(const struct worker_env *env, uint32_t slot);

#define WORKER_PROBE_MS 30000 /* what worker_check_s3 may take longer where it probes */

/* Checks bucket, region and credentials with one LIST, and in the variant s3-buffered-cas probes
 * what the server does with conditions (cas_probe.h). For a child process of its own, before the
 * first worker is forked: parses what comes from the network. 0 and *ret_traits, or -errno with the
 * operator's sentence in *err; -EINVAL if the configuration or the server is wrong (exit 78),
 * anything else if S3 cannot be reached. */
must_use int worker_check_s3(const struct worker_env *env, struct server_traits *ret_traits,
                             struct err *err);

/* True if it will probe. */
bool worker_probes(const struct conf *conf);

/* Writes queued notifications to the kernel until the supervisor's SIGTERM or the unmount; serves
 * no request. Called in a child, with SIGTERM blocked (term.h); returns the exit code. */
int notifier_main(const struct worker_env *env);

#endif
