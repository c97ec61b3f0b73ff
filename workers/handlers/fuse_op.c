/* Requests of the kernel as ops: see fuse_op.h. */
#include "workers/handlers/fuse_op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fuse/fuse_name.h"
#include "fuse/fuse_reply.h"
#include "s3/s3_error.h"
#include "shm/shm_handle.h"
#include "shm/shm_session.h"
#include "workers/op/failure.h"

static_assert(OP_REPLY_IOV <= FUSE_REPLY_IOV, "a reply fits");

static struct fuse_request *request_of(struct op *op)
{
    return &container_of(op, struct fuse_op, op)->req;
}

static const char *fuse_op_front_name(const struct op *op)
{
    return fuse_op_name(op->rec->opcode);
}

static size_t fuse_op_save(const struct op *op, void *dst, size_t cap)
{
    return fuse_request_save(fuse_req(op), dst, cap);
}

/* Fills what the generic part of the op needs to know of the request. */
static void fuse_op_describe(struct op *op)
{
    const struct fuse_request *req = fuse_req(op);

    op->caller.pid = req->pid;
    op->caller.uid = req->uid;
    op->caller.gid = req->gid;
    op->caller.open_flags = req->opcode == FUSE_OPEN ? req->open->flags : 0;
    op->queues = req->opcode == FUSE_READ; /* in the kernel's background queue */
    op->reserved = req->opcode == FUSE_RELEASE;
}

/* Cannot fail: the request was decoded before. */
static void fuse_op_load(struct op *op, const void *from, size_t len)
{
    if (fuse_decode_saved(from, len, request_of(op)) < 0)
        abort();
}

/* The kernel drops a request when its mount is aborted (ENOENT) or gone (ENODEV); neither is our
 * error. */
static void check_sent(const struct op *op, int r)
{
    if (r < 0 && r != -ENOENT && r != -ENODEV && r != -EPERM)
        log_warn("the kernel rejected the reply to %s: %s op=%llu", fuse_op_name(op->rec->opcode),
                 strerror(-r), (unsigned long long)op->rec->unique);
}

/* Changes of names and attributes; what a lookup, a read, a listing or an upload met is logged
 * where it happens. */
static bool has_no_line(const struct op *op)
{
    switch (op->rec->opcode) {
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_MKDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_GETXATTR:
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
        return true;
    case FUSE_SETATTR:
        /* (NULL: the request could not be decoded.) */
        return fuse_req(op)->setattr && !(fuse_req(op)->setattr->valid & FATTR_SIZE);
    default:
        return false;
    }
}

#define FULL_TOLD_NS (60 * NS_PER_S)

/* Too many files are open, of which nobody but the program hears: now and then. */
static void log_full(const struct op *op)
{
    static uint64_t told_ns; /* by this worker */
    const struct shm *shm = op->w->shm;

    if (!clock_due(&told_ns, FULL_TOLD_NS))
        return;
    log_warn("too many files are open pid=%u writing=%u sessions=%u all=%u waited_ms=%llu: close "
             "some, or raise buffer.sessions (if as many are open for writing) or memory.limit",
             op->caller.pid, shm->sessions->live, shm->header->sizes.sessions, shm->handles->live,
             (unsigned long long)((clock_mono_ns() - op->rec->started_ns) / NS_PER_MS));
}

static void log_failure(const struct op *op, int error)
{
    const struct fuse_request *req = fuse_req(op);

    if (error == -ENFILE)
        log_full(op);
    if (op->logged || op->rec->told || (!s3_may_heal(error) && error != -EACCES) ||
        !has_no_line(op))
        return;
    log_warn("%s failed name=\"%.*s\" error=\"%s\" detail=\"%s\" request_id=%s pid=%u op=%llu",
             fuse_op_name(op->rec->opcode), (int)req->name_len, req->name ? req->name : "",
             strerror(-error), failure_text(error), failure_request_id(error), op->caller.pid,
             (unsigned long long)op->rec->unique);
}

static void fuse_op_send(const struct op *op, int error, const struct iovec *iov, unsigned n)
{
    int fd = op->w->env->mount->fd;

    if (error)
        log_failure(op, error);
    if (error || n == 0)
        check_sent(op, fuse_reply_err(fd, op->rec->unique, error));
    else
        check_sent(op, fuse_reply_data(fd, op->rec->unique, iov, n));
}

/* (For a lock, EINTR would be the natural error, but the kernel turns it into "restart the system
 * call", which the program sees as errno 512 if there is no signal. With ENOLCK some programs
 * continue without the lock.) */
