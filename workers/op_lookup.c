/* LOOKUP: what a name is. FORGET, the other half of it: op_forget.c.
 *
 * A name is answered from the segment when
 *   - it is being written here (last write wins: everybody sees writes at once), or exists here
 *     only,
 *   - it was validated just now, and the kernel only repeats the LOOKUP (LOOKED),
 *   - it is a directory that was seen within directories.ttl,
 *   - its directory was listed completely within directories.ttl: then also a name that was not
 *     in it is answered,
 *   - it was validated within cache.open_ttl,
 *   - compare-and-set: the caller has just read or written this version. An OPEN that follows asks,
 *     unless it truncates, so that reading, changing and writing a file are one GET and one PUT.
 * Else S3 is asked (resolve.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_reopen.h"
#include "workers/cas.h"
#include "workers/handlers.h"
#include "workers/key.h"
#include "workers/lineage.h"
#include "workers/meta_ask.h"
#include "workers/names.h"
#include "workers/node_attr.h"
#include "workers/resolve.h"
#include "workers/room.h"
#include "workers/validity.h"

#define AGAIN_MAX 4 /* answers overtaken by changes made here */

struct lookup {
    struct op *op;
    struct resolve *resolve;
    struct resolve_known known;
    uint64_t old_id; /* of the name's node when S3 was asked */
    struct loop_timer retry;
    unsigned again, room;
    struct resolve_result res; /* while it waits for room */
    struct s3_object obj;
};

static void attempt(struct op *op);

/* ---- answering ---- */

/* Under shm->meta: counts the lookup and stores the answer. */
static void apply(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    struct fuse_entry_out out;

    node_entry_out(w, node, &out);
    shm_node_ref(w->shm, node, 1);
    op_applied(op, 0, &out, sizeof(out));
}

/* Under shm->meta: from S3, so an OPEN that follows at once need not ask again (unless it is a
 * LIST that told: the OPEN's GET then tells whether this is a link). When the name
 * had another node that the kernel knows, it forgets this one and looks up once more. */
static void apply_validated(struct op *op, uint32_t node, uint64_t old_id)
{
    struct shm *shm = op->w->shm;
    struct shm_node *n = shm_node_edit(shm, node);
    uint32_t old = old_id ? shm_node_of_id(shm, old_id) : SHM_NIL;

    if (!(n->flags & SHM_NODE_DIR) && !meta_may_be_link(op->w, n))
        n->flags |= SHM_NODE_FRESH;
    if ((n->flags & SHM_NODE_DIR) && n->nlookup && meta_is_unknown(op->w, n))
        n->flags |= SHM_NODE_ASK;
    if (old != SHM_NIL && old != node && shm_node_at(shm, old)->nlookup)
        validity_looked(op->w, node, op->req.pid);
    apply(op, node);
}

/* ---- from the segment ---- */

enum known { KNOWN_NODE, KNOWN_AGAIN, KNOWN_NOTHING, UNKNOWN }; /* AGAIN: a repeated LOOKUP */

static enum known in_listing(struct worker *w, uint32_t dir, uint32_t node,
                             uint64_t now)
{
    const struct shm_node *d = shm_node_at(w->shm, dir);

    if (!(d->flags & SHM_NODE_COMPLETE) ||
        !validity_holds(d->listed_ns, w->conf->directories.ttl_ns, now))
        return UNKNOWN;
    if (node == SHM_NIL)
        return KNOWN_NOTHING;
    return shm_node_at(w->shm, node)->checked_ns >= d->listed_ns ? KNOWN_NODE
                                                                : UNKNOWN;
}

/* Under shm->meta. With compare-and-set a node serves one caller: the repeated LOOKUP must be of
 * the same one. */
static bool may_repeat(struct op *op, const struct shm_node *n)
{
    return !cas_on(op->w) || (n->flags & SHM_NODE_DIR) || n->looked_by == op->req.pid;
}

