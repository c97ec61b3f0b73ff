/* Decodes one request with bounds checks, exactly as the kernel wrote it. Nothing is copied: the
 * result points into the buffer, which must stay in place and unchanged while it is used. */
#ifndef FUSE_FUSE_DECODE_H
#define FUSE_FUSE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "fuse/fuse_abi.h"

struct fuse_request {
    const struct fuse_in_header *head; /* NULL: not even a complete header */
    uint32_t opcode;
    uint32_t uid;
    uint32_t gid;
    uint32_t pid;    /* of the thread; 0 in RELEASE, and for callers in another pid namespace */
    uint64_t unique; /* the request's id, for the reply */
    uint64_t nodeid;

    /* The fixed arguments; the member for the opcode is valid. */
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
        const struct fuse_write_in *write;     /* data: the bytes to write */
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
    size_t arg_len; /* bytes present; INIT: 16 or more, all others: the whole struct */

    /* Names are terminated and not empty; they may be longer than FUSE_NAME_BYTES (reply
     * ENAMETOOLONG), and their content is not checked: "/" and ".." are up to the caller. */
    const char *name;
    const char *name2; /* RENAME: the new name, SYMLINK: the target */
    size_t name_len;   /* without NUL */
    size_t name2_len;

    const void *data; /* WRITE, SETXATTR, IOCTL, NOTIFY_REPLY, BATCH_FORGET */
    size_t data_len;
};

/* Decodes the `len` bytes that one read(2) returned into `buf` (8-byte aligned).
 *
 *   0        complete
 *   -ENOSYS  unknown opcode: reply with it, and the kernel does not ask again
 *   -EPROTO  malformed: reply EIO
 *
 * On failure the fields of the header in *ret are valid if ret->head is not NULL; nothing else is.
 * Send a reply only if fuse_wants_reply() allows it. */
must_use int fuse_decode(const void *buf, size_t len, struct fuse_request *ret);

/* Saving a request that must wait: its header, arguments, names and data, except for what may be
 * long: the data of a WRITE, the value of a SETXATTR and the target of a SYMLINK must be stored
 * elsewhere first. */

/* Bytes that fuse_request_save needs. */
size_t fuse_request_size(const struct fuse_request *req);

/* Copies it to `dst` (8-byte aligned). Returns its size, or 0 if it does not fit into `cap`. */
must_use size_t fuse_request_save(const struct fuse_request *req, void *dst, size_t cap);

/* Decodes what fuse_request_save wrote; `len` is the maximum size of the record. As fuse_decode; a
 * WRITE or SETXATTR has data NULL and data_len 0 (its size is in write->size, setxattr->size), a
 * SYMLINK has name2 NULL and name2_len 0. */
must_use int fuse_decode_saved(const void *buf, size_t len, struct fuse_request *ret);

/* False for requests to which the kernel accepts no reply: FORGET, BATCH_FORGET, NOTIFY_REPLY, and
 * INTERRUPT (which may get EAGAIN: "try again"). */
bool fuse_wants_reply(uint32_t opcode);

#endif
