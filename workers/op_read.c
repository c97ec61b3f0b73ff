/* READ. A file that is open for writing is read from its spool, any other from blocks: if all are there, the answer
 * goes from them to the kernel at once; else the request is kept, what is missing is asked for (fetch.c), and the answer
 * is given when the last of its blocks has come.
 *
 * A kept read holds no pins: blocks are pinned only while an answer is being written. A block that is evicted before all
 * have come is fetched again; blocks that are being fetched cannot be evicted, so every reader gets on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fuse/fuse_reply.h"
#include "shm/shm_session.h"
#include "workers/fetch.h"
#include "workers/handlers.h"
#include "workers/names.h"
#include "workers/read_plan.h"
#include "workers/spool.h"

#define BLOCKS_MAX FUSE_REPLY_IOV
#define RETRY_NS (5 * NS_PER_MS) /* without a free block, or while a rename has the key in hand */
#define RESTARTS_MAX 50

enum look_kind { LOOK_FAILED, LOOK_SPOOL, LOOK_BLOCKS };

/* What the segment says of the file, and what of it is wanted. */
struct look {
    enum look_kind kind;
    int error;
    uint32_t node, content;
    uint64_t size;
    uint64_t off;
    uint32_t len; /* cut at the end of the file */
    bool sequential;
    uint32_t session, generation; /* SPOOL */
};

/* A kept read. */
struct read_job {
    struct op *op;
    struct look look;
    struct fetch_source src;
    struct fetch_wait wait;
    struct loop_timer retry;
    unsigned restarts;
};

static void begin(struct op *op, unsigned restarts);

/* ---- looking ---- */

static void cut(struct look *l, uint64_t size, const struct fuse_read_in *in)
{
    l->size = size;
    l->off = in->offset;
    l->len = 0;
    if (in->offset < size)
        l->len = size - in->offset < in->size ? (uint32_t)(size - in->offset)
                                              : in->size;
}

static bool is_session_read(struct worker *w, const struct shm_node *n)
{
    return n->session != SHM_NIL &&
           (shm_session_at(w->shm, n->session)->flags & SHM_SESSION_LOADED);
}

static struct read_limits limits(const struct worker *w)
{
    uint64_t share = (uint64_t)w->shm->header->sizes.blocks * SHM_BLOCK_SIZE / 4;
    const struct conf *c = w->conf;

    return (struct read_limits){
        .whole = c->read.whole_limit < share ? c->read.whole_limit : share,
        .window = (uint32_t)(c->read.part_size < share ? c->read.part_size : share),
    };
}

/* Under shm->meta. `first`: the read is noted in the handle, and *ahead is to be fetched, from *src. */
static void look(struct op *op, struct look *l, bool first,
                 struct read_range *ahead, struct fetch_source *src)
{
    struct worker *w = op->w;
    const struct fuse_read_in *in = op->req.read;
    uint32_t handle = shm_handle_of_fh(w->shm, in->fh, SHM_HANDLE_FILE);
    struct read_limits lim = limits(w);
    const struct shm_node *n;
    struct shm_handle *h;

    *l = (struct look){.kind = LOOK_FAILED, .node = op_node(op), .error = -EBADF};
    if (handle == SHM_NIL || l->node == SHM_NIL)
        return;
    h = shm_handle_at(w->shm, handle);
    n = shm_node_at(w->shm, l->node);
    l->content = n->content;
    if (is_session_read(w, n)) {
        const struct shm_session *s = shm_session_at(w->shm, n->session);

        l->kind = LOOK_SPOOL;
        l->session = n->session;
        l->generation = s->generation;
        cut(l, s->size, in);
        return;
    }
    l->kind = LOOK_BLOCKS;
    cut(l, n->size, in);
    if (!first || !l->len)
        return;
    l->sequential = read_plan_note(h, l->off, l->len);
    *ahead = read_plan_ahead(h, l->size, &lim);
    if (ahead->from < ahead->to && fetch_source(w, l->node, src) < 0)
        ahead->to = ahead->from;
}

/* ---- from the spool ---- */

/* One for all: an answer is written before the next request is looked at. */
static uint8_t *spool_buffer(const struct worker *w)
{
    static uint8_t *buffer;

    if (!buffer)
        buffer = malloc(w->shm->header->sizes.payload);
    return buffer;
}

/* The slot may have been emptied, and even taken by another session, while it was read. */
static bool still_there(struct worker *w, const struct look *l)
{
    const struct shm_session *s = shm_session_at(w->shm, l->session);
    bool same;

    worker_lock(w);
    same = s->state == SHM_SESSION_LIVE && s->generation == l->generation;
    worker_unlock(w);
    return same;
}

