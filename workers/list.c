/* Loading pages. The LIST is a job of this worker: it goes on when the op that began it is
 * interrupted, because others may wait for the same block. */
#include "workers/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/cas_probe.h"
#include "workers/key.h"
#include "workers/names.h"
#include "workers/room.h"

#define LIST_PAGES_MAX 8 /* pages that one LIST may fill: 1,000 entries of the longest names take 3 */

struct list_load {
    struct worker *w;
    struct op *op; /* that began it, NULL if it has ended */
    struct list_want want;
    uint32_t node_content; /* of the directory when it began: another at the end = names changed meanwhile */
    uint64_t page_ns;
    uint32_t block[LIST_PAGES_MAX];
    unsigned n_blocks;
    bool full; /* no further page could be had: the rest of the answer is dropped */
    unsigned hidden;
    int error;
    size_t skip; /* length of the directory's key: what comes behind it is the name */
    char prefix[KEY_CAP];
};

static uint8_t *page_at(struct list_load *l, unsigned i)
{
    return shm_block_data(l->w->shm, l->block[i]);
}

/* ---- entries ---- */

/* A name in a directory, as a file system can have it. */
static bool can_be_name(const char *name, size_t len)
{
    return len > 0 && len <= SHM_NAME_MAX && !memchr(name, '/', len) &&
           !(len == 1 && name[0] == '.') &&
           !(len == 2 && name[0] == '.' && name[1] == '.');
}

/* Takes the block for one more page. */
static bool add_page(struct list_load *l)
{
    struct shm_block_key key = list_key(&l->want);
    uint32_t idx;

    key.no += l->n_blocks;
    if (l->n_blocks == LIST_PAGES_MAX)
        return false;
    idx = shm_block_begin(l->w->shm, key, l->w->slot);
    if (idx == SHM_NIL)
        return false;
    l->block[l->n_blocks++] = idx;
    list_page_begin(page_at(l, l->n_blocks - 1), l->want.listing_ns, l->page_ns);
    return true;
}

static void add_entry(struct list_load *l, const struct list_entry *e)
{
    if (l->full)
        return;
    if (list_page_add(page_at(l, l->n_blocks - 1), SHM_BLOCK_SIZE, e))
        return;
    l->full = !add_page(l);
    if (!l->full && !list_page_add(page_at(l, l->n_blocks - 1), SHM_BLOCK_SIZE, e))
        l->full = true;
}

static int on_entry(void *arg, const struct s3_list_entry *entry)
{
    struct list_load *l = arg;
    const char *name = entry->key + l->skip;
    size_t len = entry->key_len - l->skip;
    struct list_entry e = {.type = entry->is_prefix ? LIST_DIR : LIST_FILE,
                           .size = entry->size,
                           .mtime_ns = entry->mtime_ns,
                           .name = name};

    if (entry->key_len < l->skip || memcmp(entry->key, l->prefix, l->skip) != 0)
        return -EPROTO;
    if (len == 0 && !entry->is_prefix)
        return 0; /* the directory's own marker */
    if (entry->is_prefix && len && name[len - 1] == '/')
        len--;
    if (cas_probe_owns(l->w->conf, entry->key, entry->key_len)) {
        ; /* not the applications' */
    } else if (can_be_name(name, len)) {
        e.name_len = (uint8_t)len;
        if (entry->etag)
            snprintf(e.etag, sizeof(e.etag), "%s", entry->etag);
        add_entry(l, &e);
    } else {
        l->hidden++;
    }
    if (!l->full)
        list_page_end_at(page_at(l, l->n_blocks - 1), name, len,
                         entry->is_prefix);
    return 0;
}

/* The page begins anew; pages behind the first are given back. */
static void on_restart(void *arg)
{
    struct list_load *l = arg;
    uint32_t wake = 0;

    while (l->n_blocks > 1)
        wake |= shm_block_fail(l->w->shm, l->block[--l->n_blocks]);
    worker_wake(l->w, wake);
    list_page_begin(page_at(l, 0), l->want.listing_ns, l->page_ns);
    l->full = false;
    l->hidden = 0;
}

