/* Moving the keys of a directory. S3 has no rename: each key is copied and then deleted, so at any
 * time each file is at its old name, at its new one, or at both. Memory is bounded by one page of
 * keys.
 *
 *   pages    of keys, one page after the other, until none follows
 *   a look   at what is left below the old name: keys that were added meanwhile are moved as well
 *   the end  the old name's marker is deleted, unless a page had it: on some servers folders exist
 *            without any object until that DELETE; inner folders are deleted first, deepest first
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/handlers/rename.h"
#include "workers/objmeta/meta.h"
#include "workers/op/copy.h"
#include "workers/write/delete.h"

#define RENAME_PARALLEL 8
#define RENAME_PAGE_BYTES (S3_LIST_MAX * (S3_KEY_MAX + 1))
#define RENAME_ETAG_BYTES (S3_LIST_MAX * S3_ETAG_MAX)
#define RENAME_CLASS_BYTES (S3_LIST_MAX * S3_CLASS_MAX)
/* pages in a row without any deleted key, as all are being rewritten; then DELETE has no
 * condition */
#define RENAME_STUCK_MAX 16
#define RENAME_VAIN_MAX 16 /* LISTs in a row without keys, although more are reported */

struct move;

/* One key that is being moved. */
struct mover {
    struct move *m;
    struct s3_req *req;
    char from[KEY_CAP];
    char to[KEY_CAP];
    char etag[S3_ETAG_MAX];           /* from the listing, "" = none */
    char storage_class[S3_CLASS_MAX]; /* the same */
    uint64_t size;                    /* from the listing */
    bool busy;                   /* it moves a key; `req` may be NULL: a copy in parts (copy.h) */
    bool asked;                  /* the DELETE had the ETag as its condition */
    bool pinned;                 /* it copies the version that an open file below is of */
    char copy_etag[S3_ETAG_MAX]; /* of the copy that the open file follows; "" = none */
};

struct move {
    struct op *op;
    void (*then)(struct op *op, int error);
    struct buf keys;    /* the part after `from` of each key of the page, NUL-terminated */
    struct buf etags;   /* ETag of each of them, NUL-terminated */
    struct buf classes; /* the same for storage classes */
    struct buf sizes;   /* size of each of them, a uint64_t */
    size_t next;        /* offset in `keys` of the next key to move */
    size_t next_etag, next_class, next_size;
    size_t left; /* end of those in `keys` whose markers are still to be deleted */
    bool more;   /* more keys follow after this page */
    unsigned running;
    unsigned deleted, refused; /* keys of this page; refused: written meanwhile */
    unsigned stuck;            /* pages in a row with some refused, none deleted */
    unsigned vain;
    bool none;        /* the last page had no key */
    bool marker_gone; /* the marker of `from` was deleted */
    int error;
    struct s3_req *list;
    char from[KEY_CAP];
    char to[KEY_CAP];
    char after[KEY_CAP];  /* the page begins after this key, "" = with the first key */
    char folder[KEY_CAP]; /* the folder that is checked, or being deleted */
    char below[KEY_CAP];  /* a folder in it, "" = none was found */
    char gone[KEY_CAP];   /* the folder that was deleted last */
    bool key_below;       /* a key was found in it */
    struct mover mover[RENAME_PARALLEL];
};

static void next_page(struct move *m);

static void move_free(void *state)
{
    struct move *m = state;

    if (m->list)
        s3_cancel(m->list);
    for (int i = 0; i < RENAME_PARALLEL; i++) {
        if (m->mover[i].req)
            s3_cancel(m->mover[i].req);
    }
    buf_done(&m->keys);
    buf_done(&m->etags);
    buf_done(&m->classes);
    buf_done(&m->sizes);
    free(m);
}

static void rename_dir_end(struct move *m, int error)
{
    struct op *op = m->op;
    void (*then)(struct op * op, int error) = m->then;

    op_set_state(op, NULL, NULL);
    move_free(m);
    then(op, error);
}

