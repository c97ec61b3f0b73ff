/* Bounds-checked decoding of one request as the kernel wrote it. Nothing is copied: what is
 * decoded points into the buffer, which must stay in place and unchanged while it is used. */
#ifndef FUSE_FUSE_DECODE_H
#define FUSE_FUSE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fuse/fuse_abi.h"

struct fuse_request {
    const struct fuse_in_header *head; /* NULL: not even a header was there */
    uint32_t opcode;
    uint32_t uid;
    uint32_t gid;
    uint32_t pid;    /* a thread's; 0 in RELEASE, and for callers in another pid namespace */
    uint64_t unique; /* what an answer refers to */
    uint64_t nodeid;

    /* The fixed arguments; the member of the opcode is valid. */
    union {
        const void *arg; /* NULL: the opcode has none */
        const struct fuse_forget_in *forget;
        const struct fuse_batch_forget_in *batch_forget; /* data: the forget_ones */
        const struct fuse_getattr_in *getattr;
        const struct fuse_setattr_in *setattr;
        const struct fuse_mknod_in *mknod;
        const struct fuse_mkdir_in *mkdir;
        const struct fuse_rename_in *rename;
        const struct fuse_rename2_in *rename2;
        const struct fuse_link_in *link;
        const struct fuse_open_in *open;       /* OPEN, OPENDIR */
        const struct fuse_create_in *create;   /* CREATE, TMPFILE */
        const struct fuse_read_in *read;       /* READ, READDIR, READDIRPLUS */
        const struct fuse_write_in *write;     /* data: what is written */
        const struct fuse_release_in *release; /* RELEASE, RELEASEDIR */
        const struct fuse_flush_in *flush;
        const struct fuse_fsync_in *fsync;       /* FSYNC, FSYNCDIR */
        const struct fuse_setxattr_in *setxattr; /* size and flags only; data: the value */
        const struct fuse_getxattr_in *getxattr; /* GETXATTR, LISTXATTR */
        const struct fuse_lk_in *lk;             /* GETLK, SETLK, SETLKW */
        const struct fuse_access_in *access;
        const struct fuse_init_in *init;           /* may be short: see arg_len */
        const struct fuse_interrupt_in *interrupt; /* ->unique: the request to end */
        const struct fuse_bmap_in *bmap;
        const struct fuse_ioctl_in *ioctl; /* data: in_size bytes */
        const struct fuse_poll_in *poll;
        const struct fuse_notify_retrieve_in *retrieve; /* NOTIFY_REPLY; data: the bytes */
        const struct fuse_fallocate_in *fallocate;
        const struct fuse_lseek_in *lseek;
        const struct fuse_copy_file_range_in *copy_file_range;
        const struct fuse_syncfs_in *syncfs;
    };
    size_t arg_len; /* bytes there; INIT: 16 or more, all others: the whole struct */

    /* Names end with NUL and are not empty; they may be longer than FUSE_NAME_BYTES (answer
     * ENAMETOOLONG), and are not looked into: "/" or ".." is the caller's matter. */
    const char *name;
    const char *name2; /* RENAME: the new name, SYMLINK: the target */
    size_t name_len;   /* without NUL */
    size_t name2_len;

    const void *data; /* WRITE, SETXATTR, IOCTL, NOTIFY_REPLY, BATCH_FORGET */
    size_t data_len;
};

/* Decodes the `len` bytes that one read(2) returned into `buf` (8-byte aligned).
 *  0        all is there
 *  -ENOSYS  an opcode that is not known: answer so, the kernel does not ask again
 *  -EPROTO  malformed: answer EIO
 * On failure the header's fields in *ret are valid if ret->head is not NULL; nothing else is.
 * Answer only where fuse_wants_reply() says so. */
must_use int fuse_decode(const void *buf, size_t len, struct fuse_request *ret);

/* Keeping a request that must wait: its header, arguments, names and data, but not what can be
 * long: the data of a WRITE, the value of a SETXATTR, the target of a SYMLINK must go elsewhere
 * first. */

/* Bytes that fuse_request_save needs. */
size_t fuse_request_size(const struct fuse_request *req);

/* Copies it to `dst` (8-byte aligned). Returns its size, or 0 when it does not fit `cap`. */
must_use size_t fuse_request_save(const struct fuse_request *req, void *dst, size_t cap);

/* Decodes what fuse_request_save wrote; `len` is the most the record may have. As
 * fuse_decode; a WRITE or SETXATTR comes with data NULL and data_len 0 (its size is in
 * write->size, setxattr->size), a SYMLINK with name2 NULL and name2_len 0. */
must_use int fuse_decode_saved(const void *buf, size_t len, struct fuse_request *ret);

/* False for the requests that the kernel takes no answer to: FORGET, BATCH_FORGET,
 * NOTIFY_REPLY, and INTERRUPT (to which EAGAIN may be answered: "ask again"). */
bool fuse_wants_reply(uint32_t opcode);

/* "LOOKUP" ..., "?" for one that is not known. */
const char *fuse_op_name(uint32_t opcode);

#endif
