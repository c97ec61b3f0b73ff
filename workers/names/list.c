/* Loading pages. The LIST is a job of this worker: it continues when the op that started it is
 * interrupted, because other ops may wait for the same block. */
#include "workers/names/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/names/list_folder.h"
#include "workers/names/list_shadow.h"
#include "workers/names/room.h"
#include "workers/objmeta/folder.h"
#include "workers/op/dir_witness.h"
#include "workers/op/folders.h"
#include "workers/op/hold.h"
#include "workers/op/key.h"

/* Pages that one LIST may fill: 1,000 entries with names of 255 bytes take 3. (Of those of 1,024
 * bytes, the rest is asked for again.) */
#define LIST_PAGES_MAX 8
/* LISTs that a page may take beyond one for each page before it: replies may contain nothing
 * new. */
#define LIST_ASKS_MORE 16

/* Up to this many entries at the end of a reply are left to the next page, instead of sending
 * requests about them (list_shadow.h). */
#define LIST_CUT_MAX 16

struct list_load {
    struct worker *w;
    struct op *op; /* the op that started it, NULL if that has ended */
    struct list_want want;
    /* `content` of the directory at the start; another one at the end = names changed meanwhile */
    uint32_t node_content;
    uint64_t page_ns;
    uint32_t block[LIST_PAGES_MAX];
    unsigned n_blocks;
    bool full; /* no further page was free: the rest of the reply is dropped */
    unsigned hidden;
    int error;
    bool last;                 /* no page follows */
    unsigned asks;             /* LISTs sent for this page */
    bool by_token;             /* the last of them was sent with a token, or for the beginning */
    bool refused;              /* the server refused a token */
    char token[S3_TOKEN_MAX];  /* token of the page before, not tried yet; "" = none */
    struct list_shadow shadow; /* files whose directory may still come; .page: in `block` */
    struct list_folders folders;
    bool marker; /* the directory's own marker was listed */
    bool found;  /* by the request about the last of `shadow`, or of `folders` that are asked for */
    size_t skip; /* length of the directory's key: the name follows it */
    char prefix[KEY_CAP];
};

static uint8_t *page_at(struct list_load *l, unsigned i)
{
    return shm_block_data(l->w->shm, l->block[i]);
}

/* ---- entries ---- */

