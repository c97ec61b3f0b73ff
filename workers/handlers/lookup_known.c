/* A name is answered from the segment in these cases:
 *   - it is being written here (last write wins: for every process; compare-and-set: for the
 *     processes that write it), or it exists only here,
 *   - it was validated just now, and the kernel only repeats the LOOKUP (LOOKED),
 *   - it is a directory that was seen within directories.ttl, or a directory on the path to
 *     something else that was seen within directories.entry_ttl,
 *   - it was validated within cache.open_ttl,
 *   - the thread wants attributes and has just listed the directory (shm_lister.h),
 *   - its content will be dropped: the write that follows is conditional on S3,
 *   - its directory was listed completely within directories.ttl, the name is not in the listing,
 *     and the caller is about to create it: that is conditional, too.
 * In no other case is a name taken to be absent (except for directories.negative_ttl, which is off
 * by default): a LOOKUP finds what another machine has put. What the caller is about to do is read
 * from /proc (intent.c), if it can be. */
#include "workers/handlers/lookup_known.h"

#include "workers/handlers/fuse_op.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_lister.h"
#include "shm/shm_reopen.h"
#include "workers/attr/meta_ask.h"
#include "workers/cas/cas_nodes.h"
#include "workers/names/names.h"
#include "workers/op/folders.h"
#include "workers/op/proc.h"
#include "workers/op/validity.h"
#include "workers/server/server.h"

/* ---- what the caller wants ---- */

void lookup_see(struct op *op, struct lookup_asked *a)
{
    const char *path = a->key + strlen(op->w->conf->prefix);

    while (*path == '/')
        path++;
    if (!(a->seen & LOOKUP_INTENT))
        intent_look(op->caller.pid, &a->intent);
    if (a->wanted & ~a->seen & LOOKUP_MAKES)
        a->makes = intent_makes(&a->intent, path);
    if (a->wanted & ~a->seen & LOOKUP_PASSES)
        a->passes = intent_passes(&a->intent, path);
    if (a->wanted & ~a->seen & LOOKUP_LISTS)
        a->lists = proc_has_dir(op->caller.pid, a->dir_ino);
    a->seen |= a->wanted | LOOKUP_INTENT;
}

/* True if `what` (enum lookup_sight) is known already; otherwise lookup_see will find it out. */
static bool sees(struct lookup_asked *a, unsigned what)
{
    a->wanted |= what;
    return (a->seen & what) == what;
}

static bool opens(const struct lookup_asked *a)
{
    return a->intent.kind == INTENT_READ || a->intent.kind == INTENT_TRUNC ||
           a->intent.kind == INTENT_OPEN;
}

/* Under shm->meta. True if the caller got ESTALE when it opened the file for writing. */
static bool asks_private(struct op *op, uint32_t node, uint64_t now)
{
    struct shm *shm = op->w->shm;

    return op->w->variant->isolates &&
           shm_reopen_wants_private(shm, op->caller.pid, shm_node_name_id(shm, node), now,
                                    VALIDITY_NEXT_NS);
}

bool lookup_wants_private(struct op *op, const struct lookup_asked *a, uint32_t node)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    uint32_t flags = a->intent.flags;

    if (!w->variant->isolates || (n->flags & (SHM_NODE_DIR | SHM_NODE_TYPED | SHM_NODE_PRIVATE)))
        return false;
    if (asks_private(op, node, clock_mono_ns()))
        return true;
    return (a->seen & LOOKUP_INTENT) && opens(a) &&
           ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) &&
           !((flags & O_CREAT) && (flags & O_EXCL));
}

uint32_t lookup_own(struct op *op, const struct lookup_asked *a, uint32_t node)
{
    const struct shm_node *n = shm_node_at(op->w->shm, node);

    if (!op->w->variant->isolates || !(a->seen & LOOKUP_INTENT) || !opens(a) ||
        (n->flags & (SHM_NODE_DIR | SHM_NODE_TYPED | SHM_NODE_PRIVATE)))
        return SHM_NIL;
    return cas_own_clean(op, node);
}

