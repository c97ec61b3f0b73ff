/* LOOKUP: resolves a name. FORGET, its counterpart, is in op_forget.c.
 *
 * lookup_known.c answers from the segment if it can; else resolve.c asks S3. With compare-and-set,
 * a caller that will write to the file gets a PRIVATE node beside the name's (cas.h,
 * "Isolation"). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "workers/attr/meta_ask.h"
#include "workers/cas/cas_nodes.h"
#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/handlers/lookup_known.h"
#include "workers/names/resolve.h"
#include "workers/names/room.h"
#include "workers/op/validity.h"
#include "workers/read/fetch.h"

#define AGAIN_MAX 16 /* maximum number of S3 replies that changes made here overtake */

struct lookup {
    struct op *op;
    struct resolve *resolve;
    struct lookup_asked asked;
    struct resolve_known known;
    /* id of the node that the kernel last got for this name, as of the request to S3 */
    uint64_t old_id;
    struct loop_timer retry;
    uint64_t since_ns; /* when S3 was first asked */
    bool wants_bytes;  /* S3 is also asked for the bytes of the file */
    unsigned again, room;
    struct resolve_result res; /* while the lookup waits for room */
    struct s3_object obj;
};

static void lookup_attempt(struct op *op);

/* ---- replying ---- */

/* Under shm->meta. Counts the lookup and stores the reply. */
static void lookup_apply(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    struct fuse_entry_out out;

    fuse_entry_out(w, node, &out);
    shm_node_ref(w->shm, node, 1);
    if (w->variant->isolates)
        cas_tells(w, node);
    op_applied(op, 0, &out, sizeof(out));
}

/* Under shm->meta. If the kernel has another node under this name, it forgets this one and repeats
 * the LOOKUP. */
static void expect_repetition(struct op *op, uint32_t node, uint64_t old_id)
{
    struct shm *shm = op->w->shm;
    uint32_t old = old_id ? shm_node_of_id(shm, old_id) : SHM_NIL;

    if (old != SHM_NIL && old != node && shm_node_at(shm, old)->nlookup)
        validity_looked(op->w, node, op->caller.pid);
}

/* Under shm->meta. The node to return: one that the caller, or a thread of its process, already
 * writes through, a new one to write through, or the name's own. Its index, or -ENOMEM. */
static int64_t node_to_tell(struct op *op, const struct lookup_asked *a, uint32_t node)
{
    uint32_t own = lookup_own(op, a, node);

    if (own != SHM_NIL)
        return own;
    if (!lookup_wants_private(op, a, node))
        return node;
    own = cas_made(op, node);
    return own != SHM_NIL ? (int64_t)own : cas_private(op, node);
}

/* Under shm->meta. 0, or -ENOMEM. */
static int apply_or_own(struct op *op, const struct lookup_asked *a, uint32_t node, uint64_t old_id)
{
    int64_t told = node_to_tell(op, a, node);

    if (told < 0)
        return (int)told;
    expect_repetition(op, (uint32_t)told, old_id);
    lookup_apply(op, (uint32_t)told);
    return 0;
}

/* Under shm->meta. An OPEN that follows at once need not ask again. (Not if only a LIST has
 * reported the file: the OPEN's GET shows whether it is a link. Nor if its first block is not in
 * the pool: a READ might find another version.) */
static void make_fresh(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (!(n->flags & SHM_NODE_DIR) && !meta_may_be_typed(w, n) && fetch_has_start(w, n))
        shm_node_edit(w->shm, node)->flags |= SHM_NODE_FRESH;
}

/* Under shm->meta. True if the name got a version that is newer than S3's reply, and what an OPEN
 * needs of it (its bytes, whether it is a link) is not here. That OPEN could fail if this version
 * were replaced, too. */
static bool lacks_much(const struct lookup *l, uint32_t node)
{
    struct worker *w = l->op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);

    return l->wants_bytes && n->checked_ns > l->known.since_ns &&
           n->checked_ns != l->known.asked_ns &&
           (meta_may_be_typed(w, n) || !fetch_has_start(w, n));
}

/* Under shm->meta. Stores the reply with the node that S3 has confirmed. 0, -ENOMEM, or -EAGAIN:
 * ask S3 again. */
