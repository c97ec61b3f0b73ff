/* The handler for each opcode. An opcode without a handler gets the reply ENOSYS, which the kernel
 * remembers: op_refuse.c describes what it does then. */
#include <errno.h>

#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/op/op.h"

#define DISPATCH_OPS SHM_STATS_FUSE_OPS

static op_handler *const handlers[DISPATCH_OPS] = {
    /* names: op_lookup.c */
    [FUSE_LOOKUP] = op_lookup,
    [FUSE_FORGET] = op_forget,
    [FUSE_BATCH_FORGET] = op_batch_forget,
    /* attributes: op_attr.c */
    [FUSE_GETATTR] = op_getattr,
    [FUSE_SETATTR] = op_setattr,
    [FUSE_STATFS] = op_statfs,
    /* files: op_open.c, op_read.c, op_write.c, op_flush.c */
    [FUSE_OPEN] = op_open,
    [FUSE_CREATE] = op_create,
    [FUSE_MKNOD] = op_mknod,
    [FUSE_READ] = op_read,
    [FUSE_WRITE] = op_write,
    [FUSE_FLUSH] = op_flush,
    [FUSE_FSYNC] = op_fsync,
    [FUSE_RELEASE] = op_release,
    /* directories: op_dir.c */
    [FUSE_OPENDIR] = op_opendir,
    [FUSE_READDIR] = op_readdir,
    [FUSE_READDIRPLUS] = op_readdir,
    [FUSE_RELEASEDIR] = op_releasedir,
    [FUSE_FSYNCDIR] = op_fsyncdir,
    /* changes of names: op_mkdir.c, op_unlink.c, op_rename.c */
    [FUSE_MKDIR] = op_mkdir,
    [FUSE_RMDIR] = op_rmdir,
    [FUSE_UNLINK] = op_unlink,
    [FUSE_RENAME] = op_rename,
    [FUSE_RENAME2] = op_rename,
    /* locks, space, copies: op_lock.c, op_fallocate.c, op_copy_range.c */
    [FUSE_GETLK] = op_getlk,
    [FUSE_SETLK] = op_setlk,
    [FUSE_SETLKW] = op_setlk,
    [FUSE_FALLOCATE] = op_fallocate,
    [FUSE_COPY_FILE_RANGE] = op_copy_range,
    [FUSE_OP_COPY_FILE_RANGE_64] = op_copy_range,
    /* symbolic links: op_symlink.c; extended attributes: op_xattr.c */
    [FUSE_SYMLINK] = op_symlink,
    [FUSE_READLINK] = op_readlink,
    [FUSE_GETXATTR] = op_getxattr,
    [FUSE_LISTXATTR] = op_listxattr,
    [FUSE_SETXATTR] = op_setxattr,
    [FUSE_REMOVEXATTR] = op_removexattr,
    /* unsupported operations, and why: op_refuse.c */
    [FUSE_LINK] = op_link,
    [FUSE_IOCTL] = op_ioctl,
    /* the channel itself: op_interrupt.c */
    [FUSE_INTERRUPT] = op_interrupt,
    [FUSE_DESTROY] = op_destroy,
};

void op_dispatch(struct op *op)
{
    uint32_t opcode = fuse_req(op)->opcode;

    if (opcode >= DISPATCH_OPS || !handlers[opcode]) {
        op_fail(op, -ENOSYS);
        return;
    }
    op->w->stats->fuse[opcode]++;
    handlers[opcode](op);
}