static void fill_movers(struct move *m);

/* A mover has finished, and can be used again: notes the first error, and starts more keys. */
static void moved(struct mover *mv, int error, const char *detail)
{
    struct move *m = mv->m;

    mv->req = NULL;
    mv->busy = false;
    m->running--;
    if (!error)
        m->op->rec->progress.rename.moved++; /* (a hint: its loss is no harm) */
    if (error && !m->error) {
        m->error = error;
        m->op->logged = true;
        log_warn("rename stopped key=\"%s\" to=\"%s\" error=\"%s\" detail=\"%s\": a "
                 "part of the directory has been moved, the rest is at the old name",
                 mv->from, mv->to, strerror(-error), detail);
    }
    fill_movers(m);
}

static int rename_dir_delete_source(struct mover *mv);
static void not_moved(struct mover *mv, int error, const char *detail);

/* Only the version that was listed is deleted. A version written since stays, and is moved with the
 * next listing. */
static void rename_dir_on_deleted(void *arg, const struct s3_result *res)
{
    struct mover *mv = arg;
    int r = res->error;

    mv->req = NULL;
    if (s3_condition_dropped(mv->m->op->w->s3, mv->asked, res, S3_HABIT_NO_DELETE_MATCH)) {
        r = rename_dir_delete_source(mv);
        if (r == 0)
            return;
    }
    if (r == 0 || r == -ENOENT)
        mv->m->deleted++;
    mv->m->refused += r == -EEXIST;
    mv->m->marker_gone |= r == 0 && strcmp(mv->from, mv->m->from) == 0;
    if (r == 0 || r == -ENOENT || r == -EEXIST)
        moved(mv, 0, "");
    else
        /* (of rename(2) ENOTEMPTY would speak of the new name) */
        not_moved(mv, r == -ENOTEMPTY ? -EIO : r, res->text);
}

static int rename_dir_delete_source(struct mover *mv)
{
    struct worker *w = mv->m->op->w;
    struct s3_delete del = {.key = mv->from};

    mv->asked = *mv->etag && delete_asks(w) && mv->m->stuck < RENAME_STUCK_MAX;
    del.if_match = mv->asked ? mv->etag : NULL;
    return s3_delete(w->s3, &del, rename_dir_on_deleted, mv, &mv->req);
}

/* ---- open files below: a copy may have another ETag than its source ---- */

/* Under shm->meta. The node of a file below the directory, SHM_NIL if it is not known here. */
static uint32_t node_below(struct move *m, const char *rest)
{
    struct shm *shm = m->op->w->shm;
    uint32_t node = m->op->rec->node;

    while (node != SHM_NIL && *rest) {
        size_t len = strcspn(rest, "/");

        node = shm_node_find(shm, node, rest, len);
        rest += len + (rest[len] == '/');
    }
    return node;
}

/* Under shm->meta. The node of the mover's file if it is open, in the version `etag`. */
static uint32_t open_version(struct mover *mv, const char *etag)
{
    uint32_t node = node_below(mv->m, mv->from + strlen(mv->m->from));
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(mv->m->op->w->shm, node);

    return n && *etag && (n->opens || n->session != SHM_NIL) && !(n->flags & SHM_NODE_DIR) &&
                   shm_etag_same(n->etag, etag)
               ? node
               : SHM_NIL;
}

static bool is_open(struct mover *mv)
{
    bool open;

    worker_lock(mv->m->op->w);
    open = open_version(mv, mv->etag) != SHM_NIL;
    worker_unlock(mv->m->op->w);
    return open;
}

/* What is not here of an open file will be asked of the copy. (Until the rename ends, reads and
 * loads wait for it.) */