/* True for a name that a file system can have. */
static bool can_be_name(const char *name, size_t len)
{
    return len > 0 && len <= SHM_NAME_MAX && !memchr(name, '/', len) &&
           !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

/* This server was seen to ignore start-after: tokens are tried first. All workers share the flag,
 * because it decides where pages end. */
static bool trusts_tokens(const struct list_load *l)
{
    return __atomic_load_n(&l->w->shm->header->list_tokens, __ATOMIC_RELAXED);
}

/* Takes a block for one more page. */
static bool add_page(struct list_load *l)
{
    struct shm_block_key key = list_key(&l->want);
    const char *start = l->want.start;
    uint32_t idx;

    if (l->n_blocks)
        start = list_page_header(page_at(l, l->n_blocks - 1))->next;

    key.no += l->n_blocks;
    if (l->n_blocks == LIST_PAGES_MAX)
        return false;
    idx = shm_block_begin(l->w->shm, key, l->w->slot);
    if (idx == SHM_NIL)
        return false;
    l->block[l->n_blocks++] = idx;
    list_page_begin(page_at(l, l->n_blocks - 1), start, l->want.listing_ns, l->page_ns);
    return true;
}

/* False: no room left for it. */
static bool add_entry(struct list_load *l, const struct list_entry *e)
{
    if (l->full)
        return false;
    if (list_page_add(page_at(l, l->n_blocks - 1), SHM_BLOCK_SIZE, e))
        return true;
    l->full = !add_page(l) || !list_page_add(page_at(l, l->n_blocks - 1), SHM_BLOCK_SIZE, e);
    return !l->full;
}

/* The last file that waited for its directory has one: the file is not shown. (An empty one may be
 * the folder itself.) */
static void shadow_last(struct list_load *l)
{
    unsigned i = l->shadow.n - 1;
    const uint8_t *page = page_at(l, l->shadow.file[i].page);
    size_t off = l->shadow.file[i].off;
    struct list_entry e;

    if (list_page_next(page, &off, &e) && e.size == 0)
        folders_seen(l->w, SHM_FOLDERS_BARE);
    else
        l->hidden++;
    list_page_shadow(page_at(l, l->shadow.file[i].page), l->shadow.file[i].off);
    list_shadow_pop(&l->shadow);
}

/* Where an entry is. */
struct place {
    unsigned page; /* of those that are being filled */
    uint32_t off;
};

/* False: no room left for it. */
static bool show_entry(struct list_load *l, const struct list_entry *e, struct place *ret)
{
    uint32_t used = list_page_header(page_at(l, l->n_blocks - 1))->used;
    unsigned page = l->n_blocks - 1;

    if (!add_entry(l, e))
        return false;
    if (page != l->n_blocks - 1)
        used = sizeof(struct list_header); /* it is the first entry of a new page */
    *ret = (struct place){.page = l->n_blocks - 1, .off = used};
    return true;
}

static void show_file_or_dir(struct list_load *l, const struct list_entry *e)
{
    struct place at;

    if (show_entry(l, e, &at) && e->type == LIST_FILE)
        list_shadow_push(&l->shadow, e->name, e->name_len, at.page, at.off);
}

/* "name_$folder$" is shown as a directory "name", unless that is listed itself: "name" and "name/"
 * are before it. On an earlier page, perhaps: then S3 is asked. */
static void show_folder(struct list_load *l, struct list_entry *e, size_t len)
{
    const char *start = l->want.page ? l->want.start : "";
    struct place at;

    folders_seen(l->w, SHM_FOLDERS_SUFFIX);
    if (!can_be_name(e->name, len) || list_folder_has(&l->folders, len))
        return;
    e->type = LIST_DIR;
    e->folder = true;
    e->name_len = (uint16_t)len;
    if (show_entry(l, e, &at) && strncmp(start, e->name, len) == 0)
        list_folder_ask(&l->folders, len, at.page, at.off);
}

static void take_entry(struct list_load *l, const struct s3_list_entry *entry, size_t len, bool dir)
{
    struct list_entry e = {.type = dir ? LIST_DIR : LIST_FILE,
                           .size = entry->size,
                           .mtime_ns = entry->mtime_ns,
                           .name = entry->key + l->skip};
    size_t folder = dir ? 0 : folder_of_suffix(e.name, len, e.size);

    if (list_shadow_pass(&l->shadow, e.name, len, dir))
        shadow_last(l);
    list_folder_pass(&l->folders, e.name, len);
    if (!folder)
        list_folder_push(&l->folders, e.name, len);
    if (key_is_reserved(l->w->conf, entry->key, entry->key_len)) {
        ; /* hidden from applications */
    } else if (folder) {
        show_folder(l, &e, folder);
    } else if (can_be_name(e.name, len)) {
        e.name_len = (uint16_t)len;
        if (entry->etag)
            snprintf(e.etag, sizeof(e.etag), "%s", entry->etag);
        show_file_or_dir(l, &e);
    } else {
        l->hidden++;
    }
    if (!l->full)
        list_page_end_at(page_at(l, l->n_blocks - 1), e.name, len, dir);
}

static int list_on_entry(void *arg, const struct s3_list_entry *entry)
{
    struct list_load *l = arg;
    size_t len = entry->key_len - l->skip;
    bool dir;

    if (entry->key_len < l->skip || memcmp(entry->key, l->prefix, l->skip) != 0)
        return -EPROTO;
    if (len == 0 && !entry->is_prefix) {
        l->marker = true;
        return 0; /* the directory's own marker */
    }
    /* (Some servers list the marker of a directory among the keys.) */
    dir = entry->is_prefix || entry->key[entry->key_len - 1] == '/';
    if (len && entry->key[entry->key_len - 1] == '/')
        len--;
    take_entry(l, entry, len, dir);
    return 0;
}

/* ---- the end of a LIST ---- */

void list_version(struct worker *w, uint32_t dir, const struct list_entry *e,
                  struct shm_version *ret)
{
    uint32_t node = shm_node_find(w->shm, dir, e->name, e->name_len);
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);
    /* An empty object that a lookup has shown to be a folder: a listing cannot tell. */
    bool folder =
        n && (n->flags & SHM_NODE_DIR) && e->size == 0 && folders_were_seen(w, SHM_FOLDERS_BARE);

    *ret = (struct shm_version){.dir = e->type == LIST_DIR || folder,
                                .size = e->size,
                                /* Whole seconds, as in the reply to a GET. */
                                .mtime_ns = e->mtime_ns - e->mtime_ns % 1000000000,
                                .etag = e->etag,
                                .mode = SHM_MODE_UNSET,
                                .uid = SHM_MODE_UNSET,
                                .gid = SHM_MODE_UNSET};
    /* A listing contains no metadata: the known time of the version stays. */
    if (n && !ret->dir && !(n->flags & SHM_NODE_DIR) && strcmp(n->etag, e->etag) == 0)
        ret->mtime_ns = n->mtime_ns;
}

