/* OPENDIR, READDIR, READDIRPLUS, RELEASEDIR: directories as streams of pages (list.h).
 *
 * An offset names the next entry to return: 0 ".", 1 "..", then page and index, and last the
 * unpublished files of this mount, which no listing of S3 shows. READDIRPLUS gives the kernel a
 * reference on each node that it returns. These are noted in arena->counted, and are taken back if
 * the worker dies before the reply is complete. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fuse/fuse_reply.h"
#include "shm/shm_lister.h"
#include "shm/shm_session.h"
#include "workers/attr/meta_ask.h"
#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/names/list.h"
#include "workers/names/room.h"
#include "workers/op/folders.h"

#define OFF_PAGES 2                    /* offsets 0 and 1 are "." and ".." */
#define OFF_LOCAL UINT32_C(0x7fffffff) /* in place of page number + 1 */
#define DT_UNKNOWN_TYPE 0
#define DT_REG_TYPE 8
#define DT_DIR_TYPE 4
#define DT_TYPE_SHIFT 12 /* from S_IFMT */

static uint64_t page_off(uint32_t page, uint32_t index)
{
    return (uint64_t)(page + 1) << 32 | index;
}

static uint64_t local_off(uint32_t session)
{
    return (uint64_t)OFF_LOCAL << 32 | session;
}

/* ---- OPENDIR, RELEASEDIR, FSYNCDIR ---- */

/* Under shm->meta. The handle reads the newest listing of the directory if that is recent enough,
 * else a new one. */
static void choose_listing(struct worker *w, uint32_t handle)
{
    struct shm_handle *h = shm_handle_edit(w->shm, handle);
    uint64_t now = clock_mono_ns(), listed_ns = shm_node_listed_ns(w->shm, h->node);

    if (!listed_ns || now - listed_ns >= w->conf->directories.ttl_ns)
        shm_node_new_content(w->shm, h->node);
    h->content = shm_node_at(w->shm, h->node)->content;
    h->page = 0;
    h->start_len = 0;
    h->listing_ns = h->turned_at = 0;
}

static int64_t open_handle(struct op *op, uint32_t node)
{
    struct worker *w = op->w;
    int64_t handle = shm_handle_new(w->shm, SHM_HANDLE_DIR, node, 0);

    if (handle >= 0)
        choose_listing(w, (uint32_t)handle);
    return handle;
}

void op_opendir(struct op *op)
{
    struct worker *w = op->w;
    struct fuse_open_out out = {0};
    int64_t handle = -ESTALE;
    uint32_t node;

    worker_lock(w);
    node = op_node(op);
    if (node != SHM_NIL)
        handle = shm_node_at(w->shm, node)->flags & SHM_NODE_DIR ? open_handle(op, node) : -ENOTDIR;
    if (handle >= 0) {
        out.fh = shm_handle_fh(w->shm, (uint32_t)handle);
        shm_handle_edit(w->shm, (uint32_t)handle)->pid = op->caller.pid;
        op_applied(op, 0, &out, sizeof(out));
    } else {
        shm_rollback(w->shm, w->shm->meta);
    }
    worker_unlock(w);
    if (handle < 0)
        op_fail(op, (int)handle);
    else
        op_finish(op);
}

void op_releasedir(struct op *op)
{
    struct worker *w = op->w;
    uint32_t handle;

    worker_lock(w);
    handle = shm_handle_of_fh(w->shm, fuse_req(op)->release->fh, SHM_HANDLE_DIR);
    if (handle != SHM_NIL) {
        const struct shm_handle *h = shm_handle_at(w->shm, handle);

        shm_lister_closed(w->shm, h->pid, h->node, fuse_req(op)->release->fh);
        shm_handle_free(w->shm, handle);
    }
    op_applied(op, 0, NULL, 0);
    worker_unlock(w);
    op_finish(op);
}

/* Nothing is deferred: a name is on S3 when the call that created it returns. */
void op_fsyncdir(struct op *op)
{
    op_fail(op, 0);
}

/* ---- the reply ---- */

struct answer {
    struct op *op;
    uint32_t dir;
    uint32_t handle;
    uint32_t content;
    bool plus;
    size_t cap;
    size_t used;
    uint64_t off; /* of the next entry */
};