/* ---- the end of a LIST ---- */

void list_version(struct worker *w, uint32_t dir, const struct list_entry *e,
                  struct shm_version *ret)
{
    uint32_t node = shm_node_find(w->shm, dir, e->name, e->name_len);
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);

    *ret = (struct shm_version){.dir = e->type == LIST_DIR,
                                .size = e->size,
                                /* As a GET tells it: whole seconds. */
                                .mtime_ns = e->mtime_ns - e->mtime_ns % 1000000000,
                                .etag = e->etag,
                                .mode = SHM_MODE_UNSET,
                                .uid = SHM_MODE_UNSET,
                                .gid = SHM_MODE_UNSET};
    /* A listing tells no metadata: the time that the version is known to have holds. */
    if (n && !ret->dir && !(n->flags & SHM_NODE_DIR) && strcmp(n->etag, e->etag) == 0)
        ret->mtime_ns = n->mtime_ns;
}

/* One entry, one locked section. False: names changed since the LIST began, or there is no room:
 * what it shows must not be taken for the present. */
static bool intern_entry(struct list_load *l, const struct list_entry *e)
{
    struct worker *w = l->w;
    struct shm_version v;
    int64_t r = -EAGAIN;

    worker_lock(w);
    /* (The directory may be gone: nobody may have it open any more.) */
    if (shm_node_at(w->shm, l->want.node)->state == SHM_NODE_LIVE &&
        shm_node_at(w->shm, l->want.node)->content == l->node_content) {
        list_version(w, l->want.node, e, &v);
        r = shm_node_intern(w->shm, l->want.node, e->name, e->name_len, &v,
                            l->page_ns);
        if (r < 0)
            shm_rollback(w->shm, w->shm->meta);
    }
    worker_unlock(w);
    return r >= 0;
}

/* The keys were not on their way to another name, the whole time: then the LIST may have seen a
 * part of them. */
static bool was_still(struct list_load *l)
{
    struct worker *w = l->w;
    char key[KEY_CAP];
    bool still;

    worker_lock(w);
    still = shm_node_at(w->shm, l->want.node)->state == SHM_NODE_LIVE &&
            !names_held(w, l->want.node, 0) &&
            key_of_node(w, l->want.node, key) == 0 && strcmp(key, l->prefix) == 0;
    worker_unlock(w);
    return still;
}

static bool intern_pages(struct list_load *l)
{
    if (l->want.page >= LIST_PAGES_KEPT || !was_still(l))
        return false;
    for (unsigned i = 0; i < l->n_blocks; i++) {
        struct list_entry e;
        size_t off = 0;

        while (list_page_next(page_at(l, i), &off, &e)) {
            if (e.type != LIST_SHADOWED && !intern_entry(l, &e))
                return false;
        }
    }
    return true;
}

/* What is known of the directory as a whole: page 0 begins a listing, the last page completes it,
 * if it is still the same one and no entry has been evicted. */
static void begin_listing(struct list_load *l)
{
    struct worker *w = l->w;
    struct shm_node *n;

    worker_lock(w);
    n = shm_node_edit(w->shm, l->want.node);
    n->listed_ns = l->want.listing_ns;
    n->flags &= (uint16_t)~(SHM_NODE_COMPLETE | SHM_NODE_WANTED);
    n->flags |= SHM_NODE_LISTING;
    worker_unlock(w);
}

static void end_listing(struct list_load *l, bool interned, bool last)
{
    struct worker *w = l->w;
    struct shm_node *n;

    worker_lock(w);
    n = shm_node_edit(w->shm, l->want.node);
    if (n->listed_ns == l->want.listing_ns && (n->flags & SHM_NODE_LISTING)) {
        if (!interned)
            n->flags &= (uint16_t)~SHM_NODE_LISTING;
        else if (last)
            n->flags = (uint16_t)((n->flags | SHM_NODE_COMPLETE) &
                                  ~SHM_NODE_LISTING);
    }
    worker_unlock(w);
}

