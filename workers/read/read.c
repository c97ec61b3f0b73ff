/* What a READ has to read, and from where. A file that is open for writing is read from its spool,
 * any other from blocks (read_blocks.c). read_plan.c decides how far to read ahead. */
#include "workers/read/read.h"

#include <errno.h>
#include <stdlib.h>

#include "shm/shm_patch.h"
#include "shm/shm_session.h"
#include "workers/op/spool.h"
#include "workers/read/ahead.h"
#include "workers/read/fetch.h"
#include "workers/read/read_blocks.h"

/* Of the pool: the rest is for what was read lately, for listings, and for reads that cannot
 * wait. */
#define WINDOW_MUL 3
#define WINDOW_DIV 4
#define WINDOW_LEAST (2 * SHM_BLOCK_SIZE)

#define BUSY_MUCH 850
#define GETS_BUSY 4

enum look_kind { LOOK_FAILED, LOOK_SPOOL, LOOK_BLOCKS };

/* Where the bytes are. */
struct source {
    enum look_kind kind;
    int error;                          /* FAILED */
    uint32_t session, generation, cuts; /* SPOOL */
};

/* ---- looking ---- */

static uint64_t read_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void cut(struct read_what *l, uint64_t size, const struct read_args *in)
{
    l->size = size;
    l->off = in->off;
    l->len = 0;
    if (in->off < size)
        l->len = size - in->off < in->size ? (uint32_t)(size - in->off) : in->size;
}

/* The size of a file that is read from blocks: that of its object on S3, or of the object that the
 * file will be a copy of. */
static uint64_t size_of(struct worker *w, const struct shm_node *n)
{
    const struct shm_session *s = n->session == SHM_NIL ? NULL : shm_session_at(w->shm, n->session);

    return s && s->content == SHM_CONTENT_COPY ? s->size : n->size;
}

bool read_is_from_session(struct worker *w, const struct shm_node *n)
{
    const struct shm_session *s = n->session == SHM_NIL ? NULL : shm_session_at(w->shm, n->session);

    return s && shm_session_is_loaded(s) && !s->held_from;
}

/* The parts of a file that is being streamed are not on S3 as an object, and no longer here. */
static bool is_on_its_way(struct worker *w, const struct shm_node *n)
{
    const struct shm_session *s = n->session == SHM_NIL ? NULL : shm_session_at(w->shm, n->session);

    return s && s->held_from && ((n->flags & SHM_NODE_LOCAL) || shm_session_dirty(s));
}

struct read_limits read_limits(const struct worker *w)
{
    uint64_t pool = (uint64_t)w->shm->header->sizes.blocks * SHM_BLOCK_SIZE;
    const struct conf *c = w->conf;
    uint64_t window = c->read.part_size * c->read.concurrency;

    return (struct read_limits){
        .whole = read_least(c->read.whole_limit, pool / 4),
        .window = (uint32_t)read_least(read_least(window, pool / WINDOW_DIV * WINDOW_MUL),
                                       UINT32_MAX / 2),
        .part = (uint32_t)c->read.part_size,
        .gets = c->read.concurrency,
        .random =
            (uint32_t)(read_least(c->read.random_size, pool / 8) / SHM_BLOCK_SIZE * SHM_BLOCK_SIZE),
    };
}

void read_limits_share(struct read_limits *lim, uint32_t readers, uint32_t busy)
{
    lim->window = (uint32_t)(lim->window / readers);
    if (lim->window < WINDOW_LEAST)
        lim->window = WINDOW_LEAST;
    if (busy >= BUSY_MUCH && lim->gets > GETS_BUSY)
        lim->gets = GETS_BUSY;
}

/* Under shm->meta. A file that is changed in place: what of the read is not in the spool. False:
 * all of it is there. (A unit is larger than a read: so what is missing is in one piece.) */
static bool look_at_patch(struct worker *w, uint32_t session, struct read_what *l)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    struct shm_patch_piece piece = shm_patch_lacks(w->shm, session, l->off, l->off + l->len);

    if (!piece.len)
        return false;
    l->session = session;
    l->generation = s->generation;
    l->cuts = s->cuts;
    l->before = (uint32_t)(piece.off - l->off);
    l->after = (uint32_t)(l->off + l->len - piece.off - piece.len);
    l->off = piece.off;
    l->len = (uint32_t)piece.len;
    l->size = shm_node_at(w->shm, s->node)->size;
    return true;
}

static bool is_patch(struct worker *w, const struct shm_node *n)
{
    return n->session != SHM_NIL &&
           shm_session_at(w->shm, n->session)->content == SHM_CONTENT_PATCH;
}

/* Under shm->meta. `first`: notes the read in the handle; *ret_wants: it is time to read on
 * ahead. */
static void read_look(struct op *op, const struct read_args *in, struct source *from,
                      struct read_what *l, bool first, bool *ret_wants)
{
    struct worker *w = op->w;
    uint32_t handle = shm_handle_of_fh(w->shm, in->fh, SHM_HANDLE_FILE);
    struct read_limits lim = read_limits(w);
    const struct shm_node *n;
    struct shm_handle *h;

