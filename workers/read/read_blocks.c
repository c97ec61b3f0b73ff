/* Reads from blocks. If all are present, the reply goes from them to the kernel immediately; else
 * the request is kept, the missing blocks are fetched (fetch.c), and the reply is sent when the
 * last of them has arrived.
 *
 * A kept read holds no pins: blocks are pinned only while a reply is being written. A block that is
 * evicted before all have arrived is fetched again; blocks that are being fetched cannot be
 * evicted, so every reader makes progress. */
#include "workers/read/read_blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "workers/op/hold.h"
#include "workers/read/fetch.h"
#include "workers/read/read.h"
#include "workers/read/version_id.h"

#define BLOCKS_MAX (OP_REPLY_IOV - 2) /* (and what the spool has before and after them) */
#define RETRY_NS (5 * NS_PER_MS) /* if no block is free, or while a rename has locked the key */

/* A kept read. */
struct read_job {
    struct op *op;
    struct read_args args;
    struct read_what what;
    struct fetch_source src;
    struct fetch_wait wait;
    struct loop_timer retry;
    unsigned restarts;
};

struct pinned {
    uint32_t first, n; /* blocks of the file */
    uint32_t block[BLOCKS_MAX];
};

static struct shm_block_key key_at(const struct read_what *l, uint32_t no)
{
    return (struct shm_block_key){l->bytes_node, l->content, no};
}

static void unpin(struct worker *w, const struct pinned *p, uint32_t from)
{
    for (uint32_t i = from; i < p->n; i++)
        shm_block_unpin(w->shm, p->block[i], w->slot);
}

/* Pins all blocks of the read; or none, and returns the reason. From the last to the first: blocks
 * arrive in order, so a read that must wait registers for the wake-up at the block that arrives
 * last. */
static enum shm_block_found pin_all(struct worker *w, const struct read_what *l, struct pinned *p,
                                    uint32_t *ret_no)
{
    p->first = (uint32_t)(l->off / SHM_BLOCK_SIZE);
    p->n = (uint32_t)((l->off + l->len - 1) / SHM_BLOCK_SIZE) - p->first + 1;
    for (uint32_t i = p->n; i-- > 0;) {
        enum shm_block_found found =
            shm_block_get(w->shm, key_at(l, p->first + i), w->slot, &p->block[i]);

        if (found != SHM_BLOCK_HIT) {
            *ret_no = p->first + i;
            unpin(w, p, i + 1);
            return found;
        }
    }
    return SHM_BLOCK_HIT;
}

/* A block that a reader in order, or in steps, has passed is in the kernel's page cache, and will
 * hardly be needed here again. */
static void mark_spent(struct worker *w, const struct pinned *p, const struct read_what *l)
{
    uint64_t end = l->off + l->len;

    if (l->size <= SHM_BLOCK_SIZE || (!l->place.sequential && !l->place.steady))
        return;
    for (uint32_t i = 0; i < p->n; i++) {
        uint64_t from = (uint64_t)(p->first + i) * SHM_BLOCK_SIZE;

        if (from + SHM_BLOCK_SIZE <= end || end == l->size || (l->place.steady && from >= l->off))
            shm_block_spent(w->shm, p->block[i]);
    }
}

/* 0; or -EAGAIN, and nothing was done: look again. */
static int read_blocks_answer(struct op *op, const struct read_what *l, const struct pinned *p)
{
    struct worker *w = op->w;
    struct read_what what = *l; /* the answer ends the op, and frees it */
    struct iovec iovs[OP_REPLY_IOV], *iov = iovs + 1;
    uint32_t skip = (uint32_t)(l->off % SHM_BLOCK_SIZE), left = l->len;
    bool edges = l->before || l->after;
    int r = edges ? read_edges(op, l, &iovs[0], &iovs[1 + p->n]) : 0;

    if (r == -EAGAIN) {
        unpin(w, p, 0);
        return r;
    }

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
    worker_count(w, SHM_STAT_READ_BYTES, l->before + l->len + l->after);
    if (r < 0)
        op_fail(op, r);
    else if (edges)
        op_answer_iov(op, iovs, p->n + 2);
    else
        op_answer_iov(op, iov, p->n);
    mark_spent(w, p, &what);
    unpin(w, p, 0);
    return 0;
}

/* ---- waiting for blocks ---- */

static void read_blocks_attempt(struct op *op);

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
    const struct read_job *job = op->state;
    struct read_args args = job->args;
    unsigned restarts = job->restarts + 1;

    drop_job(op);
    read_begin(op, &args, restarts);
}

static void on_retry(struct loop_timer *t)
{
    struct read_job *job = container_of(t, struct read_job, retry);

    restart(job->op);
}

static void retry_soon(struct read_job *job)
{
    loop_timer_set(job->op->w->loop, &job->retry, RETRY_NS);
}

/* Under shm->meta. The file is being published: S3 may have the new version already, and the node
 * not yet. This worker will be woken at the end. */
static bool is_being_published(struct op *op)
{
    uint32_t node = op_node(op);

    return node != SHM_NIL && hold_next_publishing(op->w, 0, node) != SHM_NIL;
}

/* "Gone" or "another version" counts only if nothing has changed on our own side meanwhile: a
 * publish gives the node another ETag, a rename another key. */
static bool is_outdated(struct read_job *job, bool *ret_held, bool *ret_published)
{
    struct op *op = job->op;
    struct fetch_source now;
    uint32_t node;
    bool outdated = true;

    worker_lock(op->w);
    node = op_node(op);
    *ret_held = node != SHM_NIL && hold_is_taken(op->w, node, 0);
    if (node == job->what.node && !read_is_from_session(op->w, shm_node_at(op->w->shm, node)))
        outdated = fetch_source(op->w, node, &now) == 0 &&
                   (now.content != job->src.content || strcmp(now.etag, job->src.etag) != 0 ||
                    strcmp(now.key, job->src.key) != 0);
    *ret_published = !outdated && is_being_published(op);
    worker_unlock(op->w);
    return outdated;
}