static int apply_validated(struct lookup *l, uint32_t node)
{
    const struct shm_node *n = shm_node_at(l->op->w->shm, node);

    if (!(n->flags & SHM_NODE_DIR) && n->session == SHM_NIL && l->again + 1 < AGAIN_MAX &&
        (lacks_much(l, node) || lookup_is_awaited(l->op->w, node)))
        return -EAGAIN;
    make_fresh(l->op->w, node);
    return apply_or_own(l->op, &l->asked, node, l->old_id);
}

/* Under shm->meta. 1: the reply is stored (call op_finish); 0: S3 must be asked; or -errno. */
static int apply_known(struct op *op, const struct lookup_asked *a, int what,
                       const struct lookup_answer *known)
{
    struct worker *w = op->w;
    int r;

    switch (what) {
    case LOOKUP_REPEATED:
        make_fresh(w, known->node);
        lookup_apply(op, known->node);
        return 1;
    case LOOKUP_NODE:
        r = apply_or_own(op, a, known->node, known->told_id);
        return r < 0 ? r : 1;
    case LOOKUP_NOTHING:
        return -ENOENT;
    default:
        return what < 0 ? what : 0;
    }
}

/* Like apply_known; finds out what the caller wants if that matters. */
static int answer_known(struct op *op, struct lookup_asked *a, struct lookup_answer *known)
{
    struct worker *w = op->w;
    int what;

    worker_lock(w);
    while ((what = lookup_known(op, a, known)) == LOOKUP_SEE) {
        worker_unlock(w);
        lookup_see(op, a);
        worker_lock(w);
    }
    what = apply_known(op, a, what, known);
    if (what < 0)
        shm_rollback(w->shm, w->shm->meta);
    worker_unlock(w);
    return what;
}

/* ---- asking S3 ---- */

static void lookup_free(void *state)
{
    struct lookup *l = state;

    resolve_cancel(l->resolve);
    loop_timer_cancel(l->op->w->loop, &l->retry);
    free(l);
}

/* No node is free: keeps what S3 returned, except the data, until the kernel has released some. The
 * kernel releases none of this directory while this LOOKUP holds the directory's lock; hence ESTALE
 * in the end, which makes the kernel look up again. */
static void wait_for_room(struct lookup *l, const struct resolve_result *res)
{
    struct op *op = l->op;

    if (++l->room > ROOM_TRIES) {
        room_tell(op->w);
        op_fail(op, -ESTALE);
        return;
    }
    if (res != &l->res) {
        l->res = *res;
        l->res.data = NULL;
        l->res.data_len = 0;
        if (res->obj)
            l->obj = *res->obj;
        l->res.obj = res->obj ? &l->obj : NULL;
    }
    room_make(op->w);
    loop_timer_set(op->w->loop, &l->retry, ROOM_RETRY_NS);
}

static void not_settled(struct lookup *l, int error, const struct resolve_result *res)
{
    if (error == -ENOMEM)
        wait_for_room(l, res);
    else if (error == -EAGAIN && ++l->again < AGAIN_MAX)
        lookup_attempt(l->op);
    else
        op_fail(l->op, error == -EAGAIN ? -ESTALE : error);
}

/* Under shm->meta. */
static void note_seen(struct lookup *l, const struct resolve_result *res)
{
    if (res->kind == RESOLVE_FILE && res->has_meta)
        l->op->w->variant->has_seen(l->op->w, l->asked.key, res->obj);
}

/* Under shm->meta. Interns the node for the result from S3. */
static int64_t lookup_intern(struct lookup *l, const struct resolve_result *res)
{
    struct op *op = l->op;
    struct worker *w = op->w;
    uint32_t dir = op_node(op);
    int64_t r;

    if (dir == SHM_NIL)
        return -ESTALE;
    note_seen(l, res);
    r = resolve_intern(w, dir, fuse_req(op)->name, fuse_req(op)->name_len, &l->known, res);
    if (r >= 0 && res->kind != RESOLVE_NONE)
        validity_proves(w, dir, l->known.asked_ns);
    return r;
}

/* Stores the bytes that came with the result, then the reply. In the other order, if this worker
 * died in between, the READ that follows might find another version on S3. 0; -EAGAIN: the node was
 * reused, or lost its name, meanwhile; or as apply_validated. */
