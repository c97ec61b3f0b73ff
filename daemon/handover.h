/* What a supervisor leaves to the program that it becomes by exec (restart in place): a record in a
 * memfd, whose number the new image is told by --take-over. Nothing is created again: descriptors,
 * segment and children stay what they are.
 *
 * The record is a struct of the version that wrote it; another version reads it by the names of the
 * fields (handover_form.h). It holds the secrets that came by the environment; whoever reads it
 * wipes it (handover_close). */
#ifndef DAEMON_HANDOVER_H
#define DAEMON_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "conf/conf.h"
#include "daemon/handover_own.h"
#include "shm/shm_segment.h"
#include "workers/op/worker_abi.h"

#define HANDOVER_MAGIC UINT64_C(0x31564f484f525053) /* "SPROHOV1" */

/* `magic`, `version`, `form_off` and `form_len` never move. */
struct handover_record {
    uint64_t magic;
    char version[SHM_VERSION_MAX];
    uint64_t form_off; /* how all is laid out (handover_form.h), behind everything else */
    uint32_t form_len;
    uint32_t size;        /* of this struct */
    uint32_t n_workers;   /* wake_fd and park_fd of so many slots */
    uint32_t n_spool;     /* struct worker_spool, behind this struct */
    uint32_t fixed_len;   /* then conf_fixed_text, with its NUL */
    uint32_t secrets_len; /* then conf_write_secrets */
    bool has_mount;
    uint8_t pad[7];
    struct fuse_mount mount;
    struct fuse_negotiated fuse;
    struct fuse_timeouts timeouts;
    uint64_t request_limit_ns;
    struct server_traits traits;
    int segment_fd, notify_fd, forget_fd, keeper_fd;
    int listen_fd, metrics_fd, boxes_fd; /* -1 = none */
    int wake_fd[SHM_WORKERS_MAX], park_fd[SHM_WORKERS_MAX];
    struct handover_own own;
};

/* The view of a reader: pointers into its mapping of the record. */
struct handover {
    int fd;
    size_t size;
    struct handover_record *rec;
    /* The mapping of the record itself, if another version, or another build, has written it: then
     * `rec` is a copy in the form of this one. Else NULL. */
    void *other;
    size_t other_size;
    char version[SHM_VERSION_MAX]; /* that has written it */
    const struct worker_spool *spool;
    const char *fixed;
    char *secrets;
};

/* Writes the record of `env` and `own` to a new memfd, close-on-exec. `secrets`: with those that
 * came by the environment, for an exec; who is started anew has them in its own. 0 and *ret_fd, or
 * -errno with *err. */
must_use int handover_write(const struct worker_env *env, const struct handover_own *own,
                            bool secrets, int *ret_fd, struct err *err);

/* Maps and checks a record: its form, its counts, its texts; of descriptors nothing. 0, or -EPROTO,
 * -EXDEV (another version's, and something of it cannot be read), -ENOMEM with *err. Takes `fd` in
 * either case; what it says stays there after a failure, for another try. */
must_use int handover_open(int fd, struct handover *ret, struct err *err);

/* Wipes the record, unmaps and closes it. */
void handover_close(struct handover *h);

/* The same, but leaves it valid for others that have it. */
void handover_leave(struct handover *h);

typedef void handover_fd_fn(void *ctx, int fd);

/* Calls `fn` for every descriptor in the record but its own. */
void handover_each_fd(const struct handover *h, handover_fd_fn *fn, void *ctx);

/* Sets, or removes, close-on-exec of every descriptor in the record but its own, and of those that
 * only an exec hands over (own.life_fd). 0, or -EBADF with *err: one of them is not open. */
must_use int handover_mark_fds(const struct handover *h, bool close_on_exec, struct err *err);

/* Loads the configuration as at the start, with the secrets of the record, which do not get into
 * `env`. As conf_load. */
must_use int handover_load_conf(const struct handover *h, const char *file, char *const *env,
                                struct conf **ret_conf, struct err *err);

/* 0; -EXDEV with *err: a value has changed that a restart in place must not change. If another
 * version has written the record: a key that only that one had does not count, and one that it had
 * not must have its default. */
must_use int handover_compare(const struct handover *h, const struct conf *conf, struct err *err);

#endif
