/* Everything that is shared with the workers, made before the first fork. */
#ifndef DAEMON_SETUP_H
#define DAEMON_SETUP_H

#include "daemon/child.h"
#include "workers/op/worker_abi.h"

/* Number of workers: as configured, or the CPUs of the cgroup quota (or of the affinity mask), 2 to
 * 8. */
uint32_t setup_worker_count(const struct conf *conf);

/* Makes the segment, eventfds, parking files and spool slots. 0, or -errno with *err:
 *   -EINVAL  the memory limit is too small    -EMFILE, -ENOMEM  the system gives no more
 *   -ENOENT, -EACCES, -EROFS, ...             buffer.dir cannot be used */
must_use int setup_env(const struct conf *conf, uint32_t n_workers, struct worker_env *env,
                       struct err *err);

/* Mounts, agrees with the kernel on the protocol, raises the read-ahead. `ours_alone`: the control
 * socket named after the mount point is ours now, so nobody who lives serves one that is mounted
 * there and silent: it is ended. 0, or -errno with *err. */
must_use int setup_mount(struct worker_env *env, bool ours_alone, struct fuse_mount *mount,
                         struct err *err);

#endif