/* One entry, one locked section. False: names have changed since the LIST began, or there is no
 * room: the entries must not count as the current state. */
static bool intern_entry(struct list_load *l, const struct list_entry *e)
{
    struct worker *w = l->w;
    struct shm_version v;
    int64_t r = -EAGAIN;

    worker_lock(w);
    /* (The directory may be gone, as perhaps no process has it open any more.) */
    if (shm_node_at(w->shm, l->want.node)->state == SHM_NODE_LIVE &&
        shm_node_at(w->shm, l->want.node)->content == l->node_content) {
        list_version(w, l->want.node, e, &v);
        r = shm_node_intern(w->shm, l->want.node, e->name, e->name_len, &v, l->page_ns);
        if (r < 0)
            shm_rollback(w->shm, w->shm->meta);
    }
    worker_unlock(w);
    return r >= 0;
}

/* True if the keys were not being moved to another name at any time during the LIST; otherwise it
 * may have seen only a part of them. */
static bool was_still(struct list_load *l)
{
    struct worker *w = l->w;
    char key[KEY_CAP];
    bool still;

    worker_lock(w);
    still = shm_node_at(w->shm, l->want.node)->state == SHM_NODE_LIVE &&
            !hold_is_taken(w, l->want.node, 0) && key_of_node(w, l->want.node, key) == 0 &&
            strcmp(key, l->prefix) == 0;
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

/* State of the directory as a whole: page 0 begins a listing; the last page completes it, if it is
 * still the same listing and no entry has been evicted. */
static void begin_listing(struct list_load *l)
{
    struct worker *w = l->w;
    struct shm_node *n;

    worker_lock(w);
    n = shm_node_edit(w->shm, l->want.node);
    n->listed_ns = l->want.listing_ns;
    n->flags &= (uint16_t) ~(SHM_NODE_COMPLETE | SHM_NODE_WANTED);
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
        /* (The marker is the first of all keys. One that was put here meanwhile stays.) */
        if (l->want.page == 0 && l->marker)
            n->flags |= SHM_NODE_MARKER;
        else if (l->want.page == 0 && n->content == l->node_content)
            n->flags &= (uint16_t)~SHM_NODE_MARKER;
        if (!interned)
            n->flags &= (uint16_t)~SHM_NODE_LISTING;
        else if (last)
            n->flags = (uint16_t)((n->flags | SHM_NODE_COMPLETE) & ~SHM_NODE_LISTING);
    }
    worker_unlock(w);
}

/* The last name that the page shows. */
static bool last_shown(struct list_load *l, struct list_entry *ret)
{
    struct list_entry e;
    bool any = false;

    for (unsigned i = l->n_blocks; i-- && !any;) {
        size_t off = 0;

        while (list_page_next(page_at(l, i), &off, &e)) {
            if (e.type != LIST_SHADOWED)
                *ret = e;
            any |= e.type != LIST_SHADOWED;
        }
    }
    return any;
}

/* A program that removes all names does so in the order of the listing, or in none: so the last
 * name stays longest. */
