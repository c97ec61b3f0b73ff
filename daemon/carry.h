/* The segment of a daemon that is gone, and was of another version, carried over (shm_carry.h). The
 * supervisor reads no tables, so children do it, in a sandbox (NULL: none). */
#ifndef DAEMON_CARRY_H
#define DAEMON_CARRY_H

#include "sandbox/sandbox.h"
#include "shm/shm_carry.h"

/* 0: it is of this version; 1: it can be carried over; -EPROTO, -EXDEV with *err: it cannot;
 * another -errno with *err: that cannot be found out now. */
must_use int carry_look(int fd, const struct sandbox *sandbox, struct err *err);

/* Maps the segment, as shm_attach; or carries it over to a new one: `fd` stays open then, and *ret
 * has another. 0, or -errno as above. */
must_use int carry_attach(int fd, const struct sandbox *sandbox, struct shm **ret, struct err *err);

#endif
