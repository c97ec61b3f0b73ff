/* New files, as CREATE, MKNOD (op_create.c) and SYMLINK (op_symlink.c) make them. */
#ifndef WORKERS_HANDLERS_CREATE_H
#define WORKERS_HANDLERS_CREATE_H

#include "workers/op/op.h"

/* Name, mode and kind of a new file, from the request that makes it. */
struct newcomer {
    const char *name;
    size_t len;
    uint32_t mode; /* permission bits */
    bool link;
    bool excl;  /* compare-and-set: it must be new, also for other machines */
    bool loads; /* opened without O_TRUNC: built on what is there, which is nothing */
};

/* 0 if the op may make a file of its name; -EROFS, -ESHUTDOWN (what was begun goes on), -ESTALE,
 * -ENAMETOOLONG, -EINVAL. */
must_use int create_check(struct op *op);

/* Under shm->meta: an unpublished node with a session and one ref to it. Node index; -ESTALE,
 * -ENFILE, -ENOMEM: to be rolled back. */
must_use int64_t create_file(struct op *op, const struct newcomer *nc, uint32_t *ret_session);

/* Under shm->meta. The node that the op's name has by now: somebody was faster. SHM_NIL for
 * none. */
uint32_t create_taken_by(struct op *op);

/* After the publish of a file that nobody has open (MKNOD, SYMLINK): answers with its entry and
 * gives the ref in op->rec->session back. */
void create_published(struct op *op, int error);

#endif
