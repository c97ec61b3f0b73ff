/* The lookup plan: which requests show what a name is, and in which order.
 *
 *   looks like a file, or was one    GET of its first bytes; if there is no such key: LIST of
 *                                    "name/", one key; without an extension that of "name", which
 *                                    shows a folder's suffix (if no bytes are needed: HEAD)
 *   anything else                    LIST of "name" up to the next slash: "name" itself is a
 *                                    file, "name/" a directory. If the page ends before "name/"
 *                                    could come: LIST of "name/", one key. If it is a file: GET or
 *                                    HEAD, as above, since a listing tells neither its mode and
 *                                    times, nor whether it is a link, a FIFO, a socket or a device
 *
 * A folder may be kept in other forms (workers/objmeta/folder.h). An empty object "name" may be
 * one: after a LIST the HEAD tells; if GET or HEAD came first, LIST of "name" follows, since a
 * marker "name/" counts more. "name_$folder$" is one if there is neither "name" nor "name/": the
 * LIST of "name" usually shows it; if not, a HEAD asks for it, but only on mounts that have seen
 * one.
 *
 * GET first is right if the file is read next: open, read and close of a small file cost only this
 * one request. A LIST covers files, directories and nothing alike, but brings neither data nor
 * metadata. (What lookups in the same directory have found would be a better guess than the form of
 * the name:
 * resolve_ask() is the place for it.)
 *
 * op_lookup.c and op_open.c know what needs no request. resolve_intern.c applies a reply to the
 * name table. */
#include "workers/names/resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/objmeta/folder.h"
#include "workers/op/folders.h"
#include "workers/op/key.h"

/* Keys between "name" and "name/" begin with "name" and one of " !\"#$%&'()*+,-." ("name-2",
 * "name.txt"): few pages have more of them than this, and a page of a thousand keys would mostly
 * show siblings that sort later. */
#define NAME_PAGE 16

struct resolve {
    struct worker *w;
    resolve_done_fn *done;
    void *arg;
    struct s3_req *req;
    struct resolve_result res;
    struct s3_object obj;
    enum resolve_how how;
    bool file, dir; /* seen in a listing */
    bool passed;    /* the page has a key that sorts at "name/" or after it */
    bool listed;    /* a listing has shown whether there is "name/" */
    bool bare;      /* `obj` is a folder, which GET or HEAD has shown */
    bool suffix;    /* there is "name_$folder$" */
    bool no_suffix; /* there is none */
    uint8_t *data;
    size_t cap;
    size_t key_len;
    char key[KEY_CAP + FOLDER_SUFFIX_LEN]; /* room for a slash, or the suffix */
};

/* ---- the end ---- */

static void resolve_drop(struct resolve *r)
{
    free(r->data);
    free(r);
}

void resolve_cancel(struct resolve *r)
{
    if (!r)
        return;
    s3_cancel(r->req);
    resolve_drop(r);
}

static void resolve_finish(struct resolve *r)
{
    bool tells = r->res.kind == RESOLVE_FILE || (r->res.kind == RESOLVE_DIR && r->res.has_meta);

    r->res.obj = tells && !r->res.not_modified ? &r->obj : NULL;
    r->res.data = r->res.data_len ? r->data : NULL;
    r->done(r->arg, &r->res);
    resolve_drop(r);
}

static void resolve_fail(struct resolve *r, const struct s3_result *s3, int error)
{
    r->res.error = error;
    log_warn("lookup failed key=\"%.*s\" error=\"%s\" detail=\"%s\" request_id=%s attempts=%u",
             (int)r->key_len, r->key, strerror(-error), s3 ? s3->text : "",
             s3 ? s3->request_id : "", s3 ? s3->attempts : 0);
    resolve_finish(r);
}

/* ---- LIST of "name/": a directory or nothing ---- */

static int on_below_entry(void *arg, const struct s3_list_entry *entry)
{
    struct resolve *r = arg;

    (void)entry;
    r->dir = true;
    return 0;
}

static int ask_head(struct resolve *r);
static int ask_get(struct resolve *r, const char *etag);
static int ask_suffix(struct resolve *r);

/* Only its metadata tell what a file is: its mode and times, whether it is a link, and, of an empty
 * one, whether it is a folder, a FIFO, a socket or a device. */
static bool lacks_metadata(const struct resolve *r)
{
    return r->file && !r->dir && !r->bare && r->w->conf->metadata == CONF_METADATA_FULL;
}

/* 0 or -errno. The bytes come with it if they are wanted: the OPEN that follows need not ask. */
static int ask_metadata(struct resolve *r)
{
    return r->how == RESOLVE_GUESS && r->obj.size > 0 ? ask_get(r, NULL) : ask_head(r);
}

/* The name belongs to the folder before its suffix, and is not shown itself. */
static bool is_hidden(const struct resolve *r)
{
    return folder_of_suffix(r->key, r->key_len, r->obj.size) > 0;
}