static void follow(struct mover *mv, const char *from, const char *etag)
{
    struct worker *w = mv->m->op->w;
    uint32_t node;

    worker_lock(w);
    node = open_version(mv, from);
    if (node != SHM_NIL) {
        struct shm_node *n = shm_node_edit(w->shm, node);

        shm_etag_copy(n->etag, etag);
        if (n->session != SHM_NIL)
            shm_etag_copy(shm_session_edit(w->shm, n->session)->expect.etag, etag);
    }
    worker_unlock(w);
}

static int copy_key(struct mover *mv);

/* The file stays at the old name: an open one is of that again. */
static void not_moved(struct mover *mv, int error, const char *detail)
{
    if (*mv->copy_etag)
        follow(mv, mv->copy_etag, mv->etag);
    moved(mv, error, detail);
}

static void rename_dir_on_copied(void *arg, const struct s3_result *res)
{
    struct mover *mv = arg;
    int r = res->error;

    mv->req = NULL;
    if (r == -ESTALE && mv->pinned) { /* the open file has been replaced: it does not follow */
        mv->pinned = false;
        r = copy_key(mv);
        if (r == 0)
            return;
    }
    if (r == 0 && mv->pinned && *res->obj.etag) {
        strcpy(mv->copy_etag, res->obj.etag);
        follow(mv, mv->etag, mv->copy_etag);
    }
    if (r == -ENOENT) { /* deleted by another client meanwhile */
        moved(mv, 0, "");
        return;
    }
    if (r == 0)
        r = rename_dir_delete_source(mv);
    if (r < 0)
        not_moved(mv, r, res->text);
}

static int send_copy(struct mover *mv, const struct s3_pairs *kept)
{
    struct s3_copy copy = {.from_key = mv->from,
                           .to_key = mv->to,
                           .if_source_match = mv->pinned ? mv->etag : NULL,
                           .kept = kept};

    return copy_object(mv->m->op->w, &copy, mv->size, rename_dir_on_copied, mv, &mv->req);
}

static void on_key_head(void *arg, const struct s3_result *res)
{
    struct mover *mv = arg;
    int r = res->error;

    mv->req = NULL;
    if (r == 0)
        r = send_copy(mv, &res->obj.kept);
    if (r == -ENOENT) /* deleted by another client meanwhile */
        moved(mv, 0, "");
    else if (r < 0)
        not_moved(mv, r, res->text);
}

/* A listing tells the storage class, but not the encryption: where some objects have one that the
 * bucket does not give by itself, each is asked for it. */
static int copy_key(struct mover *mv)
{
    struct s3_client *s3 = mv->m->op->w->s3;
    struct s3_pairs kept;

    if (s3_habit_has(s3, S3_HABIT_OWN_SSE))
        return s3_head(s3, mv->from, on_key_head, mv, &mv->req);
    s3_class_keep(&kept, mv->storage_class);
    return send_copy(mv, &kept);
}

/* ---- a marker: put again, since not every server copies one ----
 *
 * It is deleted after everything that was below it. Some servers keep real directories: they refuse
 * a second DELETE of one that is not empty, or keep one if its marker and its last file are deleted
 * at the same time. */

static void on_marker_put(void *arg, const struct s3_result *res)
{
    moved(arg, res->error, res->text);
}

static void on_marker_head(void *arg, const struct s3_result *res)
{
    struct mover *mv = arg;
    struct worker *w = mv->m->op->w;
    struct meta_out meta = {0};
    struct s3_put put;
    int r = res->error;

    mv->req = NULL;
    if (r == 0) {
        if (mv->from[strlen(mv->m->from)] == '\0') /* of the directory itself */
            meta_write_ctime(&meta, mv->m->op->rec->progress.rename.wall_ns);
        (void)meta_keep(&meta, &res->obj, META_KEEP_ALL);
        put = meta_marker(mv->to, &meta);
        r = s3_put(w->s3, &put, on_marker_put, mv, &mv->req);
    }
    if (r < 0)
        moved(mv, r == -ENOENT ? 0 : r, res->text);
}