static void tell_hidden(struct list_load *l)
{
    unsigned shadowed = 0;

    for (unsigned i = 0; i < l->n_blocks; i++)
        shadowed += list_page_shadow(page_at(l, i));
    l->hidden += shadowed;
    if (!l->hidden)
        return;
    worker_count(l->w, SHM_STAT_HIDDEN_NAMES, l->hidden);
    if (l->want.page == 0)
        log_notice("keys hidden in a listing prefix=\"%s\" keys=%u: they cannot be "
                   "names (empty, \".\", \"..\", over %d bytes), or are a file and "
                   "a directory at once, of which the directory shows",
                   l->prefix, l->hidden, SHM_NAME_MAX);
}

/* Ends the job: pages become READY, or are given back. */
static void finish(struct list_load *l, bool last)
{
    struct worker *w = l->w;
    uint32_t wake = UINT32_C(1) << w->slot;
    bool interned;

    if (!l->error) {
        tell_hidden(l);
        interned = intern_pages(l);
        ((struct list_header *)(void *)page_at(l, l->n_blocks - 1))->last =
            last && !l->full;
        end_listing(l, interned, last && !l->full);
    }
    for (unsigned i = 0; i < l->n_blocks; i++)
        wake |= l->error ? shm_block_fail(w->shm, l->block[i])
                         : shm_block_ready(w->shm, l->block[i],
                                           list_page_header(page_at(l, i))->used);
    worker_wake(w, wake);
    room_keep(w);
    l->n_blocks = 0;
    if (l->op && l->error)
        return; /* the op takes the error and frees it: list_failed */
    if (l->op) {
        l->op->state = NULL;
        l->op->state_free = NULL;
    }
    free(l);
}

static void on_list_done(void *arg, const struct s3_result *res)
{
    struct list_load *l = arg;

    l->error = res->error;
    if (!l->error && res->truncated && !res->n_entries)
        l->error = -EIO; /* no name to go on behind */
    if (l->error)
        log_warn("listing failed prefix=\"%s\" error=\"%s\" detail=\"%s\"",
                 l->prefix, strerror(-l->error), res->text);
    finish(l, !res->truncated);
}

/* ---- beginning ---- */

/* The op is answered or interrupted: the load goes on without it, or has ended with an error that
 * nobody takes. */
static void leave(void *state)
{
    struct list_load *l = state;

    l->op = NULL;
    if (l->error)
        free(l);
}

static int prepare(struct list_load *l)
{
    struct worker *w = l->w;
    int r;

    worker_lock(w);
    r = key_of_node(w, l->want.node, l->prefix);
    l->node_content = shm_node_at(w->shm, l->want.node)->content;
    worker_unlock(w);
    l->skip = strlen(l->prefix);
    l->page_ns = clock_mono_ns();
    if (l->want.page == 0)
        l->want.listing_ns = l->page_ns;
    return r;
}

static int ask(struct list_load *l)
{
    char start[2 * KEY_CAP];
    struct s3_list list = {.prefix = l->prefix,
                           .delimiter = "/",
                           .start_after = l->want.page ? start : NULL,
                           .on_entry = on_entry,
                           .on_restart = on_restart};

    snprintf(start, sizeof(start), "%s%s", l->prefix, l->want.start);
    l->w->stats->s3[S3_OP_LIST]++;
    return s3_list(l->w->s3, &list, on_list_done, l, NULL);
}

int list_load(struct op *op, const struct list_want *want)
{
    struct list_load *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->w = op->w;
    l->want = *want;
    r = prepare(l);
    if (r == 0 && !add_page(l))
        r = -EAGAIN;
    if (r == 0 && want->page == 0)
        begin_listing(l);
    if (r == 0)
        r = ask(l);
    if (r < 0) {
        if (l->n_blocks)
            worker_wake(l->w, shm_block_fail(l->w->shm, l->block[0]));
        free(l);
        return r;
    }
    l->op = op;
    op->state = l;
    op->state_free = leave;
    return 0;
}

int list_failed(struct op *op)
{
    struct list_load *l = op->state;
    int error = l ? l->error : 0;

    if (error) {
        op->state = NULL;
        op->state_free = NULL;
        free(l);
    }
    return error;
}