static int keep_and_apply(struct lookup *l, uint32_t node, uint64_t id,
                          const struct resolve_result *res)
{
    struct op *op = l->op;
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    int r = -EAGAIN;

    resolve_keep_data(w, node, res); /* if the node still has this version */
    worker_lock(w);
    if (shm_node_of_id(w->shm, id) == node && (n->flags & SHM_NODE_CURRENT))
        r = apply_validated(l, node);
    if (r < 0)
        shm_rollback(w->shm, w->shm->meta);
    worker_unlock(w);
    return r;
}

/* Not under a lock. True if the caller wants the attributes of a directory of which only a listing
 * has told. */
static bool stats_dir(struct lookup *l, const struct resolve_result *res)
{
    struct lookup_asked *a = &l->asked;

    if (res->kind != RESOLVE_DIR || res->has_meta || !(a->seen & LOOKUP_INTENT) ||
        a->intent.kind != INTENT_STAT)
        return false;
    a->wanted |= LOOKUP_PASSES;
    lookup_see(l->op, a);
    return !a->passes;
}

/* Under shm->meta. A GETATTR follows, and fetches them (op_attr.c). */
static void want_metadata(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (!(n->flags & SHM_NODE_ASK) && meta_is_unknown(w, n))
        shm_node_edit(w->shm, node)->flags |= SHM_NODE_ASK;
}

static void lookup_settle(struct lookup *l, const struct resolve_result *res)
{
    struct op *op = l->op;
    struct worker *w = op->w;
    bool stats = stats_dir(l, res);
    uint64_t id = 0;
    int64_t r;
    int e = 0;

    worker_lock(w);
    r = lookup_intern(l, res);
    if (r >= 0 && stats)
        want_metadata(w, (uint32_t)r);
    if (r >= 0 && !res->data)
        e = apply_validated(l, (uint32_t)r);
    else if (r >= 0)
        id = shm_node_id(w->shm, (uint32_t)r);
    if (e < 0)
        shm_rollback(w->shm, w->shm->meta);
    worker_unlock(w);
    if (r >= 0 && res->data)
        e = keep_and_apply(l, (uint32_t)r, id, res);
    if (r < 0 || e < 0) {
        not_settled(l, r < 0 ? (int)r : e, res);
        return;
    }
    op_finish(op);
    room_keep(w);
}

static void on_retry(struct loop_timer *t)
{
    struct lookup *l = container_of(t, struct lookup, retry);

    lookup_settle(l, &l->res);
}

static void on_resolved(void *arg, const struct resolve_result *res)
{
    struct lookup *l = arg;

    l->resolve = NULL;
    if (res->error)
        op_fail(l->op, res->error);
    else
        lookup_settle(l, res);
}

static struct lookup *kept_lookup(struct op *op)
{
    struct lookup *l = op->state;

    if (l)
        return l;
    if (op_keep(op) < 0)
        return NULL;
    l = calloc(1, sizeof(*l));
    if (!l) {
        op_fail(op, -ENOMEM);
        return NULL;
    }
    l->op = op;
    l->retry.on_time = on_retry;
    op_set_state(op, l, lookup_free);
    return l;
}

static void lookup_attempt(struct op *op)
{
    struct worker *w = op->w;
    struct lookup_asked asked = {.seen = 0};
    struct lookup_answer known;
    struct lookup *l = op->state;
    int r;

    if (l)
        asked = l->asked;
    r = answer_known(op, &asked, &known);
    if (r > 0) {
        op_finish(op);
        return;
    }
    if (r < 0) {
        op_fail(op, r);
        return;
    }
    l = kept_lookup(op);
    if (!l)
        return;
    l->asked = asked;
    l->known = known.known;
    l->since_ns = l->since_ns ? l->since_ns : l->known.asked_ns;
    l->known.since_ns = l->since_ns;
    l->old_id = known.told_id;
    l->wants_bytes = known.how == RESOLVE_GUESS || known.how == RESOLVE_AS_FILE;
    r = resolve_start(w, asked.key, known.how, l->known.etag, on_resolved, l, &l->resolve);
    if (r < 0)
        op_fail(op, r);
}

void op_lookup(struct op *op)
{
    op->w->variant->identify(op);
    lookup_attempt(op);
}