static bool may_have_suffix(const struct resolve *r)
{
    return !r->file && !r->dir && !r->suffix && !r->no_suffix &&
           folders_were_seen(r->w, SHM_FOLDERS_SUFFIX);
}

/* What else the listing says of folders. */
static void note_folders(struct resolve *r)
{
    if (r->suffix)
        folders_seen(r->w, SHM_FOLDERS_SUFFIX);
    if (r->file && r->dir && r->obj.size == 0)
        folders_seen(r->w, SHM_FOLDERS_BARE); /* a marker in the form of old releases, perhaps */
    r->file &= !is_hidden(r);
    r->res.has_meta = r->bare && !r->dir;
    r->dir |= r->bare || (r->suffix && !r->file);
}

static void conclude(struct resolve *r)
{
    note_folders(r);
    if (lacks_metadata(r) && ask_metadata(r) == 0)
        return;
    if (may_have_suffix(r) && ask_suffix(r) == 0)
        return;
    r->res.kind = r->dir ? RESOLVE_DIR : r->file ? RESOLVE_FILE : RESOLVE_NONE;
    if (r->dir && r->file)
        log_debug("both a file and a directory, showing the directory key=\"%.*s\"",
                  (int)r->key_len, r->key);
    resolve_finish(r);
}

static void on_below(void *arg, const struct s3_result *s3)
{
    struct resolve *r = arg;

    r->req = NULL;
    r->dir |= s3->truncated; /* by a key that no file name can have */
    if (s3->error)
        resolve_fail(r, s3, s3->error);
    else
        conclude(r);
}

static int list(struct resolve *r, const struct s3_list *how, s3_done_fn *done)
{
    return s3_list(r->w->s3, how, done, r, &r->req);
}

static void ask_below(struct resolve *r)
{
    struct s3_list how = {.prefix = r->key, .max_keys = 1, .on_entry = on_below_entry};
    int e;

    r->listed = true;
    if (r->key_len >= S3_KEY_MAX) { /* no key can be below such a long one */
        conclude(r);
        return;
    }
    r->key[r->key_len] = '/';
    e = list(r, &how, on_below);
    r->key[r->key_len] = '\0';
    if (e < 0)
        resolve_fail(r, NULL, e);
}

/* ---- LIST of "name" up to the next slash ---- */

static void take_entry(struct resolve *r, const struct s3_list_entry *entry)
{
    r->file = true;
    if (r->bare && (entry->size > 0 || !entry->etag || strcmp(entry->etag, r->obj.etag) != 0))
        r->bare = false; /* it is no folder any more */
    r->obj.size = entry->size;
    r->obj.mtime_ns = entry->mtime_ns;
    if (entry->etag && strlen(entry->etag) < sizeof(r->obj.etag))
        strcpy(r->obj.etag, entry->etag);
}

static int on_name_entry(void *arg, const struct s3_list_entry *entry)
{
    struct resolve *r = arg;
    const char *rest;
    unsigned char next;

    if (entry->key_len < r->key_len || memcmp(entry->key, r->key, r->key_len) != 0)
        return -EPROTO;
    rest = entry->key + r->key_len;
    next = (unsigned char)*rest;
    if (!entry->is_prefix && entry->key_len == r->key_len)
        take_entry(r, entry);
    else if (next == '/')
        r->dir = true;
    r->passed |= next >= '/';
    r->suffix |= !entry->is_prefix && entry->size == 0 && strcmp(rest, FOLDER_SUFFIX) == 0;
    r->no_suffix |= strcmp(rest, FOLDER_SUFFIX) > 0;
    return 0;
}

static void on_name(void *arg, const struct s3_result *s3)
{
    struct resolve *r = arg;

    r->req = NULL;
    r->listed = true;
    r->no_suffix |= !s3->truncated;
    if (s3->error)
        resolve_fail(r, s3, s3->error);
    else if (s3->truncated && !r->dir && !r->passed)
        ask_below(r);
    else
        conclude(r);
}

static int ask_name(struct resolve *r)
{
    struct s3_list how = {
        .prefix = r->key, .delimiter = "/", .max_keys = NAME_PAGE, .on_entry = on_name_entry};

    return list(r, &how, on_name);
}

/* ---- GET ---- */

/* True for a name with an extension: a dot that is neither its first nor its last character. */
static bool looks_like_file(const char *key)
{
    const char *slash = strrchr(key, '/');
    const char *name = slash ? slash + 1 : key;
    const char *dot = strrchr(name, '.');

    return dot && dot > name && dot[1];
}

/* Memory for the data is allocated only now: hundreds of requests may wait for a connection. */
static int on_get_head(void *arg, const struct s3_object *obj)
{
    struct resolve *r = arg;
    uint64_t want = r->w->conf->lookup.speculate;

    r->cap = (size_t)(obj->size < want ? obj->size : want);
    r->data = r->cap ? malloc(r->cap) : NULL;
    return r->cap && !r->data ? -ENOMEM : 0;
}