static int fuse_op_late_error(const struct op *op)
{
    switch (op->rec->opcode) {
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        return 0; /* no process waits for it */
    case FUSE_SETLK:
    case FUSE_SETLKW:
        return -EAGAIN;
    default:
        return -ETIMEDOUT;
    }
}

/* The kernel does not get the node in the stored reply, so the reference to it is released. */
static void fuse_op_not_told(struct op *op, const void *reply, size_t len)
{
    const struct fuse_entry_out *entry = reply;
    uint32_t node;

    if (len < sizeof(*entry))
        return;
    node = shm_node_of_id(op->w->shm, entry->nodeid);
    if (node != SHM_NIL)
        shm_node_forget(op->w->shm, node, 1);
}

static const struct op_front fuse_front = {
    .name = fuse_op_front_name,
    .save = fuse_op_save,
    .load = fuse_op_load,
    .send = fuse_op_send,
    .late_error = fuse_op_late_error,
    .not_told = fuse_op_not_told,
};

/* Decodes the request in the read area. Its length is in its own header, which is checked. */
static int decode_current(struct worker *w, struct fuse_request *req)
{
    const uint8_t *area = shm_arena_read_area(w->shm, w->slot);
    const struct fuse_in_header *head = (const void *)area;

    if (head->len > SHM_READ_HEAD + w->shm->header->sizes.payload)
        return -EPROTO;
    return fuse_decode(area, head->len, req);
}

/* The record was written by a worker that is dead now. */
static int decode_kept(struct worker *w, const struct shm_record *rec, uint32_t rec_idx,
                       struct fuse_request *req)
{
    if (rec->request_len > SHM_REQUEST_MAX)
        return -EPROTO;
    return fuse_decode_saved(shm_arena_request(w->shm, w->slot, rec_idx, rec->request_len),
                             rec->request_len, req);
}

struct op *fuse_op_begin(struct worker *w, uint32_t rec_idx)
{
    struct op *op = op_new(w, &fuse_front, rec_idx);
    struct fuse_request *req = request_of(op);
    int r;

    *req = (struct fuse_request){0};
    if (op_is_current(op))
        r = decode_current(w, req);
    else
        r = decode_kept(w, op->rec, rec_idx, req);
    if (req->head)
        op_note(op, req->unique, req->opcode, req->nodeid);
    if (r == 0) {
        fuse_op_describe(op);
        return op;
    }
    if (req->head && fuse_wants_reply(req->opcode))
        op_fail(op, r == -ENOSYS ? r : -EIO);
    else
        op_done(op);
    return NULL;
}

void fuse_op_answer_xattr(struct op *op, const void *data, size_t len)
{
    struct fuse_getxattr_out out = {.size = (uint32_t)len};

    if (fuse_req(op)->getxattr->size == 0)
        op_answer(op, &out, sizeof(out));
    else if (len > fuse_req(op)->getxattr->size)
        op_fail(op, -ERANGE);
    else if (len == 0)
        op_fail(op, 0);
    else
        op_answer(op, data, len);
}

int fuse_op_alloc(struct worker *w)
{
    uint32_t n = w->shm->header->sizes.records;
    struct fuse_op *ops = calloc(n + 1, sizeof(*ops));

    w->ops = calloc(n + 1, sizeof(struct op *));
    w->free_ops = calloc(n + 1, sizeof(struct op *));
    w->free_records = calloc(n, sizeof(*w->free_records));
    if (!ops || !w->ops || !w->free_ops || !w->free_records) {
        free(ops);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i <= n; i++)
        w->ops[i] = &ops[i].op;
    for (uint32_t i = n + 1; i-- > 0;)
        w->free_ops[w->n_free_ops++] = w->ops[i];
    for (uint32_t i = n; i-- > 0;) {
        struct shm_record *r = shm_arena_record(w->shm, w->slot, i);

        if (atomic_load(&r->state) == SHM_RECORD_READING) /* a predecessor was filling it in */
            atomic_store(&r->state, SHM_RECORD_FREE);
        if (atomic_load(&r->state) == SHM_RECORD_FREE)
            w->free_records[w->n_free_records++] = i;
    }
    return 0;
}

void fuse_op_free(struct worker *w)
{
    if (w->ops)
        free(container_of(w->ops[0], struct fuse_op, op));
    free(w->ops);
    free(w->free_ops);
    free(w->free_records);
}