/* Under shm->meta. */
static enum known look(struct op *op, uint32_t dir, uint32_t node, uint64_t now)
{
    struct worker *w = op->w;
    struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);
    bool is_dir = n && (n->flags & SHM_NODE_DIR);

    if (n && (n->session != SHM_NIL || (n->flags & SHM_NODE_LOCAL)))
        return KNOWN_NODE;
    if (n && may_repeat(op, n) && validity_take(w, node, SHM_NODE_LOOKED, now)) {
        if (!is_dir && !meta_may_be_link(w, n))
            shm_node_edit(w->shm, node)->flags |= SHM_NODE_FRESH;
        return KNOWN_AGAIN;
    }
    if (n && validity_holds(n->checked_ns,
                            is_dir ? w->conf->directories.ttl_ns
                                   : w->conf->cache.open_ttl_ns,
                            now))
        return KNOWN_NODE;
    return in_listing(w, dir, node, now);
}

/* Under shm->meta. */
static bool just_seen(struct op *op, const char *key, uint32_t node)
{
    struct worker *w = op->w;
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);

    if (!cas_on(w) || !n || (n->flags & SHM_NODE_DIR) || meta_may_be_link(w, n) ||
        shm_reopen_waits(w->shm, op->req.pid, n->ino) ||
        !validity_holds(n->checked_ns, VALIDITY_NEXT_NS, clock_mono_ns()))
        return false;
    return cas_own_is(op, key, n->etag);
}

/* Under shm->meta. 1, or -ENOMEM. */
static int apply_known(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    int64_t own = cas_on(w) ? cas_private(w, node) : (int64_t)node;

    if (own < 0)
        return (int)own;
    apply(op, (uint32_t)own);
    return 1;
}

/* Under shm->meta: 1: answered (op_finish), 0: S3 is to be asked, or -errno. Fills what that
 * takes. */
static int answer_known(struct op *op, char key[KEY_CAP],
                        struct resolve_known *known, enum resolve_how *how)
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op), node;
    int r;

    if (dir == SHM_NIL)
        return -ESTALE;
    if (!(shm_node_at(w->shm, dir)->flags & SHM_NODE_DIR))
        return -ENOTDIR;
    r = key_of_name(w, dir, op->req.name, op->req.name_len, key);
    if (r < 0)
        return r;
    names_wanted(w, dir);
    if (cas_on(w)) {
        node = cas_own_session(op, dir, op->req.name, op->req.name_len);
        if (node != SHM_NIL) {
            apply(op, node);
            return 1;
        }
    }
    node = shm_node_find(w->shm, dir, op->req.name, op->req.name_len);
    if (just_seen(op, key, node))
        return apply_known(op, node);
    switch (look(op, dir, node, clock_mono_ns())) {
    case KNOWN_AGAIN:
        apply(op, node);
        return 1;
    case KNOWN_NODE:
        return apply_known(op, node);
    case KNOWN_NOTHING:
        return -ENOENT;
    case UNKNOWN:
        break;
    }
    resolve_note(w, node, known);
    if (cas_on(w)) /* another node is to have the bytes */
        known->etag[0] = '\0';
    *how = node == SHM_NIL ? RESOLVE_GUESS
           : shm_node_at(w->shm, node)->flags & SHM_NODE_DIR ? RESOLVE_NO_DATA
                                                             : RESOLVE_AS_FILE;
    return 0;
}

/* ---- asking ---- */

static void lookup_free(void *state)
{
    struct lookup *l = state;

    resolve_cancel(l->resolve);
    loop_timer_cancel(l->op->w->loop, &l->retry);
    free(l);
}

/* No node is free: keeps what S3 said, but for the data, until the kernel has given some back.
 * It gives back none of this directory as long as this LOOKUP holds its lock; hence ESTALE at
 * last, upon which the kernel looks up again. */