bool lookup_is_awaited(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    return shm_reopen_since(w->shm, shm_node_name_id(w->shm, node), n->checked_ns, clock_mono_ns(),
                            VALIDITY_NEXT_NS);
}

/* The content of an existing file will be dropped, whatever it is. */
static bool drops_content(const struct lookup_asked *a)
{
    return (a->intent.flags & O_TRUNC) && (a->intent.flags & O_ACCMODE) == O_WRONLY &&
           (a->intent.kind == INTENT_TRUNC ||
            (a->intent.kind == INTENT_OPEN && !(a->intent.flags & O_EXCL)));
}

/* True if a wrong "absent" does no harm: if S3 has the name after all, the caller's request is
 * refused, or opens the existing file. (Not for an open with O_CREAT alone, which must not create a
 * file over an existing one. For a rename only if it replaces whatever is there: not with
 * RENAME_NOREPLACE, and not with compare-and-set, which replaces only the version that was seen.
 * The flags of openat2 are not known yet: look_nothing checks again.) */
static bool may_make(const struct op *op, const struct lookup_asked *a)
{
    if (a->intent.kind == INTENT_RENAME)
        return !a->intent.flags && !op->w->variant->expects;
    return a->intent.kind == INTENT_MAKE ||
           (a->intent.kind == INTENT_OPEN && (a->intent.flags & (O_TRUNC | O_EXCL))) ||
           a->intent.how;
}

/* ---- what is known ---- */

/* Under shm->meta. The node that the kernel got just now, if this LOOKUP repeats the one before;
 * else SHM_NIL. */
static uint32_t repeated(struct op *op, uint32_t node, uint64_t now)
{
    struct worker *w = op->w;
    const struct shm_node *n;

    if (node == SHM_NIL)
        return SHM_NIL;
    node = cas_told(w, node);
    n = shm_node_at(w->shm, node);
    if (!(n->flags & SHM_NODE_DIR) &&
        (n->looked_by != op->caller.pid || lookup_is_awaited(w, node) ||
         (!(n->flags & SHM_NODE_PRIVATE) && asks_private(op, node, now))))
        return SHM_NIL;
    return validity_take(w, node, SHM_NODE_LOOKED, now) ? node : SHM_NIL;
}

static bool is_within(const struct shm_node *n, uint64_t ttl_ns, uint64_t now)
{
    return validity_holds(n->checked_ns, ttl_ns, now);
}

/* Under shm->meta. A directory. Sets SHM_NODE_ASK if the caller may want its metadata: then a
 * GETATTR fetches them, once (op_attr.c). */
static int look_dir(struct op *op, struct lookup_asked *a, uint32_t node, uint64_t now)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    const struct conf *c = w->conf;
    bool wanted = n->nlookup && meta_is_unknown(w, n) && !(n->flags & SHM_NODE_ASK);

    if (wanted && !sees(a, LOOKUP_PASSES))
        return LOOKUP_SEE;
    if (wanted && !a->passes)
        shm_node_edit(w->shm, node)->flags |= SHM_NODE_ASK;
    if (is_within(n, c->directories.ttl_ns, now))
        return LOOKUP_NODE;
    if (!is_within(n, c->directories.entry_ttl_ns, now))
        return LOOKUP_ASK;
    if (!sees(a, LOOKUP_PASSES))
        return LOOKUP_SEE;
    return a->passes ? LOOKUP_NODE : LOOKUP_ASK;
}

/* Under shm->meta. */
static bool may_be_folder(const struct worker *w, const struct shm_node *n)
{
    return n->size == 0 && meta_may_be_typed(w, n) && folders_were_seen(w, SHM_FOLDERS_BARE);
}

/* Under shm->meta. LOOKUP_NODE, or LOOKUP_SEE; LOOKUP_ASK if only a listing has told of the node,
 * and it has to be a link, as a directory is wanted, or the path leads on behind it. */