static bool fits(const struct answer *a, size_t name_len)
{
    size_t need = a->plus ? fuse_direntplus_size(name_len) : fuse_dirent_size(name_len);

    return a->used + need <= a->cap && (!a->plus || a->op->w->arena->counted_n < SHM_COUNTED_MAX);
}

/* fits() has checked the size. */
static void dir_put(struct answer *a, uint64_t ino, uint64_t next, uint32_t type, const char *name,
                    size_t len, const struct fuse_entry_out *entry)
{
    uint8_t *buf = a->op->w->arena->reply;
    bool ok = a->plus
                  ? fuse_direntplus_put(buf, a->cap, &a->used, ino, next, type, name, len, entry)
                  : fuse_dirent_put(buf, a->cap, &a->used, ino, next, type, name, len);
    if (ok)
        a->off = next;
}

/* Under shm->meta. Takes a reference for the kernel, and notes it. */
static void dir_count(struct answer *a, uint32_t node)
{
    struct worker *w = a->op->w;
    struct shm_arena *arena = w->arena;

    shm_node_ref(w->shm, node, 1);
    shm_set(w->shm, w->shm->meta, arena->counted[arena->counted_n], node);
    shm_set(w->shm, w->shm->meta, arena->counted_n, arena->counted_n + 1);
}

/* "." and ".." carry no node: the kernel counts no lookup for them. */
static bool put_dots(struct answer *a)
{
    static const char *const names[OFF_PAGES] = {".", ".."};

    while (a->off < OFF_PAGES) {
        struct fuse_entry_out none = {0};
        const char *name = names[a->off];

        if (!fits(a, strlen(name)))
            return false;
        dir_put(a, 1, a->off + 1 == OFF_PAGES ? page_off(0, 0) : a->off + 1, DT_DIR_TYPE, name,
                strlen(name), &none);
    }
    return true;
}

/* Under shm->meta. Far into a large directory, nodes are created only if attributes were asked for
 * in it: `ls -l` needs them, `ls` does not, and the kernel's requests are the same. */
static bool makes_nodes(const struct answer *a)
{
    return a->off >> 32 <= LIST_PAGES_KEPT ||
           (shm_node_at(a->op->w->shm, a->dir)->flags & SHM_NODE_WANTED);
}

/* Under shm->meta. The node of a listed name, SHM_NIL if there is none (the kernel then looks the
 * name up when it needs it). The name table is never older than the page, and a name that was
 * removed from it meanwhile must not come back. */
static uint32_t node_of_entry(struct answer *a, const struct list_entry *e, uint64_t page_ns)
{
    struct worker *w = a->op->w;
    uint32_t node = shm_node_find(w->shm, a->dir, e->name, e->name_len);
    struct shm_version v;
    int64_t r;

    if (node != SHM_NIL && (shm_node_at(w->shm, node)->checked_ns >= page_ns ||
                            shm_node_at(w->shm, node)->session != SHM_NIL))
        return node;
    if (!makes_nodes(a) || shm_node_at(w->shm, a->dir)->content != a->content)
        return SHM_NIL;
    list_version(w, a->dir, e, &v);
    r = shm_node_intern(w->shm, a->dir, e->name, e->name_len, &v, page_ns);
    if (r < 0)
        shm_rollback(w->shm, w->shm->meta);
    return r < 0 ? SHM_NIL : (uint32_t)r;
}

/* For how long an entry of the page is still valid. Only directories are returned with their node:
 * for attributes of a file the kernel sends a LOOKUP, which is answered by S3, or by this listing
 * if the thread itself has read it (shm_lister.h). */
static uint64_t validity(const struct worker *w, uint64_t page_ns)
{
    uint64_t age = clock_mono_ns() - page_ns, ttl = w->conf->directories.ttl_ns;

    return age < ttl ? ttl - age : 0;
}

/* Under shm->meta. A name that is only known from listings is a regular file; an empty one may be a
 * folder, where such folders were seen. */
static uint32_t dir_type_of(struct worker *w, uint32_t node)
{
    const struct shm_node *n = shm_node_at(w->shm, node);

    if (n->size == 0 && meta_may_be_typed(w, n) && folders_were_seen(w, SHM_FOLDERS_BARE))
        return DT_UNKNOWN_TYPE;

    if (shm_node_type(n))
        return shm_node_type(n) >> DT_TYPE_SHIFT;
    return n->flags & SHM_NODE_DIR ? DT_DIR_TYPE : DT_REG_TYPE;
}