static bool is_marker(const char *rest)
{
    size_t n = strlen(rest);

    return n == 0 || rest[n - 1] == '/'; /* the empty rest is the marker of the directory itself */
}

/* The last marker that is left on the page, going backwards. If the page ends below a marker, more
 * keys may be below it: it is left out, and a later page has it again. */
static const char *last_marker(struct move *m)
{
    const char *data = m->keys.data, *end = data + m->keys.len - 1;

    while (end > data && end[-1])
        end--;
    while (m->left) {
        size_t at = m->left - 1;

        while (at && data[at - 1])
            at--;
        m->left = at;
        if (is_marker(data + at) && !(m->more && strncmp(end, data + at, strlen(data + at)) == 0))
            return data + at;
    }
    return NULL;
}

/* 1: a DELETE was sent; 0: no marker is left; -errno. */
static int delete_marker(struct move *m)
{
    struct mover *mv = &m->mover[0];
    const char *rest = last_marker(m);
    int r;

    if (!rest)
        return 0;
    snprintf(mv->from, sizeof(mv->from), "%s%s", m->from, rest);
    snprintf(mv->to, sizeof(mv->to), "%s%s", m->to, rest);
    mv->etag[0] = '\0'; /* all markers have the same ETag */
    mv->copy_etag[0] = '\0';
    r = rename_dir_delete_source(mv);
    if (r < 0)
        return r;
    mv->busy = true;
    m->running++;
    return 1;
}

static int start_mover(struct mover *mv, const char *rest)
{
    struct move *m = mv->m;
    struct worker *w = m->op->w;
    size_t from = strlen(m->from), to = strlen(m->to), n = strlen(rest) + 1;

    if (from + n > KEY_CAP || to + n > KEY_CAP)
        return -ENAMETOOLONG;
    mv->copy_etag[0] = '\0';
    memcpy(mv->from, m->from, from);
    memcpy(mv->from + from, rest, n);
    memcpy(mv->to, m->to, to);
    memcpy(mv->to + to, rest, n);
    if (is_marker(rest)) {
        return s3_head(w->s3, mv->from, on_marker_head, mv, &mv->req);
    }
    mv->pinned = is_open(mv);
    return copy_key(mv);
}

/* Starts movers while there are keys and free movers; at the end of the page deletes its markers,
 * one by one, and requests the next page. */
static void fill_movers(struct move *m)
{
    int r = 0;

    for (int i = 0; i < RENAME_PARALLEL && !m->error; i++) {
        struct mover *mv = &m->mover[i];
        const char *rest;

        if (mv->busy || m->next >= m->keys.len)
            continue;
        rest = m->keys.data + m->next;
        m->next += strlen(rest) + 1;
        snprintf(mv->etag, sizeof(mv->etag), "%s", m->etags.data + m->next_etag);
        m->next_etag += strlen(mv->etag) + 1;
        snprintf(mv->storage_class, sizeof(mv->storage_class), "%s",
                 m->classes.data + m->next_class);
        m->next_class += strlen(mv->storage_class) + 1;
        memcpy(&mv->size, m->sizes.data + m->next_size, sizeof(mv->size));
        m->next_size += sizeof(mv->size);
        r = start_mover(mv, rest);
        if (r < 0)
            m->error = r;
        else
            m->running++;
        mv->busy = r >= 0;
    }
    if (m->running)
        return;
    if (!m->error)
        r = delete_marker(m);
    if (m->error || r < 0)
        rename_dir_end(m, m->error ? m->error : r);
    else if (r == 0)
        next_page(m);
}

