/* Creating files: shared by CREATE, MKNOD (op_create.c) and SYMLINK (op_symlink.c). */
#ifndef WORKERS_HANDLERS_CREATE_H
#define WORKERS_HANDLERS_CREATE_H

#include "workers/op/op.h"

/* Name, mode and kind of a new file, from the request that creates it. */
struct newcomer {
    const char *name;
    size_t len;
    uint32_t mode; /* permission bits */
    uint32_t type; /* S_IFLNK, S_IFIFO, ...; 0: a regular file */
    uint32_t rdev; /* of a device */
    bool excl;     /* the key must be absent, on other machines too */
    bool loads;    /* opened without O_TRUNC: built on the existing content, which is empty */
};

/* 0 if the op may create a file of its name; -EROFS, -ESHUTDOWN (only for a new request: a kept op
 * continues while draining), -ESTALE, -ENAMETOOLONG, -EINVAL. */
must_use int create_check(struct op *op);

/* Under shm->meta. Creates an unpublished node with a session and one ref to the session. Node
 * index; -ESTALE, -ENFILE, -ENOMEM: the caller must roll back. */
must_use int64_t create_file(struct op *op, const struct newcomer *nc, uint32_t *ret_session);

/* Under shm->meta. The node that the op's name has now, if another request was faster. SHM_NIL if
 * there is none. */
uint32_t create_taken_by(struct op *op);

/* Called after the publish of a file that is not open (MKNOD, SYMLINK): replies with its entry and
 * releases the ref in op->rec->session. */
void create_published(struct op *op, int error);

#endif
