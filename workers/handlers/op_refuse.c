/* Operations that this file system does not have. Two requests need a reply of their own:
 *
 *   LINK    EPERM, which link(2) has for file systems without hard links: a key is one name. git,
 *           package managers, mailbox locks fall back to a copy or a rename
 *   IOCTL   ENOTTY: no file supports any, and isatty(3) sends one
 *
 * These have no handler (dispatch.c): the kernel remembers their ENOSYS, sends no more of them, and
 * does this instead
 *
 *   LSEEK            SEEK_DATA and SEEK_HOLE by the size: data up to it, the hole at it, ENXIO
 *                    beyond. S3 has no holes
 *   TMPFILE          EOPNOTSUPP: a file without a name has no key. tempfile(3) and Python use a
 *                    name instead
 *   ACCESS           grants it; the operation itself will fail if need be (with
 *                    mount.default_permissions the request is not sent at all)
 *   POLL             always ready
 *   BMAP             EINVAL: there is no disk below
 *   SYNCFS           not sent to file systems on /dev/fuse. sync(1) publishes nothing: close and
 *                    fsync do
 */
#include <errno.h>

#include "workers/handlers/handlers.h"

void op_link(struct op *op)
{
    op_fail(op, -EPERM);
}

void op_ioctl(struct op *op)
{
    op_fail(op, -ENOTTY);
}