static void note_witness(struct list_load *l)
{
    struct worker *w = l->w;
    struct list_entry e = {0};
    bool any = last_shown(l, &e);
    const struct shm_node *n;

    worker_lock(w);
    n = shm_node_at(w->shm, l->want.node);
    if (n->state != SHM_NODE_LIVE || !(n->flags & SHM_NODE_DIR))
        ; /* nobody has it open any more */
    else if (n->content != l->node_content)
        dir_witness_unsure(w, l->want.node);
    else if (any || l->want.page == 0)
        dir_witness_is(w, l->want.node, e.name, e.name_len);
    worker_unlock(w);
}

static void tell_hidden(struct list_load *l)
{
    if (!l->hidden)
        return;
    worker_count(l->w, SHM_STAT_HIDDEN_NAMES, l->hidden);
    if (l->want.page == 0)
        log_notice("keys hidden in a listing prefix=\"%s\" keys=%u: they are not "
                   "valid names (empty, \".\", \"..\"), or name a file and a "
                   "directory at once, of which only the directory is shown",
                   l->prefix, l->hidden);
}

static void complete_pages(struct list_load *l)
{
    bool interned;

    tell_hidden(l);
    note_witness(l);
    interned = intern_pages(l);
    ((struct list_header *)(void *)page_at(l, l->n_blocks - 1))->last = l->last;
    end_listing(l, interned, l->last);
}

/* Ends the job: pages become READY, or are released. */
static void list_finish(struct list_load *l, int error)
{
    struct worker *w = l->w;
    uint32_t wake = UINT32_C(1) << w->slot;

    l->error = error;
    if (!error)
        complete_pages(l);
    for (unsigned i = 0; i < l->n_blocks; i++)
        wake |= error ? shm_block_fail(w->shm, l->block[i])
                      : shm_block_ready(w->shm, l->block[i], list_page_len(page_at(l, i)));
    worker_wake(w, wake);
    room_keep(w);
    l->n_blocks = 0;
    if (l->op && error)
        return; /* the op takes the error and frees it: list_failed */
    if (l->op)
        op_set_state(l->op, NULL, NULL);
    free(l);
}

static void list_fail(struct list_load *l, int error, const char *detail)
{
    log_warn("listing failed prefix=\"%s\" error=\"%s\" detail=\"%s\"", l->prefix, strerror(-error),
             detail);
    list_finish(l, error);
}

/* ---- what pages before or after this one may show ---- */

static int on_asked_entry(void *arg, const struct s3_list_entry *entry)
{
    struct list_load *l = arg;

    (void)entry;
    l->found = true;
    return 0;
}

/* Asks for one key that begins with the name, of which `tail` is the next byte ("": the name
 * itself). */
static int ask_key(struct list_load *l, const char *name, size_t len, const char *tail,
                   int (*on_entry)(void *arg, const struct s3_list_entry *entry), s3_done_fn *done)
{
    char key[2 * KEY_CAP];
    struct s3_list list = {.prefix = key, .max_keys = 1, .on_entry = on_entry};

    l->found = false;
    snprintf(key, sizeof(key), "%s%.*s%s", l->prefix, (int)len, name, tail);
    return s3_list(l->w->s3, &list, done, l, NULL);
}

static void ask_folders(struct list_load *l);

/* The last of the folders is asked for no more. */
static void folder_asked(struct list_load *l, bool shown)
{
    unsigned i = --l->folders.n_asked;

    if (shown)
        list_page_shadow(page_at(l, l->folders.asked[i].page), l->folders.asked[i].off);
    ask_folders(l);
}

static int on_file_entry(void *arg, const struct s3_list_entry *entry)
{
    struct list_load *l = arg;

    l->found |= entry->key_len == l->skip + l->folders.asked[l->folders.n_asked - 1].len;
    return 0;
}

static void on_folder_file(void *arg, const struct s3_result *res)
{
    struct list_load *l = arg;

    if (res->error)
        list_fail(l, res->error, res->text);
    else
        folder_asked(l, l->found);
}

