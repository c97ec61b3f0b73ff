/* Replies to INIT. How the kernel uses the reply is in its fs/fuse/inode.c, process_init_reply.
 *
 * Accepted whenever offered:
 *   ASYNC_READ           several READs of a file in flight (read-ahead)
 *   BIG_WRITES           WRITEs of more than a page
 *   MAX_PAGES            requests of max_write bytes rather than 32 pages
 *   ATOMIC_O_TRUNC       OPEN carries O_TRUNC: else a SETATTR comes first, and an overwrite would
 *                        be two changes, with an empty object between them
 *   PARALLEL_DIROPS      lookups and readdirs in one directory at the same time
 *   DO_READDIRPLUS       without READDIRPLUS_AUTO: a listing from S3 has every attribute in it, so
 *                        `ls -l` needs no further request. AUTO would send plain READDIR unless
 *                        entries were stat'ed between two getdents(2) (fs/fuse/readdir.c,
 *                        fuse_use_readdirplus), so whoever reads all names first (find, os.walk,
 *                        rm -r) would look up each of them. The cost is a node for each name;
 *                        the reply may leave it out (nodeid 0).
 *   ASYNC_DIO            direct I/O in parallel
 *   ABORT_ERROR          a read of the device returns ECONNABORTED for an abort, unlike an unmount
 *                        (ENODEV)
 *   HANDLE_KILLPRIV_V2   without it the kernel asks GETXATTR security.capability before every
 *                        write(2) of a file system with xattrs (file_remove_privs; SB_NOSEC is set
 *                        only with this flag). The cost: the daemon has to clear S_ISUID, S_ISGID
 *                        on FUSE_WRITE_KILL_SUIDGID, FATTR_KILL_SUIDGID, FUSE_OPEN_KILL_SUIDGID and
 *                        chown, most simply by never storing them.
 *   INIT_EXT             the upper half of the flags
 *   HAS_EXPIRE_ONLY      see fuse_notify_expire_entry
 *   HAS_RESEND           the kernel can be asked to resend requests that a dead process had
 *                        read. (Not used yet: workers have their journal.)
 *   REQUEST_TIMEOUT      the dead man's switch: the kernel ends the whole connection when one
 *                        request is older than the limit of fuse_timeout.h. The daemon must make
 *                        sure that none is.
 *
 * Never accepted:
 *   WRITEBACK_CACHE      the kernel would own size and mtime, and WRITEs would lose their caller
 *   AUTO_INVAL_DATA      drops a file's pages when its mtime changes. A node here is one version of
 *                        an object: its mtime changes only by writes of our own, whose pages are
 *                        right
 *   EXPLICIT_INVAL_DATA  would keep the pages even when the size changes; a last page that was
 *                        filled when the file was shorter has zeros at its end (fs/fuse/inode.c,
 *                        fuse_change_attributes)
 *   and what is not needed: POSIX_ACL, DONT_MASK, EXPORT_SUPPORT, NO_OPEN_SUPPORT,
 *   NO_OPENDIR_SUPPORT, SETXATTR_EXT, SECURITY_CTX, CREATE_SUPP_GROUP, ALLOW_IDMAP
 */
#include "fuse/fuse_init.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/min.h"
#include "fuse/fuse_decode.h"
#include "fuse/fuse_name.h"
#include "fuse/fuse_reply.h"

#define WANT_ALWAYS                                                                                \
    (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_ATOMIC_O_TRUNC |                    \
     FUSE_PARALLEL_DIROPS | FUSE_DO_READDIRPLUS | FUSE_ASYNC_DIO | FUSE_ABORT_ERROR |              \
     FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT | FUSE_HAS_EXPIRE_ONLY | FUSE_HAS_RESEND)

#define PAGES_DEFAULT 32 /* of a request, without MAX_PAGES */
#define MAX_BACKGROUND_DEFAULT 64

/* The message of a kernel that speaks version 7, copied: older ones send less of it. */
struct init_offer {
    uint64_t unique;
    uint64_t flags;
    struct fuse_init_in in;
};

/* Waits for one message; its length, or -errno. */
static ssize_t read_message(int fd, uint64_t deadline_ns, void *buf, size_t cap, struct err *err)
{
    for (;;) {
        uint64_t now = clock_mono_ns();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (now >= deadline_ns)
            return err_set(err, ETIMEDOUT, "the kernel sent no FUSE_INIT in time");
        if (poll(&p, 1, (int)((deadline_ns - now) / NS_PER_MS + 1)) < 0 && errno != EINTR)
            return err_set(err, errno, "poll: %s", strerror(errno));
        n = read(fd, buf, cap);
        if (n > 0)
            return n;
        if (n == 0 || errno == ENODEV || errno == ECONNABORTED)
            return err_set(err, ENODEV, "unmounted before it was served");
        if (errno == EPERM)
            return err_set(err, EPERM, "the FUSE descriptor does not belong to a mount");
        if (errno != EAGAIN && errno != EINTR)
            return err_set(err, errno, "reading FUSE_INIT: %s", strerror(errno));
    }
}

static int init_refuse(int fd, uint64_t unique, struct err *err, const char *why)
{
    /* Best effort: the mount is abandoned anyway. */
    (void)!fuse_reply_err(fd, unique, -EPROTO);
    return err_set(err, EPROTO, "%s", why);
}