static void read_spool(struct op *op, const struct look *l, unsigned restarts)
{
    struct worker *w = op->w;
    uint8_t *buf = spool_buffer(w);
    int n;

    if (!buf || l->len > w->shm->header->sizes.payload) {
        op_fail(op, buf ? -EIO : -ENOMEM);
        return;
    }
    n = l->len ? spool_read(w, l->session, buf, l->len, l->off) : 0;
    if (!still_there(w, l)) {
        begin(op, restarts + 1);
        return;
    }
    if (n < 0) {
        op_fail(op, n);
        return;
    }
    worker_count(w, SHM_STAT_READ_BYTES, (uint64_t)n);
    op_answer(op, buf, (size_t)n);
}

/* ---- from blocks ---- */

struct pinned {
    uint32_t first, n; /* blocks of the file */
    uint32_t block[BLOCKS_MAX];
};

static struct shm_block_key key_at(const struct look *l, uint32_t no)
{
    return (struct shm_block_key){l->node, l->content, no};
}

static void unpin(struct worker *w, const struct pinned *p, uint32_t from)
{
    for (uint32_t i = from; i < p->n; i++)
        shm_block_unpin(w->shm, p->block[i], w->slot);
}

/* Pins all blocks of the read, or none and says why. From the last to the first: blocks come in order, so that a read
 * that must wait learns it, and registers for a wake, at the one that comes last. */
static enum shm_block_found pin_all(struct worker *w, const struct look *l,
                                    struct pinned *p, uint32_t *ret_no)
{
    p->first = (uint32_t)(l->off / SHM_BLOCK_SIZE);
    p->n = (uint32_t)((l->off + l->len - 1) / SHM_BLOCK_SIZE) - p->first + 1;
    for (uint32_t i = p->n; i-- > 0;) {
        enum shm_block_found found = shm_block_get(
            w->shm, key_at(l, p->first + i), w->slot, &p->block[i]);

        if (found != SHM_BLOCK_HIT) {
            *ret_no = p->first + i;
            unpin(w, p, i + 1);
            return found;
        }
    }
    return SHM_BLOCK_HIT;
}

/* What a sequential reader has read to its end is in the kernel's page cache, and hardly wanted here again. */
static void mark_spent(struct worker *w, const struct pinned *p, uint64_t end)
{
    for (uint32_t i = 0; i < p->n; i++) {
        if ((uint64_t)(p->first + i + 1) * SHM_BLOCK_SIZE <= end)
            shm_block_spent(w->shm, p->block[i]);
    }
}

static void answer(struct op *op, const struct look *l, const struct pinned *p)
{
    struct worker *w = op->w;
    uint64_t end = l->off + l->len;
    bool spent = l->sequential && l->size > SHM_BLOCK_SIZE;
    struct iovec iov[BLOCKS_MAX];
    uint32_t skip = (uint32_t)(l->off % SHM_BLOCK_SIZE), left = l->len;
    int r = 0;

    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t len = left < SHM_BLOCK_SIZE - skip ? left : SHM_BLOCK_SIZE - skip;

        if (shm_block_len(w->shm, p->block[i]) < skip + len)
            r = -EIO;
        fetch_make_present(w, p->block[i], skip + len);
        iov[i].iov_base = shm_block_data(w->shm, p->block[i]) + skip;
        iov[i].iov_len = len;
        left -= len;
        skip = 0;
    }
    worker_count(w, SHM_STAT_READ_BYTES, l->len);
    if (r < 0)
        op_fail(op, r);
    else
        op_answer_iov(op, iov, p->n);
    if (spent)
        mark_spent(w, p, end);
    unpin(w, p, 0);
}

/* ---- waiting for blocks ---- */

static void attempt(struct op *op);

static void job_free(void *state)
{
    struct read_job *job = state;

    fetch_wait_stop(&job->wait);
    loop_timer_cancel(job->op->w->loop, &job->retry);
    free(job);
}

static void drop_job(struct op *op)
{
    job_free(op->state);
    op->state = NULL;
    op_stop_waiting(op);
}

static void restart(struct op *op)
{
    unsigned restarts = ((struct read_job *)op->state)->restarts + 1;

    drop_job(op);
    begin(op, restarts);
}

static void on_retry(struct loop_timer *t)
{
    struct read_job *job =
        (struct read_job *)((char *)t - offsetof(struct read_job, retry));

    restart(job->op);
}

static void retry_soon(struct read_job *job)
{
    loop_timer_set(job->op->w->loop, &job->retry, RETRY_NS);
}

/* "Gone" or "another version" is believed only if our own side has not moved meanwhile: a publish gives the node
 * another ETag, a rename another key. */
static bool is_outdated(struct read_job *job, bool *ret_held)
{
    struct op *op = job->op;
    struct fetch_source now;
    uint32_t node;
    bool outdated = true;

    worker_lock(op->w);
    node = op_node(op);
    *ret_held = node != SHM_NIL && names_held(op->w, node, 0);
    if (node == job->src.node && !is_session_read(op->w, shm_node_at(op->w->shm, node)))
        outdated = fetch_source(op->w, node, &now) == 0 &&
                   (now.content != job->src.content ||
                    strcmp(now.etag, job->src.etag) != 0 ||
                    strcmp(now.key, job->src.key) != 0);
    worker_unlock(op->w);
    return outdated;
}

