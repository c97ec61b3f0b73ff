/* Creates everything that is shared with the workers, before the first fork. */
#ifndef DAEMON_SETUP_H
#define DAEMON_SETUP_H

#include "daemon/driver.h"
#include "daemon/handover.h"
#include "workers/op/worker_abi.h"

/* Number of workers: as configured, or the CPUs of the cgroup quota (or of the affinity mask), 2 to
 * 8. */
uint32_t setup_worker_count(const struct conf *conf);

/* The memory that the daemon keeps to, in bytes, and what says so. */
void setup_memory_limit(const struct conf *conf, uint64_t *ret_limit, const char **ret_from);

/* How that is divided. 0, or -EINVAL with *err: it is too little. */
must_use int setup_sizes(const struct conf *conf, uint32_t n_workers, struct shm_sizes *ret,
                         struct err *err);

/* When requests of a mount would be answered at the latest, on a machine with these settings; ns, 0
 * = no limit. */
uint64_t setup_request_limit(const struct conf *conf, const struct fuse_timeouts *t);

/* Creates the segment, eventfds, parking files and spool slots. 0, or -errno with *err:
 *   -EINVAL  the memory limit is too small    -EMFILE, -ENOMEM  the system provides no more
 *   -ENOENT, -EACCES, -EROFS, ...             buffer.dir cannot be used */
must_use int setup_env(const struct conf *conf, uint32_t n_workers, struct worker_env *env,
                       struct err *err);

/* Descriptors that are no longer used, as this version has made others in their place: its segment
 * and mailboxes. They stay open until nothing can fail any more (setup_taken). -1 = none. */
struct setup_gone {
    int segment_fd, boxes_fd;
};

/* Instead of these three, after a restart in place: takes over what the image before this one has
 * made. `mount` gets the mount. env->sandbox: for the children that read tables of another version.
 * 0, or -errno with *err. */
must_use int setup_take(const struct conf *conf, const struct handover *h, struct worker_env *env,
                        struct fuse_mount *mount, struct setup_gone *gone, struct err *err);

/* Before the first request is served: from now on the old segment is of no use to anybody. 0, or
 * -errno with *err. */
must_use int setup_taken(const struct setup_gone *gone, struct err *err);

/* Raises this process's limit of descriptors to what the configuration needs. 0 or -EMFILE with
 * *err. */
must_use int setup_fd_limit(const struct conf *conf, struct err *err);

/* Mounts, or takes the mount of a CSI driver (driver.h; after supervisor_new, which blocks the
 * signals), negotiates the protocol with the kernel, sets the read-ahead. `ours_alone`: we own the
 * control socket named after the mount point, so a mount of ours at that place which does not reply
 * is not served by a living daemon: it is aborted and removed. 0, or -errno with *err. */
must_use int setup_mount(struct worker_env *env, bool ours_alone, struct driver *driver,
                         struct fuse_mount *mount, struct err *err);

/* Opens the connector's socket, that of metrics.listen and that of a CSI driver, as far as they are
 * configured, and puts them into their places. 0 or -errno with *err. */
must_use int setup_sockets(struct worker_env *env, struct driver *driver, struct err *err);

#endif