static void wait_for_room(struct lookup *l, const struct resolve_result *res)
{
    struct op *op = l->op;

    if (++l->room > ROOM_TRIES) {
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
        attempt(l->op);
    else
        op_fail(l->op, error == -EAGAIN ? -ESTALE : error);
}

/* Under shm->meta, compare-and-set: the lineage of what was found, and a node of our own for it. */
static void note_seen(struct lookup *l, uint32_t dir, const struct resolve_result *res)
{
    struct op *op = l->op;
    struct worker *w = op->w;
    uint32_t node = shm_node_find(w->shm, dir, op->req.name, op->req.name_len);
    char key[KEY_CAP];

    if (res->kind != RESOLVE_FILE)
        return;
    if (res->has_meta && key_of_name(w, dir, op->req.name, op->req.name_len, key) == 0)
        cas_saw(w, key, res->obj->etag, s3_object_meta(res->obj, LINEAGE_META));
    if (node == SHM_NIL) {
        l->known.node_id = 0;
        return;
    }
    cas_make_way(w, node, res->obj->etag);
    node = shm_node_find(w->shm, dir, op->req.name, op->req.name_len);
    l->known.node_id = node == SHM_NIL ? 0 : shm_node_id(w->shm, node);
}

/* Under shm->meta: the node of what S3 has said. */
static int64_t intern(struct lookup *l, const struct resolve_result *res)
{
    struct op *op = l->op;
    uint32_t dir = op_node(op);

    if (dir == SHM_NIL)
        return -ESTALE;
    if (cas_on(op->w))
        note_seen(l, dir, res);
    return resolve_intern(op->w, dir, op->req.name, op->req.name_len, &l->known, res);
}

/* Keeps the bytes that came with the answer, then answers. Not the other way round: had this worker
 * died in between, the READ that follows might find another version on S3. 0, or -EAGAIN: somebody
 * else has had the node meanwhile. */
static int keep_and_apply(struct lookup *l, uint32_t node, uint64_t id,
                          const struct resolve_result *res)
{
    struct op *op = l->op;
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    bool good;

    resolve_keep_data(w, node, res); /* if it is still of this version */
    worker_lock(w);
    good = shm_node_of_id(w->shm, id) == node && (n->flags & SHM_NODE_CURRENT) &&
           !(cas_on(w) && cas_in_use(n));
    if (good)
        apply_validated(op, node, l->old_id);
    worker_unlock(w);
    return good ? 0 : -EAGAIN;
}

static void settle(struct lookup *l, const struct resolve_result *res)
{
    struct op *op = l->op;
    struct worker *w = op->w;
    uint64_t id = 0;
    int64_t r;

    worker_lock(w);
    r = intern(l, res);
    if (r >= 0 && !res->data)
        apply_validated(op, (uint32_t)r, l->old_id);
    else if (r >= 0)
        id = shm_node_id(w->shm, (uint32_t)r);
    worker_unlock(w);
    if (r >= 0 && res->data)
        r = keep_and_apply(l, (uint32_t)r, id, res);
    if (r < 0) {
        not_settled(l, (int)r, res);
        return;
    }
    op_finish(op);
    room_keep(w);
}

static void on_retry(struct loop_timer *t)
{
    struct lookup *l =
        (struct lookup *)((char *)t - offsetof(struct lookup, retry));

    settle(l, &l->res);
}

static void on_resolved(void *arg, const struct resolve_result *res)
{
    struct lookup *l = arg;

    l->resolve = NULL;
    if (res->error)
        op_fail(l->op, res->error);
    else
        settle(l, res);
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
    op->state = l;
    op->state_free = lookup_free;
    return l;
}

static void attempt(struct op *op)
{
    struct worker *w = op->w;
    enum resolve_how how = RESOLVE_GUESS;
    struct resolve_known known;
    char key[KEY_CAP];
    struct lookup *l;
    int r;

    worker_lock(w);
    r = answer_known(op, key, &known, &how);
    worker_unlock(w);
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
    l->known = known;
    l->old_id = known.node_id;
    r = resolve_start(w, key, how, known.etag, on_resolved, l, &l->resolve);
    if (r < 0)
        op_fail(op, r);
}

void op_lookup(struct op *op)
{
    cas_identify(op);
    attempt(op);
}