static void failed(struct read_job *job, int error)
{
    struct op *op = job->op;
    bool held = false;

    if (error != -ESTALE && error != -ENOENT) {
        op_fail(op, error);
        return;
    }
    if (job->restarts >= RESTARTS_MAX ||
        (!is_outdated(job, &held) && !held))
        op_fail(op, -ESTALE);
    else if (held)
        retry_soon(job);
    else
        restart(op);
}

static void on_fetched(struct fetch_wait *wait, int error)
{
    struct read_job *job =
        (struct read_job *)((char *)wait - offsetof(struct read_job, wait));

    if (error)
        failed(job, error);
    else
        attempt(job->op);
}

/* Asks for what is missing, and for what this reader will want next. */
static int ask(struct read_job *job)
{
    struct op *op = job->op;
    struct worker *w = op->w;
    struct look *l = &job->look;
    struct read_limits lim = limits(w);
    struct read_range range = {l->off, l->off + l->len};
    uint32_t handle;

    worker_lock(w);
    handle = shm_handle_of_fh(w->shm, op->req.read->fh, SHM_HANDLE_FILE);
    if (handle != SHM_NIL)
        range = read_plan_miss(shm_handle_at(w->shm, handle), l->off, l->len,
                               l->sequential, l->size, &lim);
    worker_unlock(w);
    return fetch_start(w, &job->src, range.from, range.to, l->off + l->len);
}

/* Waits for block `no`, by whoever it is fetched. */
static void wait_for(struct read_job *job, enum shm_block_found found, uint32_t no)
{
    struct op *op = job->op;
    int r;

    if (found == SHM_BLOCK_BUSY) {
        op_wait(op, attempt);
        return;
    }
    op_stop_waiting(op);
    if (found == SHM_BLOCK_MINE) {
        if (!fetch_wait_for(key_at(&job->look, no), &job->wait))
            retry_soon(job);
        return;
    }
    r = ask(job);
    if (r == -EAGAIN)
        retry_soon(job);
    else if (r < 0)
        op_fail(op, r);
    else
        attempt(op);
}

static void attempt(struct op *op)
{
    struct read_job *job = op->state;
    enum shm_block_found found;
    struct pinned p;
    uint32_t no = 0;

    if (job->wait.link || job->retry.armed)
        return;
    found = pin_all(op->w, &job->look, &p, &no);
    if (found == SHM_BLOCK_HIT)
        answer(op, &job->look, &p);
    else
        wait_for(job, found, no);
}

static void keep(struct op *op, const struct look *l, unsigned restarts)
{
    struct worker *w = op->w;
    struct read_job *job;
    int r;

    if (op_keep(op) < 0)
        return;
    job = calloc(1, sizeof(*job));
    if (!job) {
        op_fail(op, -ENOMEM);
        return;
    }
    *job = (struct read_job){.op = op, .look = *l, .restarts = restarts};
    job->wait.done = on_fetched;
    job->retry.on_time = on_retry;
    op->state = job;
    op->state_free = job_free;
    worker_lock(w);
    r = op_node(op) == l->node ? fetch_source(w, l->node, &job->src) : -ESTALE;
    worker_unlock(w);
    if (r < 0)
        op_fail(op, r);
    else if (job->src.content != l->content)
        restart(op);
    else
        attempt(op);
}

static void read_blocks(struct op *op, const struct look *l, unsigned restarts)
{
    enum shm_block_found found;
    struct pinned p;
    uint32_t no;

    if (l->len == 0) {
        op_answer(op, NULL, 0);
        return;
    }
    if (l->len > (BLOCKS_MAX - 1) * SHM_BLOCK_SIZE) {
        op_fail(op, -EINVAL); /* more than INIT agreed on */
        return;
    }
    found = pin_all(op->w, l, &p, &no);
    if (found == SHM_BLOCK_HIT)
        answer(op, l, &p);
    else
        keep(op, l, restarts);
}

static void begin(struct op *op, unsigned restarts)
{
    struct worker *w = op->w;
    struct read_range ahead = {0, 0};
    struct fetch_source src;
    struct look l;

    if (restarts > RESTARTS_MAX) {
        op_fail(op, -EIO);
        return;
    }
    worker_lock(w);
    look(op, &l, restarts == 0, &ahead, &src);
    worker_unlock(w);
    if (l.kind == LOOK_FAILED)
        op_fail(op, l.error);
    else if (l.kind == LOOK_SPOOL)
        read_spool(op, &l, restarts);
    else
        read_blocks(op, &l, restarts);
    /* Read-ahead that cannot be had now is asked for by the read that needs it. */
    if (ahead.from < ahead.to)
        (void)!fetch_start(w, &src, ahead.from, ahead.to, 0);
}

void op_read(struct op *op)
{
    begin(op, 0);
}