static void on_folder_below(void *arg, const struct s3_result *res)
{
    struct list_load *l = arg;
    int r = res->error;

    if (r == 0 && (l->found || res->truncated)) {
        folder_asked(l, true);
        return;
    }
    if (r == 0)
        r = ask_key(l, l->want.start, l->folders.asked[l->folders.n_asked - 1].len, "",
                    on_file_entry, on_folder_file);
    if (r < 0)
        list_fail(l, r, res->text);
}

/* One by one: is there "name/", or "name", which an earlier page has shown? Two LISTs at most for
 * each. There is one only if the page starts among names that begin with its own. */
static void ask_folders(struct list_load *l)
{
    int r = 0;

    if (!l->folders.n_asked) {
        list_finish(l, 0);
        return;
    }
    r = ask_key(l, l->want.start, l->folders.asked[l->folders.n_asked - 1].len, "/", on_asked_entry,
                on_folder_below);
    if (r < 0)
        list_fail(l, r, "");
}

static void ask_shadows(struct list_load *l);

static void on_shadow(void *arg, const struct s3_result *res)
{
    struct list_load *l = arg;

    if (res->error) {
        list_fail(l, res->error, res->text);
        return;
    }
    if (l->found || res->truncated)
        shadow_last(l);
    else
        list_shadow_pop(&l->shadow);
    ask_shadows(l);
}

/* Files whose directory would come after this page: one by one, the last first. There is one
 * request per file in a listing: if its page ends before its directory could come. Usually there is
 * no such file. */
static void ask_shadows(struct list_load *l)
{
    int r;

    if (!l->shadow.n) {
        ask_folders(l);
        return;
    }
    r = ask_key(l, l->shadow.name, l->shadow.file[l->shadow.n - 1].len, "/", on_asked_entry,
                on_shadow);
    if (r < 0)
        list_fail(l, r, "");
}

/* ---- replies ----
 *
 *   new entries        the page
 *   nothing new        to start-after: the token of the page before is tried, if there is one; else
 *                      the listing is read from its beginning. (Also if the server reported that
 *                      nothing follows: the page before said that something does. Some servers do
 *                      not compare start-after correctly.)
 *                      to a token: the token in that reply is tried, or it is the end
 *
 * Bounded: at last there is an error. */

static int list_ask(struct list_load *l, const char *token);

/* Files among the last entries (at least the very last, if it is one) are left to the next page,
 * which usually shows whether they have a directory. Not if a token decides where that page begins.
 * True if there were any. */
static bool cut_page(struct list_load *l)
{
    uint32_t page = l->n_blocks - 1;

    for (unsigned i = 0; i < l->shadow.n && !trusts_tokens(l); i++) {
        if (l->shadow.file[i].page == page &&
            list_page_cut(page_at(l, page), l->shadow.file[i].off, LIST_CUT_MAX)) {
            list_folder_cut(&l->folders, page, l->shadow.file[i].off);
            l->shadow.n = i;
            return true;
        }
    }
    return false;
}

static void note_token_helped(struct list_load *l)
{
    if (!l->by_token || trusts_tokens(l) || l->asks < 2 || l->want.page == 0)
        return;
    __atomic_store_n(&l->w->shm->header->list_tokens, 1, __ATOMIC_RELAXED);
    log_notice("the server ignores start-after prefix=\"%s\": continuation tokens "
               "are used from now on",
               l->prefix);
}

/* There are new entries, or the listing is complete. */
static void take_answer(struct list_load *l, const struct s3_result *res)
{
    if (res->n_entries)
        note_token_helped(l);
    if (!res->truncated)
        l->shadow.n = 0; /* no directory follows */
    l->last = !res->truncated && !l->full;
    if (!cut_page(l) && res->next_token && !l->full)
        list_page_set_token(page_at(l, l->n_blocks - 1), SHM_BLOCK_SIZE, res->next_token);
    ask_shadows(l);
}

/* The reply has nothing new. Sends another request if there is a way. */
static void ask_on(struct list_load *l, const char *token)
{
    int r;

    if (l->asks > l->want.page + LIST_ASKS_MORE) {
        list_fail(
            l, -EIO,
            "the server brings nothing behind the page before: it keeps neither start-after nor "
            "continuation tokens; use a release of it that does, or fewer than 1,000 names in "
            "this directory");
        return;
    }
    r = list_ask(l, token);
    if (r < 0)
        list_fail(l, r, "");
}