/* Attributes of a directory are valid as long as its entry: otherwise `ls -l` would send a request
 * for each. */
static void set_validity(struct fuse_entry_out *out, uint64_t valid)
{
    out->entry_valid = out->attr_valid = valid / NS_PER_S;
    out->entry_valid_nsec = out->attr_valid_nsec = (uint32_t)(valid % NS_PER_S);
}

static void put_entry(struct answer *a, const struct list_entry *e, uint64_t next, uint64_t page_ns)
{
    struct worker *w = a->op->w;
    struct fuse_entry_out out = {0};
    uint64_t valid = validity(w, page_ns), ino;
    uint32_t type = e->type == LIST_DIR ? DT_DIR_TYPE : DT_REG_TYPE, node;

    if (type == DT_REG_TYPE && e->size == 0 && folders_were_seen(w, SHM_FOLDERS_BARE))
        type = DT_UNKNOWN_TYPE;
    worker_lock(w);
    node = node_of_entry(a, e, page_ns);
    if (node != SHM_NIL) {
        ino = shm_node_at(w->shm, node)->ino;
        type = dir_type_of(w, node);
        if (a->plus && type == DT_DIR_TYPE) {
            fuse_entry_out(w, node, &out);
            set_validity(&out, valid);
            dir_count(a, node);
        }
    } else {
        ino = shm_node_ino_of(w->shm, a->dir, e->name, e->name_len);
    }
    worker_unlock(w);
    dir_put(a, ino, next, type, e->name, e->name_len, &out);
}

/* Puts the entries of a page from the reply's offset on. False if the reply is full. */
static bool put_page(struct answer *a, const uint8_t *page, uint32_t no)
{
    uint64_t page_ns = list_page_header(page)->page_ns;
    uint32_t skip = (uint32_t)a->off, i = 0;
    struct list_entry e;
    size_t off = 0;

    for (; list_page_next(page, &off, &e); i++) {
        if (i < skip || e.type == LIST_SHADOWED)
            continue;
        if (!fits(a, e.name_len))
            return false;
        put_entry(a, &e, page_off(no, i + 1), page_ns);
    }
    return true;
}

/* Under shm->meta. The next session, from `i` on, with a new file in this directory, and the name
 * of the file. */
static uint32_t next_local(struct answer *a, uint32_t i, char name[SHM_NAME_MAX + 1],
                           size_t *ret_len)
{
    struct shm *shm = a->op->w->shm;

    for (; i < shm_session_used(shm); i++) {
        const struct shm_session *s = shm_session_at(shm, i);
        const struct shm_node *n;

        if (s->state != SHM_SESSION_LIVE)
            continue;
        n = shm_node_at(shm, s->node);
        if (n->parent != a->dir || !(n->flags & SHM_NODE_LOCAL) ||
            (s->flags & SHM_SESSION_ORPHAN) || !a->op->w->variant->is_listed(a->op, i, s->node))
            continue;
        *ret_len = n->name_len;
        memcpy(name, shm_node_name(shm, s->node), n->name_len);
        return i;
    }
    return SHM_NIL;
}

static bool page_has(const uint8_t *page, const char *name, size_t len)
{
    struct list_entry e;
    size_t off = 0;

    while (list_page_next(page, &off, &e)) {
        if (e.type != LIST_SHADOWED && e.name_len == len && memcmp(e.name, name, len) == 0)
            return true;
    }
    return false;
}

/* True if one of the pages that the handle has read has the name: the file of before, which was
 * removed since. (Of pages that are no longer in the pool nothing is known.) */
static bool was_put(struct answer *a, const char *name, size_t len)
{
    struct worker *w = a->op->w;
    uint32_t last = shm_handle_at(w->shm, a->handle)->page, idx;
    bool has = false;

    for (uint32_t no = 0; !has && no <= last; no++) {
        if (no == LIST_PAGES_KEPT + 1 && no < last)
            no = last; /* those before it have been dropped */
        struct shm_block_key key = {a->dir, a->content, no};

        if (!shm_block_is_ready(w->shm, key) ||
            shm_block_get(w->shm, key, w->slot, &idx) != SHM_BLOCK_HIT)
            continue;
        if (list_page_check(shm_block_data(w->shm, idx), shm_block_len(w->shm, idx)) == 0)
            has = page_has(shm_block_data(w->shm, idx), name, len);
        shm_block_unpin(w->shm, idx, w->slot);
    }
    return has;
}