    *from = (struct source){.kind = LOOK_FAILED, .error = -EBADF};
    *l = (struct read_what){.node = op_node(op)};
    if (handle == SHM_NIL || l->node == SHM_NIL)
        return;
    h = shm_handle_hints(w->shm, handle);
    n = shm_node_at(w->shm, l->node);
    l->content = n->content;
    l->bytes_node = n->bytes_node;
    if (read_is_from_session(w, n) || is_patch(w, n)) {
        const struct shm_session *s = shm_session_at(w->shm, n->session);

        from->kind = LOOK_SPOOL;
        from->session = n->session;
        from->generation = s->generation;
        from->cuts = s->cuts;
        cut(l, s->size, in);
        /* (The bytes of an ORPHAN are no longer those of the name.) */
        if (first && h->session == n->session && !shm_session_dirty(s) &&
            !(s->flags & SHM_SESSION_ORPHAN))
            w->variant->has_read(op, l->node, s->expect.etag);
        if (!is_patch(w, n) || !l->len || !look_at_patch(w, n->session, l))
            return;
    } else if (is_on_its_way(w, n)) {
        from->error = -EBUSY;
        return;
    } else {
        cut(l, size_of(w, n), in);
    }
    from->kind = LOOK_BLOCKS;
    if (!first || !l->len)
        return;
    l->place = read_plan_note(h, l->off, l->len);
    *ret_wants = read_plan_wants(h, l->place.stream, l->size, &lim);
}

/* ---- from the spool ---- */

/* One buffer for all reads: a reply is written before the next request is handled. */
static uint8_t *spool_buffer(const struct worker *w)
{
    static uint8_t *buffer;

    if (!buffer)
        buffer = malloc(w->shm->header->sizes.payload);
    return buffer;
}

/* While it was read, the slot may have been emptied and even reused by another session; or the file
 * was shortened and perhaps written again: then the buffer may have zeroes that no process
 * wrote. */
static bool still_there(struct worker *w, const struct source *from)
{
    const struct shm_session *s = shm_session_at(w->shm, from->session);
    bool same;

    worker_lock(w);
    same = s->state == SHM_SESSION_LIVE && s->generation == from->generation &&
           s->cuts == from->cuts && !s->held_from;
    worker_unlock(w);
    return same;
}

static void read_spool(struct op *op, const struct read_args *args, const struct source *from,
                       const struct read_what *l, unsigned restarts)
{
    struct worker *w = op->w;
    uint8_t *buf = spool_buffer(w);
    int n;

    if (!buf || l->len > w->shm->header->sizes.payload) {
        op_fail(op, buf ? -EIO : -ENOMEM);
        return;
    }
    n = l->len ? spool_read(w, from->session, buf, l->len, l->off) : 0;
    if (!still_there(w, from)) {
        read_begin(op, args, restarts + 1);
        return;
    }
    if (n < 0) {
        op_fail(op, n);
        return;
    }
    worker_count(w, SHM_STAT_READ_BYTES, (uint64_t)n);
    op_answer(op, buf, (size_t)n);
}

int read_edges(struct op *op, const struct read_what *what, struct iovec *ret_before,
               struct iovec *ret_after)
{
    const struct source from = {
        .session = what->session, .generation = what->generation, .cuts = what->cuts};
    uint8_t *buf = spool_buffer(op->w);
    int r = 0;

    if (!buf || (uint64_t)what->before + what->after > op->w->shm->header->sizes.payload)
        return buf ? -EIO : -ENOMEM;
    *ret_before = (struct iovec){buf, what->before};
    *ret_after = (struct iovec){buf + what->before, what->after};
    if (what->before)
        r = spool_read(op->w, what->session, buf, what->before, what->off - what->before);
    if (r >= 0 && what->after)
        r = spool_read(op->w, what->session, buf + what->before, what->after,
                       what->off + what->len);
    if (r >= 0 && !still_there(op->w, &from))
        r = -EAGAIN;
    return r < 0 ? r : 0;
}

void read_begin(struct op *op, const struct read_args *args, unsigned restarts)
{
    struct worker *w = op->w;
    struct read_what l;
    struct source from;
    bool wants = false;
    uint64_t fh = args->fh; /* `args` may be part of what ends with the op */

    if (restarts > READ_RESTARTS_MAX) {
        op_fail(op, -EIO);
        return;
    }
    worker_lock(w);
    read_look(op, args, &from, &l, restarts == 0, &wants);
    worker_unlock(w);
    if (from.kind == LOOK_FAILED)
        op_fail(op, from.error);
    else if (from.kind == LOOK_SPOOL)
        read_spool(op, args, &from, &l, restarts);
    else
        read_blocks(op, args, &l, restarts);
    /* After the READ itself has asked for what it lacks. (If read-ahead is not possible now, the
     * READ that needs the bytes will ask.) */
    if (wants)
        ahead_ask(w, fh, l.node, l.content, l.place.stream);
}