/* A copy that the server made (op_copy_range.c) is still open for writing, but no longer on S3: the
 * next LOOKUP of its name must find what is there now. (For other files S3 is asked anyway; a copy
 * that has not been made yet keeps its name, and its close will report the error.) */
static void give_up_name(struct op *op)
{
    struct shm *shm = op->w->shm;
    const struct shm_node *n;
    uint32_t node;

    worker_lock(op->w);
    node = op_node(op);
    n = node == SHM_NIL ? NULL : shm_node_at(shm, node);
    if (n && n->session != SHM_NIL && (n->flags & SHM_NODE_CURRENT) && !op->w->variant->isolates &&
        !read_is_from_session(op->w, n) &&
        shm_session_at(shm, n->session)->content != SHM_CONTENT_COPY) {
        shm_node_list_stale(shm, n->parent);
        shm_node_detach(shm, node);
    }
    worker_unlock(op->w);
}

static void after_publish(struct op *op)
{
    bool wait;

    worker_lock(op->w);
    wait = is_being_published(op);
    worker_unlock(op->w);
    if (!wait)
        restart(op);
}

static void failed(struct read_job *job, int error)
{
    struct op *op = job->op;
    bool held = false, published = false;

    if (error != -ESTALE && error != -ENOENT) {
        op_fail(op, error);
        return;
    }
    if (job->restarts >= READ_RESTARTS_MAX ||
        (!is_outdated(job, &held, &published) && !held && !published)) {
        give_up_name(op);
        op_fail(op, -ESTALE);
    } else if (published)
        op_wait(op, after_publish);
    else if (held)
        retry_soon(job);
    else
        restart(op);
}

static void on_fetched(struct fetch_wait *wait, int error)
{
    struct read_job *job = container_of(wait, struct read_job, wait);

    if (error)
        failed(job, error);
    else
        read_blocks_attempt(job->op);
}

/* Fetches what is missing. */
static int read_blocks_ask(struct read_job *job)
{
    struct op *op = job->op;
    struct worker *w = op->w;
    struct read_what *l = &job->what;
    struct read_limits lim = read_limits(w);
    struct read_range range = {l->off, l->off + l->len};
    uint32_t handle;

    worker_lock(w);
    handle = shm_handle_of_fh(w->shm, job->args.fh, SHM_HANDLE_FILE);
    if (handle != SHM_NIL)
        range = read_plan_miss(shm_handle_hints(w->shm, handle), l->place, l->off, l->len, l->size,
                               &lim);
    version_id_choose(w, &job->src); /* it may be known by now that the key has another object */
    worker_unlock(w);
    return fetch_start(w, &job->src, range.from, range.to, l->off + l->len);
}

/* Waits for block `no`, whichever worker fetches it. */
static void wait_for(struct read_job *job, enum shm_block_found found, uint32_t no)
{
    struct op *op = job->op;
    int r;

    if (found == SHM_BLOCK_BUSY) {
        op_wait(op, read_blocks_attempt);
        return;
    }
    op_stop_waiting(op);
    if (found == SHM_BLOCK_MINE) {
        if (!fetch_wait_for(key_at(&job->what, no), &job->wait))
            retry_soon(job);
        return;
    }
    r = read_blocks_ask(job);
    if (r == -EAGAIN)
        retry_soon(job);
    else if (r < 0)
        op_fail(op, r);
    else
        read_blocks_attempt(op);
}

static void read_blocks_attempt(struct op *op)
{
    struct read_job *job = op->state;
    enum shm_block_found found;
    struct pinned p;
    uint32_t no = 0;

    if (job->wait.link || job->retry.armed)
        return;
    found = pin_all(op->w, &job->what, &p, &no);
    if (found != SHM_BLOCK_HIT)
        wait_for(job, found, no);
    else if (read_blocks_answer(op, &job->what, &p) == -EAGAIN)
        restart(op);
}

static void keep(struct op *op, const struct read_args *args, const struct read_what *l,
                 unsigned restarts)
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
    *job = (struct read_job){.op = op, .args = *args, .what = *l, .restarts = restarts};
    job->wait.done = on_fetched;
    job->retry.on_time = on_retry;
    op_set_state(op, job, job_free);
    worker_lock(w);
    r = op_node(op) == l->node ? fetch_source(w, l->node, &job->src) : -ESTALE;
    worker_unlock(w);
    if (r < 0)
        op_fail(op, r);
    else if (job->src.content != l->content)
        restart(op);
    else
        read_blocks_attempt(op);
}

void read_blocks(struct op *op, const struct read_args *args, const struct read_what *l,
                 unsigned restarts)
{
    enum shm_block_found found;
    struct pinned p;
    uint32_t no;

    if (l->len == 0) {
        op_answer(op, NULL, 0);
        return;
    }
    if (l->len > (BLOCKS_MAX - 1) * SHM_BLOCK_SIZE) {
        op_fail(op, -EINVAL); /* more than was negotiated in INIT */
        return;
    }
    found = pin_all(op->w, l, &p, &no);
    if (!restarts)
        worker_count(op->w, found == SHM_BLOCK_HIT ? SHM_STAT_POOL_HITS : SHM_STAT_POOL_MISSES, 1);
    if (found != SHM_BLOCK_HIT)
        keep(op, args, l, restarts);
    else if (read_blocks_answer(op, l, &p) == -EAGAIN)
        read_begin(op, args, restarts + 1);
}