static void put_local(struct answer *a)
{
    struct worker *w = a->op->w;
    char name[SHM_NAME_MAX + 1];
    size_t len;

    for (;;) {
        struct fuse_entry_out out = {0};
        uint64_t ino = 0;
        uint32_t i, type = DT_REG_TYPE;

        worker_lock(w);
        i = next_local(a, (uint32_t)a->off, name, &len);
        if (i != SHM_NIL && fits(a, len)) {
            uint32_t node = shm_session_at(w->shm, i)->node;

            ino = shm_node_at(w->shm, node)->ino;
            type = dir_type_of(w, node);
        }
        worker_unlock(w);
        if (!ino)
            return;
        if (was_put(a, name, len))
            a->off = local_off(i + 1);
        else
            dir_put(a, ino, local_off(i + 1), type, name, len, &out);
    }
}

/* ---- READDIR ---- */

static void send(struct answer *a)
{
    struct worker *w = a->op->w;

    worker_lock(w);
    op_applied_in_arena(a->op, a->used);
    worker_unlock(w);
    op_finish(a->op);
    room_keep(w);
}

/* Under shm->meta. Moves the handle back to the first page: the reader seeks backwards. */
static void rewind_to_start(struct worker *w, uint32_t handle)
{
    struct shm_handle *h = shm_handle_edit(w->shm, handle);

    h->page = 0;
    h->start_len = 0;
    h->turned_at = 0;
}

static void want_page(struct answer *a, struct list_want *want)
{
    struct worker *w = a->op->w;
    const struct shm_handle *h = shm_handle_at(w->shm, a->handle);
    bool before;

    worker_lock(w);
    before = a->off >> 32 && (a->off >> 32) - 1 < h->page;
    if (before && h->turned_at == fuse_req(a->op)->read->offset)
        a->off = page_off(h->page, 0); /* the previous page has no entries left */
    else if (before)
        rewind_to_start(w, a->handle);
    *want = (struct list_want){
        .node = a->dir, .content = a->content, .page = h->page, .listing_ns = h->listing_ns};
    memcpy(want->start, shm_handle_start(w->shm, a->handle), h->start_len);
    worker_unlock(w);
}

/* Moves the handle to the page after this one. */
static void turn_page(struct answer *a, const uint8_t *page)
{
    struct worker *w = a->op->w;
    const char *next = list_page_header(page)->next;
    struct shm_handle *h;

    worker_lock(w);
    h = shm_handle_edit(w->shm, a->handle);
    h->page++;
    shm_handle_set_start(w->shm, a->handle, next, strlen(next));
    h->listing_ns = list_page_header(page)->listing_ns;
    h->turned_at = fuse_req(a->op)->read->offset;
    worker_unlock(w);
}

/* Only the token of the current page is still needed: drops the page before it. */
static void drop_page_before(struct worker *w, const struct list_want *want)
{
    struct shm_block_key key = list_key(want);

    key.no--;
    if (want->page > LIST_PAGES_KEPT)
        shm_block_drop(w->shm, key);
}

/* The page in the pool starts at another name: a page before it was loaded again, and ended
 * elsewhere than the first time. The handle continues with a listing of its own, so that it misses
 * no name. */
static void leave_listing(struct answer *a)
{
    struct worker *w = a->op->w;

    worker_lock(w);
    shm_node_new_content(w->shm, a->dir);
    a->content = shm_node_at(w->shm, a->dir)->content;
    shm_handle_edit(w->shm, a->handle)->content = a->content;
    worker_unlock(w);
}

enum progress { PROGRESS_MORE, PROGRESS_FULL, PROGRESS_END, PROGRESS_MISSING, PROGRESS_BAD };

/* Reads one page: the handle's current one, which may still be before the offset. */
static enum progress read_page(struct answer *a, struct list_want *want)
{
    struct worker *w = a->op->w;
    enum progress p = PROGRESS_MORE;
    const uint8_t *page;
    uint32_t idx;