static int unless_link(struct worker *w, struct lookup_asked *a, const struct shm_node *n)
{
    if (!meta_may_be_typed(w, n))
        return LOOKUP_NODE;
    if (!sees(a, LOOKUP_INTENT | LOOKUP_PASSES))
        return LOOKUP_SEE;
    return a->passes || a->intent.kind == INTENT_DIR ? LOOKUP_ASK : LOOKUP_NODE;
}

/* Under shm->meta. LOOKUP_NODE if the thread wants attributes and its own listing has returned
 * them; else LOOKUP_SEE or LOOKUP_ASK. */
static int look_listed(struct op *op, struct lookup_asked *a, uint32_t dir, uint32_t node,
                       uint64_t now)
{
    struct worker *w = op->w;
    const struct shm_node *d = shm_node_at(w->shm, dir), *n = shm_node_at(w->shm, node);
    uint64_t ttl = w->conf->directories.ttl_ns;

    if (a->intent.kind != INTENT_STAT || !is_within(n, ttl, now) || n->checked_ns < d->listed_ns ||
        shm_reopen_waits(w->shm, op->caller.pid, shm_node_name_id(w->shm, node)) ||
        may_be_folder(w, n))
        return LOOKUP_ASK;
    switch (shm_lister_looks(w->shm, op->caller.pid, dir, a->lists, now, ttl)) {
    case SHM_LISTER_YES:
        return unless_link(w, a, n);
    case SHM_LISTER_IF_OPEN:
        a->dir_ino = d->ino;
        return sees(a, LOOKUP_LISTS) ? LOOKUP_ASK : LOOKUP_SEE;
    case SHM_LISTER_NO:
        break;
    }
    return LOOKUP_ASK;
}

/* Under shm->meta. A file that S3 has, or had. */
static int look_file(struct op *op, struct lookup_asked *a, uint32_t dir, uint32_t node,
                     uint64_t now)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, node);
    const struct conf *c = w->conf;
    int r;

    r = is_within(n, c->cache.open_ttl_ns, now) ? unless_link(w, a, n) : LOOKUP_ASK;
    if (r != LOOKUP_ASK)
        return r;
    if (!sees(a, LOOKUP_INTENT))
        return LOOKUP_SEE;
    r = look_listed(op, a, dir, node, now);
    if (r != LOOKUP_ASK)
        return r;
    if (!drops_content(a) || meta_may_be_typed(w, n) ||
        !w->variant->may_replace(op, a->key, n->etag) ||
        !is_within(n, c->directories.entry_ttl_ns, now))
        return LOOKUP_ASK;
    return a->intent.kind == INTENT_TRUNC ? LOOKUP_NODE
           : !sees(a, LOOKUP_MAKES)       ? LOOKUP_SEE
           : a->makes                     ? LOOKUP_NODE
                                          : LOOKUP_ASK;
}

/* Under shm->meta. A name that has no node. */
static int look_nothing(struct op *op, struct lookup_asked *a, uint32_t dir, uint64_t now)
{
    struct worker *w = op->w;
    uint64_t listed_ns = shm_node_listed_ns(w->shm, dir);
    const struct conf *c = w->conf;
    bool complete = shm_node_at(w->shm, dir)->flags & SHM_NODE_COMPLETE;

    if (complete && validity_holds(listed_ns, c->directories.negative_ttl_ns, now))
        return LOOKUP_NOTHING;
    if (!sees(a, LOOKUP_INTENT))
        return LOOKUP_SEE;
    if (a->intent.kind == INTENT_STAT && !sees(a, LOOKUP_PASSES))
        return LOOKUP_SEE; /* a directory on the way, most likely: how_to_ask */
    if (!complete || !validity_holds(listed_ns, c->directories.ttl_ns, now) || !may_make(op, a))
        return LOOKUP_ASK;
    if (!sees(a, LOOKUP_MAKES))
        return LOOKUP_SEE;
    return a->makes && may_make(op, a) ? LOOKUP_NOTHING : LOOKUP_ASK;
}