/* True if the server no longer accepts its token. */
static bool refuses_token(struct list_load *l, const struct s3_result *res)
{
    if (!l->by_token || l->refused || res->http_status < 400 || res->http_status >= 500)
        return false;
    l->refused = true;
    return true;
}

static bool brings_nothing(const struct list_load *l, const struct s3_result *res)
{
    return !res->n_entries && (res->truncated || (l->want.page && !l->by_token));
}

static void on_list_done(void *arg, const struct s3_result *res)
{
    struct list_load *l = arg;

    if (res->error && refuses_token(l, res))
        ask_on(l, l->asks == 1 ? NULL : "");
    else if (res->error)
        list_fail(l, res->error, res->text);
    else if (!brings_nothing(l, res))
        take_answer(l, res);
    else if (*l->token)
        ask_on(l, l->token);
    else
        ask_on(l, res->next_token ? res->next_token : "");
}

/* ---- beginning ---- */

/* The op has got its reply or was interrupted: the load continues without it, or has ended with an
 * error that no op takes. */
static void leave(void *state)
{
    struct list_load *l = state;

    l->op = NULL;
    if (l->error)
        free(l);
}

/* Finds the token that came with the page before, if that page is still present. */
static void find_token(struct list_load *l)
{
    struct worker *w = l->w;
    struct shm_block_key key = list_key(&l->want);
    const uint8_t *page;
    uint32_t idx;

    key.no--;
    if (l->want.page == 0 || !shm_block_is_ready(w->shm, key) ||
        shm_block_get(w->shm, key, w->slot, &idx) != SHM_BLOCK_HIT)
        return;
    page = shm_block_data(w->shm, idx);
    if (list_page_check(page, shm_block_len(w->shm, idx)) == 0 &&
        strcmp(list_page_header(page)->next, l->want.start) == 0)
        list_page_token(page, l->token, sizeof(l->token));
    shm_block_unpin(w->shm, idx, w->slot);
}

static int list_prepare(struct list_load *l)
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

/* Requests what follows the start of the page: with start-after (token NULL), with a token, or from
 * the beginning (""). Entries that come by a token may be as old as the listing. */
static int list_ask(struct list_load *l, const char *token)
{
    char start[2 * KEY_CAP];
    struct s3_list list = {.prefix = l->prefix,
                           .delimiter = "/",
                           .start_after = l->want.page ? start : NULL,
                           .token = token,
                           .on_entry = list_on_entry};
    int r;

    l->asks++;
    l->by_token = token;
    if (token && l->want.page)
        l->page_ns = l->want.listing_ns;
    list_page_begin(page_at(l, 0), l->want.start, l->want.listing_ns, l->page_ns);
    list_page_start_after(l->prefix, l->want.start, S3_KEY_MAX, start);
    r = s3_list(l->w->s3, &list, on_list_done, l, NULL);
    if (token == l->token)
        l->token[0] = '\0';
    return r;
}

static int ask_first(struct list_load *l)
{
    find_token(l);
    return list_ask(l, trusts_tokens(l) && *l->token ? l->token : NULL);
}

int list_load(struct op *op, const struct list_want *want)
{
    struct list_load *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->w = op->w;
    l->want = *want;
    r = list_prepare(l);
    if (r == 0 && !add_page(l))
        r = -EAGAIN;
    if (r == 0 && want->page == 0)
        begin_listing(l);
    if (r == 0)
        r = ask_first(l);
    if (r < 0) {
        if (l->n_blocks)
            worker_wake(l->w, shm_block_fail(l->w->shm, l->block[0]));
        free(l);
        return r;
    }
    l->op = op;
    op_set_state(op, l, leave);
    return 0;
}

int list_failed(struct op *op)
{
    struct list_load *l = op->state;
    int error = l ? l->error : 0;

    if (error) {
        op_set_state(op, NULL, NULL);
        free(l);
    }
    return error;
}
