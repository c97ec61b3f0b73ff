/* The kernel's side of the protocol: <linux/fuse.h>, additions of newer kernels that the header may
 * lack (our own definitions, used only if negotiated), and the bounds of requests. */
#ifndef FUSE_FUSE_ABI_H
#define FUSE_FUSE_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/fuse.h>

/* A request is read with one read(2) into one buffer that begins FUSE_READ_HEAD bytes before a
 * page:
 *
 *   [ in_header 40 | write_in 40 ][ payload, page-aligned ... max_write bytes ]
 *
 * so that the bytes of a WRITE are page-aligned, and every request lies in one piece. The
 * arguments of other requests run on into the payload. */
#define FUSE_READ_HEAD 80

/* Minimum size of the buffer for a read of the device, which otherwise fails with EINVAL
 * (fs/fuse/dev.c, fuse_dev_do_read): header, write_in, max_write bytes; and never less than 8 KiB.
 * Other errors of that read: EAGAIN (no request), EINTR, ENOENT (the request was aborted meanwhile:
 * read again), ENODEV (unmounted), ECONNABORTED (aborted). poll(2) reports the end of a connection
 * as POLLERR alone. */
#define FUSE_READ_SIZE(max_write)                                                                  \
    ((size_t)FUSE_READ_HEAD + (max_write) > FUSE_MIN_READ_BUFFER                                   \
         ? (size_t)FUSE_READ_HEAD + (max_write)                                                    \
         : (size_t)FUSE_MIN_READ_BUFFER)

/* 256 pages of 4 KiB: the default of the sysctl fs.fuse.max_pages_limit. */
#define FUSE_MAX_WRITE_MAX (1u << 20)

/* Longest name of a directory entry, without NUL: FUSE_NAME_MAX of kernels before 6.15, which has
 * PATH_MAX - 1. */
#define FUSE_NAME_BYTES 1024

/* A deferred request is kept as a record of at most this many bytes (fuse_request_save). Two names
 * of FUSE_NAME_BYTES fit. Only these can be longer: IOCTL, BATCH_FORGET, NOTIFY_REPLY, and any
 * request whose name is too long: reply to those at once. */
#define FUSE_RECORD_BYTES 2112

/* The newest minor version whose additions are defined here. */
#define FUSE_MINOR_KNOWN 45
/* The oldest minor version that is supported: Linux 5.4. */
#define FUSE_MINOR_OLDEST 31

#if FUSE_KERNEL_VERSION != 7 || FUSE_KERNEL_MINOR_VERSION < 38
#error "<linux/fuse.h> of Linux 6.2 (or Debian 12's 6.1) or newer is needed"
#endif

/* Members that newer headers rename (fuse_open_out.padding, fuse_init_out.unused, ...) are not used
 * here. STATX (52), which the header may lack, gets the reply ENOSYS: the kernel then falls back to
 * GETATTR. */

/* INIT flags of newer headers. */
#ifndef FUSE_HAS_RESEND
#define FUSE_HAS_RESEND (1ULL << 39) /* Linux 6.9, minor 40 */
#endif
#ifndef FUSE_REQUEST_TIMEOUT
#define FUSE_REQUEST_TIMEOUT (1ULL << 42) /* Linux 6.15, minor 43 */
#endif
/* fuse_init_out.request_timeout: 16 bits, seconds; in older headers a part of `unused`. */
#define FUSE_INIT_OUT_TIMEOUT_AT 40
#define FUSE_REQUEST_TIMEOUT_MAX 65535u
/* The kernel checks for requests that are too old at this interval in seconds, and accepts no
 * shorter limit. */
#define FUSE_REQUEST_TIMEOUT_MIN 15u

/* Since Linux 6.18 (minor 45): as COPY_FILE_RANGE, whose answer has 32 bits and which asks for less
 * than 4 GiB. */
#define FUSE_OP_COPY_FILE_RANGE_64 53
struct fuse_copied_out {
    uint64_t bytes_copied;
};

/* Since Linux 6.18 (minor 45); `count` node ids follow. */
#define FUSE_NOTIFY_PRUNE_CODE 9
struct fuse_notify_prune_head {
    uint32_t count;
    uint32_t padding;
    uint64_t spare;
};

static_assert(sizeof(struct fuse_notify_prune_head) == 16, "wire");
static_assert(sizeof(struct fuse_in_header) == 40, "wire");
static_assert(sizeof(struct fuse_out_header) == 16, "wire");
static_assert(sizeof(struct fuse_write_in) == 40, "wire");
static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) == FUSE_READ_HEAD,
              "payload of a WRITE begins at the page");
static_assert(sizeof(struct fuse_read_in) == 40, "wire");
static_assert(sizeof(struct fuse_setattr_in) == 88, "wire");
static_assert(sizeof(struct fuse_create_in) == 16, "wire");
static_assert(sizeof(struct fuse_rename2_in) == 16, "wire");
static_assert(sizeof(struct fuse_attr) == 88, "wire");
static_assert(sizeof(struct fuse_attr_out) == 104, "wire");
static_assert(sizeof(struct fuse_entry_out) == 128, "wire");
static_assert(sizeof(struct fuse_open_out) == 16, "wire");
static_assert(sizeof(struct fuse_init_in) == 64, "wire");
static_assert(sizeof(struct fuse_init_out) == 64, "wire");
static_assert(sizeof(struct fuse_statfs_out) == 80, "wire");
static_assert(sizeof(struct fuse_forget_one) == 16, "wire");
static_assert(sizeof(struct fuse_lk_in) == 48, "wire");
static_assert(offsetof(struct fuse_dirent, name) == 24, "wire");
static_assert(offsetof(struct fuse_direntplus, dirent) == 128, "wire");
static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_rename2_in) +
                      2 * (FUSE_NAME_BYTES + 1) <=
                  FUSE_RECORD_BYTES,
              "a rename fits a record");

#endif
