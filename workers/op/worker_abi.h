/* What a worker inherits from the supervisor: the one list of everything that is created before the
 * first fork. */
#ifndef WORKERS_OP_WORKER_ABI_H
#define WORKERS_OP_WORKER_ABI_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "fuse/fuse_init.h"
#include "fuse/fuse_mount.h"
#include "fuse/fuse_timeout.h"
#include "sandbox/sandbox.h"
#include "shm/shm_cred.h"
#include "shm/shm_segment.h"
#include "workers/op/observer.h"

/* A spool slot: the bytes of the session with the same index. */
struct worker_spool {
    int mem_fd;  /* memfd, up to buffer.memory */
    int file_fd; /* O_TMPFILE in buffer.dir, beyond that; -1 if it could not be created */
};

#define SERVER_NAME_MAX 64 /* with NUL */

struct s3_options;

/* What the start-up check found out about the server, above all about conditional requests; all
 * false if the server was not probed. Workers use what is in the segment (workers/server/server.h):
 * more is learned later. */
struct server_traits {
    bool probed;                /* the server was probed for the others */
    bool fresh;                 /* just now: worth being saved (cas_kept.h) */
    bool put_conditions;        /* PUT honours If-Match and If-None-Match, also under races */
    bool complete_conditions;   /* CompleteMultipartUpload does */
    bool delete_if_match;       /* DELETE does; else HEAD, compare, DELETE, with a race window */
    bool copy_conditions;       /* CopyObject honours those on its target; as for PUT */
    uint32_t habits;            /* enum s3_habit */
    bool later;                 /* it is still to be probed: worker_probe */
    bool moved;                 /* the bucket is in another region: see worker_check_s3 */
    char name[SERVER_NAME_MAX]; /* name that the server reports, "" = none */
};

/* Filled in by the supervisor before the first fork, constant afterwards. */
struct worker_env {
    const struct conf *conf;
    struct shm *shm;
    /* ->fd: the shared channel, non-blocking; NULL = no mount */
    const struct fuse_mount *mount;
    int listen_fd;  /* of the connector's socket, non-blocking; -1 = none */
    int metrics_fd; /* of metrics.listen, non-blocking; -1 = none */
    struct fuse_negotiated fuse;
    struct fuse_timeouts timeouts; /* of this machine's kernel */
    /* each request is answered before it reaches this age, 0 = no limit */
    uint64_t request_limit_ns;
    struct server_traits traits;
    const struct s3_options *options; /* of worker_options_new */
    /* one eventfd for each worker slot: resume the waiting ops */
    int wake_fd[SHM_WORKERS_MAX];
    int notify_fd; /* eventfd of the notifier: the ring is not empty */
    int forget_fd; /* eventfd of the supervisor: what was saved of the probe is wrong */
    int keeper_fd; /* eventfd of the keeper: a worker wants other credentials */
    int park_fd[SHM_WORKERS_MAX];  /* O_TMPFILEs: WRITE payloads of requests that wait */
    struct worker_spool *spool;    /* shm sizes.sessions of them */
    uint64_t dirty_max;            /* spool_dirty_max(); 0 = no limit */
    const struct sandbox *sandbox; /* NULL = none, and no change of the user (tests) */
    struct observer_box *boxes;    /* one for each worker slot; NULL = they read /proc themselves */
    int boxes_fd;                  /* of their memory; -1 = none */
};

/* Exit codes of a worker; any other end is a crash. */
enum worker_exit {
    WORKER_EXIT_DONE = 0,      /* SIGTERM, or the supervisor is gone */
    WORKER_EXIT_UNMOUNTED = 3, /* the channel returned ENODEV: the mount is gone */
    WORKER_EXIT_SETUP = 4,     /* could not start; the reason is in the log */
};

/* Serves requests as worker `slot` until SIGTERM (exits when no client of the connector waits: the
 * supervisor sends it after the unmount, or to replace the worker), the unmount, or the death of
 * the supervisor (PR_SET_PDEATHSIG). Called in the child right after fork, with SIGTERM blocked
 * (term.h); returns the exit code. Takes over the requests that the previous worker of the slot
 * left behind. */
int worker_main(const struct worker_env *env, uint32_t slot);

/* Answers what workers ask about other processes (observer.h), until the supervisor's SIGTERM.
 * Called as the others. */
int observer_main(const struct worker_env *env);
#define WORKER_URL_MAX 1100 /* of the longest endpoint, with NUL */

/* Where requests go as configured. */
struct worker_endpoint {
    char url[WORKER_URL_MAX];         /* of the bucket */
    char region[SHM_CRED_REGION_MAX]; /* that they are signed for */
};

/* Resolves the endpoint, without asking anybody. 0 and *ret, or -EINVAL with *err. */
must_use int worker_endpoint(const struct conf *conf, struct worker_endpoint *ret, struct err *err);

/* Whether the CA bundle, the client certificate and its key can be read, and are some. 0, or -errno
 * with *err. */
must_use int worker_certificates(const struct conf *conf, struct err *err);

/* Reads what workers need beside the configuration: the key of s3.sse_customer_key_file and
 * /etc/mime.types. Before the first fork; lives as long as the process. 0 and *ret, or -errno with
 * *err: -EINVAL for a bad key, -ENOMEM. */
must_use int worker_options_new(const struct conf *conf, const struct s3_options **ret,
                                struct err *err);

#define WORKER_PROBE_MS 30000 /* extra time for worker_check_s3 if it probes */

/* Checks bucket, region and credentials with one LIST, and in the variant s3-buffered-cas probes
 * how the server handles conditions (cas_probe.h). For a separate child process, before the first
 * worker is forked, because it parses data from the network. 0 and *ret_traits, or -errno with a
 * sentence for the operator in *err; -EINVAL if the configuration or the server is wrong (exit 78),
 * anything else if S3 cannot be reached. -EREMCHG and ret_traits->moved: the bucket is in another
 * region, which the segment has now (shm_cred_region); keys for it are needed first. */
must_use int worker_check_s3(const struct worker_env *env, struct server_traits *ret_traits,
                             struct err *err);

/* True if worker_check_s3 will probe, or leaves it for later: without a mount, requests that only
 * read need not wait for it. */
bool worker_probes(const struct conf *conf);

/* The probe that worker_check_s3 has left for later (ret_traits->later). For a child process of its
 * own, while workers serve. 0: what was found is in the segment (server_found); else as
 * worker_check_s3. */
must_use int worker_probe(const struct worker_env *env, struct err *err);

/* Writes queued notifications to the kernel until the supervisor's SIGTERM or the unmount; serves
 * no request. Called in a child, with SIGTERM blocked (term.h); returns the exit code. */
int notifier_main(const struct worker_env *env);

#endif