static int on_key(void *arg, const struct s3_list_entry *entry)
{
    struct move *m = arg;
    const char *etag = entry->etag && strlen(entry->etag) < S3_ETAG_MAX ? entry->etag : "";
    const char *storage_class = entry->storage_class ? entry->storage_class : "";
    size_t skip = strlen(m->from);
    int r;

    if (entry->key_len < skip || strncmp(entry->key, m->from, skip) != 0)
        return -EPROTO;
    r = buf_append(&m->keys, entry->key + skip, entry->key_len - skip + 1);
    if (r == 0)
        r = buf_append(&m->sizes, &entry->size, sizeof(entry->size));
    if (r == 0)
        r = buf_append(&m->classes, storage_class, strlen(storage_class) + 1);
    return r < 0 ? r : buf_append(&m->etags, etag, strlen(etag) + 1);
}

/* ---- the end ---- */

static void rename_dir_look(struct move *m, const char *token);
static void list_keys(struct move *m, const char *token);

/* Not an error: all keys are at the new name, which is what the caller asked for. */
static void leave_folder(struct move *m, const char *folder, const char *detail)
{
    log_notice("an empty folder remains folder=\"%s\" detail=\"%s\": the server goes on "
               "listing it",
               folder, detail);
    rename_dir_end(m, 0);
}

static void on_folder_deleted(void *arg, const struct s3_result *res)
{
    struct move *m = arg;
    size_t len = strlen(m->folder) - 1;

    m->list = NULL;
    if (res->error && res->error != -ENOENT) {
        leave_folder(m, m->folder, res->text);
        return;
    }
    if (strcmp(m->folder, m->from) == 0) {
        rename_dir_end(m, 0);
        return;
    }
    strcpy(m->gone, m->folder);
    while (len && m->folder[len - 1] != '/')
        len--;
    m->folder[len] = '\0';
    rename_dir_look(m, NULL);
}

static void delete_folder(struct move *m)
{
    int r;

    if (m->marker_gone && strcmp(m->folder, m->from) == 0) {
        rename_dir_end(m, 0);
        return;
    }
    r = s3_delete(m->op->w->s3, &(struct s3_delete){.key = m->folder}, on_folder_deleted, m,
                  &m->list);
    if (r < 0)
        rename_dir_end(m, r);
}

/* Something is left: keys, which the next page will list, or, if the last page had none,
 * folders. */
static void go_down(struct move *m)
{
    m->marker_gone = false;
    if (m->key_below || !m->none) {
        m->after[0] = '\0';
        list_keys(m, NULL);
    } else if (strcmp(m->below, m->gone) == 0) {
        leave_folder(m, m->below, "it was deleted");
    } else {
        strcpy(m->folder, m->below);
        rename_dir_look(m, NULL);
    }
}

static void give_up(struct move *m)
{
    m->op->logged = true;
    log_warn("rename stopped key=\"%s\" to=\"%s\": the server reports more keys, but "
             "does not return them; those that it returned have been moved",
             m->from, m->to);
    rename_dir_end(m, -EIO);
}

static void on_look(void *arg, const struct s3_result *res)
{
    struct move *m = arg;

    bool found = m->key_below || *m->below;
    bool vain = found ? m->key_below && m->none : res->truncated;

    m->list = NULL;
    if (res->error)
        rename_dir_end(m, res->error);
    else if (vain && ++m->vain > RENAME_VAIN_MAX)
        give_up(m);
    else if (found)
        go_down(m);
    else if (res->truncated)
        rename_dir_look(m, res->next_token);
    else
        delete_folder(m);
}

static int on_look_entry(void *arg, const struct s3_list_entry *entry)
{
    struct move *m = arg;

    if (entry->key_len >= sizeof(m->below) ||
        strncmp(entry->key, m->folder, strlen(m->folder)) != 0)
        return -EPROTO;
    if (strcmp(entry->key, m->folder) == 0)
        return 0; /* the marker of the folder itself */
    if (entry->is_prefix)
        strcpy(m->below, entry->key);
    else
        m->key_below = true;
    return 0;
}