    want_page(a, want);
    if (shm_block_get(w->shm, list_key(want), w->slot, &idx) != SHM_BLOCK_HIT)
        return PROGRESS_MISSING;
    page = shm_block_data(w->shm, idx);
    if (list_page_check(page, shm_block_len(w->shm, idx)) < 0)
        p = PROGRESS_BAD;
    else if (strcmp(list_page_header(page)->start, want->start) != 0)
        leave_listing(a);
    else if (page_off(want->page, 0) >> 32 == a->off >> 32 && !put_page(a, page, want->page))
        p = PROGRESS_FULL;
    else if (list_page_header(page)->last)
        p = PROGRESS_END;
    else if (a->used) /* the kernel may ask for a part of this page again: keep the handle on it */
        p = PROGRESS_FULL;
    else {
        turn_page(a, page);
        if (page_off(want->page, 0) >> 32 == a->off >> 32)
            a->off = page_off(want->page + 1, 0);
    }
    shm_block_unpin(w->shm, idx, w->slot);
    if (p == PROGRESS_MORE && a->content == want->content)
        drop_page_before(w, want);
    return p;
}

static void dir_resume(struct op *op);

/* Another worker has just started to load the page (or no block is free: then the worker's timer
 * tries again). */
static void wait_for_other(struct worker *w, const struct list_want *want)
{
    uint32_t idx;

    if (shm_block_get(w->shm, list_key(want), w->slot, &idx) != SHM_BLOCK_HIT)
        return; /* this worker will be woken */
    shm_block_unpin(w->shm, idx, w->slot);
    worker_wake_self(w);
}

/* The page is not in the pool. Replies with the entries so far; if there are none, loads the
 * page. */
static void wait_for_page(struct answer *a, const struct list_want *want)
{
    struct op *op = a->op;
    int r;

    if (a->used) {
        send(a);
        return;
    }
    if (op_keep(op) < 0)
        return;
    op_wait(op, dir_resume);
    if (op->state)
        return; /* our own load is under way */
    r = list_load(op, want);
    if (r == -EAGAIN)
        wait_for_other(op->w, want);
    else if (r < 0)
        op_fail(op, r);
}

static void read_on(struct answer *a)
{
    struct list_want want;
    enum progress p = PROGRESS_MORE;

    if (!put_dots(a)) {
        send(a);
        return;
    }
    if (a->off >> 32 != OFF_LOCAL) {
        while (p == PROGRESS_MORE)
            p = read_page(a, &want);
        if (p == PROGRESS_MISSING) {
            wait_for_page(a, &want);
            return;
        }
        if (p == PROGRESS_BAD && !a->used) {
            op_fail(a->op, -EIO);
            return;
        }
        if (p == PROGRESS_END)
            a->off = local_off(0);
    }
    if (p != PROGRESS_FULL && p != PROGRESS_BAD)
        put_local(a);
    send(a);
}

static int begin_answer(struct op *op, struct answer *a)
{
    struct worker *w = op->w;
    const struct fuse_read_in *in = fuse_req(op)->read;
    int r = -EBADF;

    *a = (struct answer){.op = op,
                         .plus = fuse_req(op)->opcode == FUSE_READDIRPLUS,
                         .cap = in->size < SHM_REPLY_MAX ? in->size : SHM_REPLY_MAX,
                         .off = in->offset};
    if (w->shm->sessions->live) /* read as a hint */
        op->w->variant->identify(op);
    worker_lock(w);
    a->handle = shm_handle_of_fh(w->shm, in->fh, SHM_HANDLE_DIR);
    if (a->handle != SHM_NIL) {
        /* The first read, or rewinddir(3): the directory as it is now. (This never waits: "." and
         * ".." are a reply.) */
        if (in->offset == 0)
            choose_listing(w, a->handle);
        a->dir = shm_handle_at(w->shm, a->handle)->node;
        shm_lister_reads(w->shm, op->caller.pid, a->dir, in->fh, clock_mono_ns());
        a->content = shm_handle_at(w->shm, a->handle)->content;
        r = 0;
    }
    worker_unlock(w);
    return r;
}

static void dir_resume(struct op *op)
{
    struct answer a;
    int r = list_failed(op);

    if (r == 0)
        r = begin_answer(op, &a);
    if (r < 0)
        op_fail(op, r);
    else
        read_on(&a);
}

void op_readdir(struct op *op)
{
    struct answer a;
    int r = begin_answer(op, &a);

    if (r < 0)
        op_fail(op, r);
    else
        read_on(&a);
}