/* Reads INIT into *ret. 1: another major version, and ours was sent to the kernel. */
static int read_offer(int fd, uint64_t deadline_ns, struct init_offer *ret, struct err *err)
{
    _Alignas(8) char buf[FUSE_MIN_READ_BUFFER];
    struct fuse_request req;
    ssize_t n = read_message(fd, deadline_ns, buf, sizeof(buf), err);
    int r;

    if (n < 0)
        return (int)n;
    r = fuse_decode(buf, (size_t)n, &req);
    if (r < 0 || req.opcode != FUSE_INIT) {
        if (req.head && fuse_wants_reply(req.opcode))
            (void)!fuse_reply_err(fd, req.unique, -EIO);
        return err_set(err, EPROTO,
                       "FUSE_INIT expected, %s came: is the descriptor "
                       "served by another process?",
                       fuse_op_name(req.opcode));
    }
    ret->unique = req.unique;
    memset(&ret->in, 0, sizeof(ret->in));
    memcpy(&ret->in, req.init, req.arg_len);
    if (ret->in.major > FUSE_KERNEL_VERSION) {
        struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_MINOR_KNOWN};

        r = fuse_reply_buf(fd, ret->unique, &out, sizeof(out));
        return r < 0 ? err_set(err, -r, "FUSE_INIT: %s", strerror(-r)) : 1;
    }
    ret->flags = ret->in.flags;
    if (ret->flags & FUSE_INIT_EXT)
        ret->flags |= (uint64_t)ret->in.flags2 << 32;
    return 0;
}

static void negotiate(const struct fuse_init_wish *wish, const struct init_offer *offer,
                      struct fuse_negotiated *n)
{
    uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
    uint32_t max_write = min_u32(wish->max_write, FUSE_MAX_WRITE_MAX);
    uint64_t want = WANT_ALWAYS;

    if (wish->flock_locks)
        want |= FUSE_FLOCK_LOCKS;
    if (wish->posix_locks)
        want |= FUSE_POSIX_LOCKS;
    if (wish->request_timeout)
        want |= FUSE_REQUEST_TIMEOUT;

    memset(n, 0, sizeof(*n));
    n->flags = offer->flags & want;
    n->kernel_minor = offer->in.minor;
    n->minor = min_u32(offer->in.minor, FUSE_MINOR_KNOWN);
    n->max_pages = max_write / page;
    if (n->max_pages == 0)
        n->max_pages = 1;
    if (!(n->flags & FUSE_MAX_PAGES))
        n->max_pages = min_u32(n->max_pages, PAGES_DEFAULT);
    n->max_write = n->max_pages * page;
    n->max_readahead = min_u32(wish->max_readahead, offer->in.max_readahead);
    n->max_background = wish->max_background ? wish->max_background : MAX_BACKGROUND_DEFAULT;
    n->congestion_threshold = wish->congestion_threshold ? wish->congestion_threshold
                                                         : (uint16_t)(n->max_background * 3u / 4u);
    n->request_timeout = min_u32(wish->request_timeout, FUSE_REQUEST_TIMEOUT_MAX);
    if (!(n->flags & FUSE_REQUEST_TIMEOUT))
        n->request_timeout = 0;
}

static int send_answer(int fd, uint64_t unique, const struct fuse_negotiated *n)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = n->minor,
        .max_readahead = n->max_readahead,
        .flags = (uint32_t)n->flags,
        .flags2 = (uint32_t)(n->flags >> 32),
        .max_background = n->max_background,
        .congestion_threshold = n->congestion_threshold,
        .max_write = n->max_write,
        .time_gran = 1,
        .max_pages = (uint16_t)n->max_pages,
    };
    uint16_t timeout = (uint16_t)n->request_timeout;

    memcpy((uint8_t *)&out + FUSE_INIT_OUT_TIMEOUT_AT, &timeout, sizeof(timeout));
    return fuse_reply_buf(fd, unique, &out, sizeof(out));
}

int fuse_init_answer(int fd, const struct fuse_init_wish *wish, unsigned timeout_ms,
                     struct fuse_negotiated *ret_negotiated, struct err *err)
{
    uint64_t deadline_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
    struct init_offer offer = {.unique = 0};
    struct fuse_negotiated n;
    int r = read_offer(fd, deadline_ns, &offer, err);

    if (r == 1) /* version 7 was sent: the kernel repeats INIT with it */
        r = read_offer(fd, deadline_ns, &offer, err);
    if (r < 0)
        return r;
    if (r == 1 || offer.in.major < FUSE_KERNEL_VERSION || offer.in.minor < FUSE_MINOR_OLDEST)
        return init_refuse(fd, offer.unique, err,
                           "the kernel's FUSE version is not supported: Linux 5.4 "
                           "or newer is needed");

    negotiate(wish, &offer, &n);
    r = send_answer(fd, offer.unique, &n);
    if (r < 0)
        return err_set(err, r == -ENOENT ? ENODEV : -r, "replying to FUSE_INIT: %s",
                       r == -ENOENT ? "unmounted meanwhile" : strerror(-r));
    *ret_negotiated = n;
    return 0;
}