/* Checks what is left in m->folder. */
static void rename_dir_look(struct move *m, const char *token)
{
    struct s3_list list = {.prefix = m->folder,
                           .delimiter = "/",
                           .token = token,
                           .max_keys = 2,
                           .on_entry = on_look_entry};
    int r;

    m->below[0] = '\0';
    m->key_below = false;
    r = s3_list(m->op->w->s3, &list, on_look, m, &m->list);
    if (r < 0)
        rename_dir_end(m, r);
}

/* ---- pages ---- */

/* True if no key of the page becomes too long under the new name. (A later page may have one that
 * does: then what was moved stays moved.) */
static bool page_fits(struct move *m)
{
    size_t to = strlen(m->to);

    for (const char *rest = m->keys.data; rest < m->keys.data + m->keys.len;
         rest += strlen(rest) + 1) {
        if (to + strlen(rest) <= S3_KEY_MAX)
            continue;
        m->op->logged = true;
        log_warn("rename refused key=\"%s\" to=\"%s\" below=\"%s\": that key would have more than "
                 "1024 bytes",
                 m->from, m->to, rest);
        return false;
    }
    return true;
}

static void on_page(void *arg, const struct s3_result *res)
{
    struct move *m = arg;

    m->list = NULL;
    m->left = m->keys.len;
    m->more = res->truncated;
    m->none = m->keys.len == 0;
    if (res->error) {
        rename_dir_end(m, res->error);
    } else if (!m->none && !page_fits(m)) {
        rename_dir_end(m, -ENAMETOOLONG);
    } else if (!m->none) {
        m->vain = 0;
        fill_movers(m);
    } else if (!m->more) {
        strcpy(m->folder, m->from);
        rename_dir_look(m, NULL);
    } else if (res->next_token && m->vain++ < RENAME_VAIN_MAX) {
        list_keys(m, res->next_token);
    } else {
        give_up(m);
    }
}

static void list_keys(struct move *m, const char *token)
{
    struct s3_list list = {.prefix = m->from,
                           .start_after = *m->after ? m->after : NULL,
                           .token = token,
                           .on_entry = on_key};
    struct worker *w = m->op->w;
    int r;

    m->deleted = m->refused = 0;
    buf_reset(&m->keys);
    buf_reset(&m->etags);
    buf_reset(&m->classes);
    buf_reset(&m->sizes);
    m->next = m->next_etag = m->next_class = m->next_size = 0;
    r = s3_list(w->s3, &list, on_page, m, &m->list);
    if (r < 0)
        rename_dir_end(m, r);
}

/* If no key of the page was deleted (markers with more below them), continues after its last key,
 * and comes back later. Else lists from the same place: the moved keys are no longer there. */
static void next_page(struct move *m)
{
    const char *last = m->keys.data + m->keys.len - 1;

    if (m->deleted)
        m->stuck = 0;
    else
        m->stuck += m->refused != 0;
    if (!m->more) {
        strcpy(m->folder, m->from);
        rename_dir_look(m, NULL);
        return;
    }
    while (last > m->keys.data && last[-1])
        last--;
    if (!m->deleted)
        snprintf(m->after, sizeof(m->after), "%s%s", m->from, last);
    list_keys(m, NULL);
}

void rename_keys(struct op *op, const char *from, const char *to,
                 void (*then)(struct op *op, int error))
{
    struct move *m = calloc(1, sizeof(*m));

    if (!m) {
        then(op, -ENOMEM);
        return;
    }
    m->op = op;
    m->then = then;
    buf_init(&m->keys, RENAME_PAGE_BYTES);
    buf_init(&m->etags, RENAME_ETAG_BYTES);
    buf_init(&m->classes, RENAME_CLASS_BYTES);
    buf_init(&m->sizes, S3_LIST_MAX * sizeof(uint64_t));
    memcpy(m->from, from, strlen(from) + 1);
    memcpy(m->to, to, strlen(to) + 1);
    for (int i = 0; i < RENAME_PARALLEL; i++)
        m->mover[i].m = m;
    op_set_state(op, m, move_free);
    list_keys(m, NULL);
}