/* The data did not match the ETag: it was a mix of two versions. */
static void on_get_restart(void *arg)
{
    struct resolve *r = arg;

    free(r->data);
    r->data = NULL;
    r->res.data_len = r->cap = 0;
}

static int on_get_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct resolve *r = arg;

    if (off != r->res.data_len || len > r->cap - r->res.data_len)
        return -EPROTO;
    memcpy(r->data + off, data, len);
    r->res.data_len += len;
    return 0;
}

/* There is an object of this name. A folder's own marker counts more than one in another form. */
static void resolve_got(struct resolve *r, const struct s3_result *s3)
{
    bool hidden, folder;

    r->obj = s3->obj;
    hidden = !s3->not_modified && is_hidden(r);
    folder = !s3->not_modified && !hidden && r->w->conf->metadata == CONF_METADATA_FULL &&
             folder_is_bare(&r->obj);
    if (folder || hidden) {
        r->bare = folder;
        r->file = false;
        if (folder)
            folders_seen(r->w, SHM_FOLDERS_BARE);
        if (r->listed)
            conclude(r);
        else if (!folder || ask_name(r) < 0) /* (it may have the other form as well) */
            ask_below(r);
        return;
    }
    r->res.kind = RESOLVE_FILE;
    r->res.not_modified = s3->not_modified;
    r->res.has_meta = !s3->not_modified;
    resolve_finish(r);
}

static void on_get(void *arg, const struct s3_result *s3)
{
    struct resolve *r = arg;

    r->req = NULL;
    /* EISDIR: some servers on top of a file system return it for a directory. */
    if (s3->error == -ENOENT || s3->error == -EISDIR) {
        r->file = false;
        if (r->listed || looks_like_file(r->key) || ask_name(r) < 0)
            ask_below(r);
    } else if (s3_is_archived(s3->code) && ask_head(r) == 0) {
        return; /* it can be removed, renamed and replaced all the same */
    } else if (s3->error) {
        resolve_fail(r, s3, s3->error);
    } else {
        resolve_got(r, s3);
    }
}

static int ask_head(struct resolve *r)
{
    return s3_head_guess(r->w->s3, r->key, on_get, r, &r->req); /* after a 404, LIST decides */
}

static int ask_get(struct resolve *r, const char *etag)
{
    uint64_t speculate = r->w->conf->lookup.speculate;
    struct s3_get get = {.key = r->key,
                         .len = speculate,
                         .if_none_match = etag && *etag ? etag : NULL,
                         .on_head = on_get_head,
                         .on_data = on_get_data,
                         .on_restart = on_get_restart};

    if (!speculate)
        return ask_head(r);
    return s3_get(r->w->s3, &get, on_get, r, &r->req);
}

/* ---- HEAD of "name_$folder$" ---- */

static void on_suffix(void *arg, const struct s3_result *s3)
{
    struct resolve *r = arg;

    r->req = NULL;
    r->suffix = !s3->error && s3->obj.size == 0;
    r->no_suffix = !r->suffix;
    if (s3->error && s3->error != -ENOENT)
        resolve_fail(r, s3, s3->error);
    else
        conclude(r);
}

/* 0 or -errno: there can be none. */
static int ask_suffix(struct resolve *r)
{
    int e = -ENAMETOOLONG;

    if (r->key_len + FOLDER_SUFFIX_LEN <= S3_KEY_MAX) {
        memcpy(r->key + r->key_len, FOLDER_SUFFIX, FOLDER_SUFFIX_LEN + 1);
        e = s3_head(r->w->s3, r->key, on_suffix, r, &r->req);
        r->key[r->key_len] = '\0';
    }
    return e;
}

/* ---- the plan ---- */

static int resolve_ask(struct resolve *r, enum resolve_how how, const char *etag)
{
    bool guess = how == RESOLVE_GUESS || how == RESOLVE_GUESS_STAT;

    if (how == RESOLVE_NO_DATA || (guess && !looks_like_file(r->key)))
        return ask_name(r);
    return how == RESOLVE_STAT || how == RESOLVE_GUESS_STAT ? ask_head(r) : ask_get(r, etag);
}

int resolve_start(struct worker *w, const char *key, enum resolve_how how, const char *etag,
                  resolve_done_fn *done, void *arg, struct resolve **ret)
{
    struct resolve *r;
    size_t len = strlen(key);
    int e;

    if (len > S3_KEY_MAX)
        return -ENAMETOOLONG;
    r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->w = w;
    r->done = done;
    r->arg = arg;
    r->how = how;
    r->key_len = len;
    memcpy(r->key, key, len + 1);
    e = resolve_ask(r, how, etag);
    if (e < 0) {
        resolve_drop(r);
        return e;
    }
    *ret = r;
    return 0;
}
