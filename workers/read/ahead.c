/* Read-ahead is spread over the workers, so that one reader gets all connections and all CPUs: each
 * part goes to the worker that has the least to fetch. A part is an order (struct shm_order): its
 * blocks are marked first, so that every reader waits for them from then on; the other worker takes
 * them over and sends the GET. Which parts: read_plan.c; the GETs: fetch.c.
 *
 * An order can be lost only with its blocks free again: then the reader asks for them itself. */
#include "workers/read/ahead.h"

#include <stdlib.h>

#include "base/clock.h"
#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_reader.h"
#include "shm/shm_session.h"
#include "workers/read/fetch.h"
#include "workers/read/read.h"

#define ASKS_MAX 64u /* parts that one READ may ask for */
#define BUSY_NS (50 * NS_PER_MS)
#define BUSY_WHOLE 1000u

/* Under shm->meta. Where the bytes of this content are: false if the node has other content by now,
 * or is gone. */
static bool source_of(struct worker *w, uint32_t node, uint32_t content, struct fetch_source *ret)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    return n->state == SHM_NODE_LIVE && n->content == content && !read_is_from_session(w, n) &&
           fetch_source(w, node, ret) == 0;
}

/* ---- who fetches ---- */

static uint32_t load_of(struct worker *w, uint32_t slot)
{
    return shm_arena_of(w->shm, slot)->fetching + shm_order_waiting(w->shm, slot);
}

/* The worker that has the least to fetch; this one if it is not worse. */
static uint32_t least_loaded(struct worker *w)
{
    uint32_t best = w->slot, least = load_of(w, w->slot);

    for (uint32_t i = 0; i < w->shm->header->sizes.workers; i++) {
        uint32_t load = i == w->slot ? least : load_of(w, i);

        if (load < least) {
            best = i;
            least = load;
        }
    }
    return best;
}

/* Some connections are left to reads that cannot wait. */
static bool ahead_has_room(const struct worker *w)
{
    return fetch_running() < 1 + w->conf->s3.connections * 3 / 4;
}

/* ---- orders ---- */

/* Marks blocks from `no` up to `end`, as far as they are unknown and there is room. Their
 * number. */
static uint32_t mark_run(struct worker *w, struct shm_block_key key, uint32_t end)
{
    uint32_t n = 0;

    while (key.no < end && n < FETCH_RUN_MAX && !fetch_is_much(w) &&
           shm_block_order(w->shm, key, w->slot) != SHM_NIL) {
        key.no++;
        n++;
    }
    return n;
}

/* Takes the blocks of an order, and fetches those that are still to be fetched; src NULL: gives
 * them up. */
static void ahead_fetch(struct worker *w, const struct shm_order *o, const struct fetch_source *src)
{
    uint32_t block[FETCH_RUN_MAX], n = 0;
    struct shm_block_key key = o->first;

    for (uint32_t i = 0; i <= o->n; i++, key.no++) {
        uint32_t idx = i < o->n ? shm_block_take(w->shm, key, w->slot) : SHM_NIL;

        if (idx != SHM_NIL)
            block[n++] = idx;
        if (n == 0 || (idx != SHM_NIL && n < FETCH_RUN_MAX))
            continue;
        if (!src)
            fetch_give_up(w, block, n);
        else
            (void)!fetch_blocks(w, src, key.no + (idx != SHM_NIL) - n, block, n);
        n = 0;
    }
}

static void post(struct worker *w, const struct shm_order *o, const struct fetch_source *src)
{
    uint32_t slot = least_loaded(w);

    if (!ahead_has_room(w) || slot != w->slot) {
        if (shm_order_post(w->shm, slot, o)) {
            worker_wake(w, UINT32_C(1) << slot);
            return;
        }
    }
    ahead_fetch(w, o, src);
}

static void order(struct worker *w, const struct fetch_source *src, struct read_range r)
{
    struct shm_order o = {.of = src->of, .first = {src->node, src->content, 0}};
    uint32_t no = (uint32_t)(r.from / SHM_BLOCK_SIZE);
    uint32_t end = (uint32_t)((r.to + SHM_BLOCK_SIZE - 1) / SHM_BLOCK_SIZE);

    while (no < end && !fetch_is_much(w)) {
        o.first.no = no;
        o.n = mark_run(w, o.first, end);
        if (o.n > 0)
            post(w, &o, src);
        no += o.n > 0 ? o.n : 1; /* known */
    }
}

void ahead_take_orders(struct worker *w)
{
    struct shm_order o;

    while (ahead_has_room(w) && shm_order_look(w->shm, w->slot, &o)) {
        struct fetch_source src;
        bool good;

        worker_lock(w);
        good = source_of(w, o.of, o.first.content, &src) && src.node == o.first.node;
        worker_unlock(w);
        ahead_fetch(w, &o, good ? &src : NULL);
        shm_order_drop(w->shm, w->slot);
    }
}

/* ---- asking ---- */

static uint32_t busy_of_all(const struct worker *w)
{
    uint32_t n = w->shm->header->sizes.workers, sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += shm_arena_of(w->shm, i)->busy;
    return sum / n;
}

/* Under shm->meta. The parts to ask for now, up to ASKS_MAX. */
static uint32_t plan(struct worker *w, uint32_t handle, uint32_t stream,
                     const struct fetch_source *src, struct read_range part[ASKS_MAX])
{
    struct shm_handle *h = shm_handle_hints(w->shm, handle);
    const struct shm_stream *s = &h->stream[stream];
    struct read_limits lim = read_limits(w);
    struct shm_reader reader = {.start = s->start, .off = s->next, .seen_ns = clock_mono_ns()};
    uint64_t end;
    uint32_t n = 0;

    reader.node = src->node;
    reader.content = src->content;
    read_limits_share(&lim, shm_reader_note(w->shm, &reader, lim.part, &end), busy_of_all(w));
    end = end < src->size ? end : src->size;
    while (n < ASKS_MAX) {
        part[n] = read_plan_ahead(h, stream, end, &lim);
        if (part[n].from >= part[n].to)
            break;
        n++;
    }
    return n;
}

void ahead_ask(struct worker *w, uint64_t fh, uint32_t node, uint32_t content, uint32_t stream)
{
    struct read_range part[ASKS_MAX];
    struct fetch_source src;
    uint32_t handle, n = 0;

    ahead_note_busy(w);
    worker_lock(w);
    handle = shm_handle_of_fh(w->shm, fh, SHM_HANDLE_FILE);
    if (handle != SHM_NIL && source_of(w, node, content, &src))
        n = plan(w, handle, stream, &src, part);
    worker_unlock(w);
    for (uint32_t i = 0; i < n; i++)
        order(w, &src, part[i]);
}

/* ---- how busy ---- */

void ahead_note_busy(struct worker *w)
{
    static uint64_t since_ns, waited_ns; /* one process is one worker */
    uint64_t now = clock_mono_ns(), waited, span = now - since_ns;
    uint32_t busy;

    if (span < BUSY_NS)
        return;
    waited = loop_waited_ns(w->loop) - waited_ns;
    busy = waited >= span ? 0 : BUSY_WHOLE - (uint32_t)(waited * BUSY_WHOLE / span);
    /* a second alone counts for what it is */
    w->arena->busy = span >= NS_PER_S ? busy : (w->arena->busy * 3 + busy) / 4;
    since_ns = now;
    waited_ns += waited;
}