/* Under shm->meta. */
static int lookup_known_look(struct op *op, struct lookup_asked *a, uint32_t dir, uint32_t node)
{
    struct worker *w = op->w;
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);
    uint64_t now = clock_mono_ns();

    if (!n)
        return look_nothing(op, a, dir, now);
    if ((n->flags & SHM_NODE_LOCAL) || resolve_is_ours(w, n))
        return LOOKUP_NODE;
    return n->flags & SHM_NODE_DIR ? look_dir(op, a, node, now) : look_file(op, a, dir, node, now);
}

/* The caller renames a file, and its bytes do not go through here. */
static bool renames_on_server(const struct worker *w, const struct lookup_asked *a)
{
    return a->intent.kind == INTENT_RENAME &&
           (!w->variant->rename_loads || server_keeps(w, SERVER_KEEPS_COPY));
}

/* A server that keeps a file for each key has none of such a length: it answers a LIST, but HEAD
 * with an error of its own. */
static bool is_long_name(const char *key)
{
    const char *slash = strrchr(key, '/');

    return strlen(slash ? slash + 1 : key) > NAME_MAX;
}

static enum resolve_how how_to_ask(struct worker *w, const struct lookup_asked *a, uint32_t node)
{
    bool no_bytes = a->intent.kind == INTENT_STAT || drops_content(a) ||
                    a->intent.kind == INTENT_MAKE || renames_on_server(w, a);

    if (a->intent.kind == INTENT_DIR)
        return RESOLVE_NO_DATA;
    if (node == SHM_NIL && a->intent.kind == INTENT_STAT && !a->passes &&
        w->conf->metadata == CONF_METADATA_FULL && !is_long_name(a->key))
        return RESOLVE_STAT; /* its attributes matter, and no listing has those of a file */
    if (node == SHM_NIL)
        return no_bytes ? RESOLVE_GUESS_STAT : RESOLVE_GUESS;
    if (shm_node_at(w->shm, node)->flags & SHM_NODE_DIR)
        return RESOLVE_NO_DATA;
    return no_bytes && !lookup_is_awaited(w, node) ? RESOLVE_STAT : RESOLVE_AS_FILE;
}

/* Under shm->meta. */
static int known_name(struct op *op, struct lookup_asked *a, uint32_t dir,
                      struct lookup_answer *ret)
{
    struct worker *w = op->w;
    uint32_t node = shm_node_find(w->shm, dir, fuse_req(op)->name, fuse_req(op)->name_len);
    int r;

    ret->told_id = node == SHM_NIL ? 0 : shm_node_id(w->shm, cas_told(w, node));
    ret->node = repeated(op, node, clock_mono_ns());
    if (ret->node != SHM_NIL)
        return LOOKUP_REPEATED;
    ret->node = node;
    r = lookup_known_look(op, a, dir, node);
    if (r != LOOKUP_ASK)
        return r;
    resolve_note(w, node, &ret->known);
    ret->how = how_to_ask(w, a, node);
    return LOOKUP_ASK;
}

int lookup_known(struct op *op, struct lookup_asked *a, struct lookup_answer *ret)
{
    struct worker *w = op->w;
    uint32_t dir = op_node(op);
    int r;

    if (dir == SHM_NIL)
        return -ESTALE;
    if (!(shm_node_at(w->shm, dir)->flags & SHM_NODE_DIR))
        return -ENOTDIR;
    r = key_of_name(w, dir, fuse_req(op)->name, fuse_req(op)->name_len, a->key);
    if (r < 0)
        return r;
    names_wanted(w, dir);
    ret->told_id = 0;
    ret->node = w->variant->own_session(op, dir, fuse_req(op)->name, fuse_req(op)->name_len);
    return ret->node != SHM_NIL ? LOOKUP_REPEATED : known_name(op, a, dir, ret);
}
