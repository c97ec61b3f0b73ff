/* The handlers of all opcodes: each replies to its op or keeps it (op.h). */
#ifndef WORKERS_HANDLERS_HANDLERS_H
#define WORKERS_HANDLERS_HANDLERS_H

#include "workers/op/op.h"

op_handler op_lookup, op_forget, op_batch_forget;
op_handler op_getattr, op_setattr, op_statfs;
op_handler op_open, op_create, op_mknod;
op_handler op_read, op_write, op_flush, op_fsync, op_release;
op_handler op_opendir, op_readdir, op_releasedir, op_fsyncdir;
op_handler op_mkdir, op_rmdir, op_unlink, op_rename;
op_handler op_getlk, op_setlk;
op_handler op_fallocate, op_copy_range;
op_handler op_symlink, op_readlink;
op_handler op_getxattr, op_listxattr, op_setxattr, op_removexattr;
op_handler op_link, op_ioctl;
op_handler op_interrupt, op_destroy;

/* For requests that have crashed workers (recover.c): what they free is freed, nothing is
 * published. */
op_handler op_flush_only, op_release_only;

#endif
