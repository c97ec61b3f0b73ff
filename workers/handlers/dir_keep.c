/* See dir_keep.h. One PUT, of what mkdir puts, and only if there is none yet: a marker that
 * somebody else has put meanwhile stays as it is. Before it one LIST, if ours is too old, or was of
 * more names than are known. If that shows others, one of them is the new witness
 * (dir_witness.h): in whatever order names are removed, few of them are. */
#include "workers/handlers/dir_keep.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/handlers/folder_forms.h"
#include "workers/objmeta/folder.h"
#include "workers/objmeta/meta.h"
#include "workers/op/dir_witness.h"
#include "workers/op/folders.h"
#include "workers/op/key.h"
#include "workers/op/sequence.h"
#include "workers/op/validity.h"

#define DIR_KEEP_ASKS 16   /* replies in a row with no information but that more follows */
#define DIR_KEEP_TRIES 4   /* witnesses that others remove just when they are chosen */
#define DIR_KEEP_KEYS 1000 /* of which one becomes the witness */

struct dir_keep {
    struct op *op;
    bool asked; /* with a condition */
    struct meta_out meta;
    bool marker; /* S3 has one */
    bool there;  /* S3 has the witness */
    unsigned asks, tries;
    unsigned seen;         /* entries below the directory */
    char witness[KEY_CAP]; /* one of them, drawn: a key, or a prefix with its slash */
    uint64_t size;         /* of the witness, if that is a key */
    char key[KEY_CAP];
};

enum last { LAST_NO, LAST_YES, LAST_ASK };

/* Under shm->meta. What the listing shows. Names that somebody else has made since are not in an
 * old one: then S3 is asked. Where not all names are known, the witness tells. */
static enum last was_last(struct op *op, uint32_t dir, const char *name, size_t len)
{
    struct worker *w = op->w;
    const struct shm_node *d = shm_node_at(w->shm, dir);
    uint32_t left = shm_node_find(w->shm, dir, name, len) == SHM_NIL ? 0 : 1;

    if (!w->conf->directories.marker || d->parent == SHM_NIL ||
        (d->flags & (SHM_NODE_DIR | SHM_NODE_MARKER | SHM_NODE_LOCAL)) != SHM_NODE_DIR)
        return LAST_NO;
    dir_witness_gone(w, dir, name, len);
    validity_dir_changed(w, dir); /* a page that is being loaded may still have the name */
    if (!(d->flags & SHM_NODE_COMPLETE))
        return dir_witness_is_lost(w, dir) ? LAST_ASK : LAST_NO;
    if (d->entries != left)
        return LAST_NO;
    return validity_holds(shm_node_listed_ns(w->shm, dir), w->conf->directories.ttl_ns,
                          clock_mono_ns())
               ? LAST_YES
               : LAST_ASK;
}

static void tell_failure(const char *key, int error)
{
    if (error)
        log_notice(
            "no marker for an emptied directory key=\"%s\" error=\"%s\": it is there no more", key,
            strerror(-error));
}

static void dir_keep_end(struct dir_keep *k, int error)
{
    struct op *op = k->op;
    uint32_t dir;

    tell_failure(k->key, error);
    worker_lock(op->w);
    dir = op_node(op);
    if (!error && dir != SHM_NIL && (shm_node_at(op->w->shm, dir)->flags & SHM_NODE_CURRENT))
        shm_node_edit(op->w->shm, dir)->flags |= SHM_NODE_MARKER;
    worker_unlock(op->w);
    op_set_state(op, NULL, NULL);
    free(k);
    op_step_done(op, error);
}

static int dir_keep_put(struct dir_keep *k);

static void dir_keep_on_put(void *arg, const struct s3_result *res)
{
    struct dir_keep *k = arg;
    int r = res->error;

    k->op->s3 = NULL;
    if (s3_condition_dropped(k->op->w->s3, k->asked, res, S3_HABIT_NO_PUT_MATCH)) {
        r = dir_keep_put(k);
        if (r == 0)
            return;
    }
    dir_keep_end(k, r == -EEXIST ? 0 : r); /* EEXIST: it has one by now */
}

static int dir_keep_put(struct dir_keep *k)
{
    struct worker *w = k->op->w;
    struct s3_put put = meta_marker(k->key, &k->meta);

    k->asked = !s3_habit_has(w->s3, S3_HABIT_NO_PUT_MATCH);
    put.if_none_match = k->asked ? "*" : NULL;
    return s3_put(w->s3, &put, dir_keep_on_put, k, &k->op->s3);
}

/* Under shm->meta. False: it has been removed itself, if this request took very long. */
static bool dir_is_named(struct worker *w, uint32_t dir)
{
    return dir != SHM_NIL && (shm_node_at(w->shm, dir)->flags & SHM_NODE_CURRENT);
}

static void dir_keep_put_marker(struct dir_keep *k)
{
    struct op *op = k->op;
    struct worker *w = op->w;
    uint32_t dir;
    bool named;
    int r = 0;

    worker_lock(w);
    dir = op_node(op);
    named = dir_is_named(w, dir);
    if (named && w->conf->metadata == CONF_METADATA_FULL)
        meta_write(&k->meta, shm_node_at(w->shm, dir));
    worker_unlock(w);
    if (named)
        r = dir_keep_put(k);
    if (!named || r < 0)
        dir_keep_end(k, r);
}

/* ---- other forms ---- */

static struct dir_keep *dir_keep_new(struct op *op, const char *key)
{
    struct dir_keep *k = calloc(1, sizeof(*k));

    if (!k)
        return NULL;
    k->op = op;
    snprintf(k->key, sizeof(k->key), "%s", key);
    op_set_state(op, k, free);
    return k;
}

static void dir_keep_unified(struct op *op, int error)
{
    struct worker *w = op->w;
    struct dir_keep *k;
    char key[KEY_CAP] = "";
    bool marker = false;
    uint32_t dir;
    int r = -ESTALE;

    worker_lock(w);
    dir = op_node(op);
    if (dir != SHM_NIL) {
        r = key_of_node(w, dir, key);
        marker = shm_node_at(w->shm, dir)->flags & SHM_NODE_MARKER;
    }
    worker_unlock(w);
    tell_failure(key, error);
    if (error || r < 0 || marker) {
        op_step_done(op, error ? error : r);
        return;
    }
    k = dir_keep_new(op, key);
    if (k)
        dir_keep_put_marker(k);
    else
        op_step_done(op, -ENOMEM);
}

/* The marker will count more than the folder in another form: it gets the metadata of that. */
static void dir_keep_mark(struct dir_keep *k)
{
    struct op *op = k->op;
    struct worker *w = op->w;
    char key[KEY_CAP];
    uint32_t dir;
    bool named;

    worker_lock(w);
    dir = op_node(op);
    named = dir_is_named(w, dir);
    worker_unlock(w);
    if (!named || !folders_were_seen(w, SHM_FOLDERS_BARE | SHM_FOLDERS_SUFFIX)) {
        dir_keep_put_marker(k);
        return;
    }
    memcpy(key, k->key, sizeof(key));
    op_set_state(op, NULL, NULL);
    free(k);
    folder_forms(op, key, dir, FOLDER_FORMS_UNIFY, dir_keep_unified);
}

/* ---- the witness ---- */

static void dir_keep_ask(struct dir_keep *k);

/* Ends without a marker: the directory is not empty. */
static void dir_keep_leave(struct dir_keep *k)
{
    struct op *op = k->op;

    op_set_state(op, NULL, NULL);
    free(k);
    op_step_done(op, 0);
}

/* The name of the witness as the mount shows it. */
static const char *witness_name(const struct dir_keep *k, size_t *ret_len)
{
    const char *name = k->witness + strlen(k->key);
    size_t len = strlen(name), folder = folder_of_suffix(name, len, k->size);

    if (len && name[len - 1] == '/')
        len--;
    *ret_len = folder ? folder : len;
    return name;
}

static void lose_witness(struct dir_keep *k)
{
    size_t len;
    const char *name = witness_name(k, &len);

    worker_lock(k->op->w);
    dir_witness_gone(k->op->w, op_node(k->op), name, len);
    worker_unlock(k->op->w);
}

static int on_witness_entry(void *arg, const struct s3_list_entry *entry)
{
    struct dir_keep *k = arg;

    k->there |= strcmp(entry->key, k->witness) == 0;
    return 0;
}

static void on_witness(void *arg, const struct s3_result *res)
{
    struct dir_keep *k = arg;

    k->op->s3 = NULL;
    if (res->error || !k->there)
        lose_witness(k);
    if (res->error || k->there || ++k->tries == DIR_KEEP_TRIES)
        dir_keep_leave(k); /* where there is none, the next removal asks */
    else
        dir_keep_ask(k);
}

/* First the witness is noted, then it is looked at again: so whoever removes it before that look is
 * seen by it, and whoever does later sees the note. */
static void dir_keep_choose(struct dir_keep *k)
{
    char prefix[KEY_CAP];
    struct s3_list list = {.prefix = prefix, .delimiter = "/", .on_entry = on_witness_entry};
    struct worker *w = k->op->w;
    size_t len, end = strlen(k->witness) - 1;
    const char *name = witness_name(k, &len);
    bool lost, folder = k->witness[end] == '/';

    /* A folder without objects shows up only beside others: behind "name-1" and "name.txt". */
    snprintf(prefix, sizeof(prefix), "%.*s", (int)(folder ? end : end + 1), k->witness);
    list.max_keys = folder ? DIR_KEEP_KEYS : 1;
    worker_lock(w);
    lost = dir_witness_is_lost(w, op_node(k->op));
    if (lost)
        dir_witness_is(w, op_node(k->op), name, len);
    worker_unlock(w);
    k->there = false;
    if (!lost) { /* somebody else has chosen one, and looks at it */
        dir_keep_leave(k);
    } else if (s3_list(w->s3, &list, on_witness, k, &k->op->s3) < 0) {
        lose_witness(k);
        dir_keep_leave(k);
    }
}

/* ---- asking what is left ---- */

static int on_left_entry(void *arg, const struct s3_list_entry *entry)
{
    struct dir_keep *k = arg;

    if (strcmp(entry->key, k->key) == 0) {
        k->marker = true;
    } else if (randombytes_uniform(++k->seen) == 0) { /* so each may be the last one */
        snprintf(k->witness, sizeof(k->witness), "%s", entry->key);
        k->size = entry->size;
    }
    return 0;
}

static int list_left(struct dir_keep *k, const char *token);

static void on_left(void *arg, const struct s3_result *res)
{
    struct dir_keep *k = arg;
    int r = res->error;

    k->op->s3 = NULL;
    if (r == 0 && k->seen && !k->marker) {
        dir_keep_choose(k);
        return;
    }
    if (r == 0 && res->truncated && !k->marker) {
        r = k->asks < DIR_KEEP_ASKS && res->next_token ? list_left(k, res->next_token) : -EIO;
        if (r == 0)
            return;
    }
    if (r == 0 && !k->marker)
        dir_keep_mark(k);
    else
        dir_keep_end(k, r);
}

static int list_left(struct dir_keep *k, const char *token)
{
    /* With a delimiter: a folder without objects shows up only this way. */
    struct s3_list list = {.prefix = k->key,
                           .delimiter = "/",
                           .token = token,
                           .max_keys = DIR_KEEP_KEYS,
                           .on_entry = on_left_entry};

    k->asks++;
    return s3_list(k->op->w->s3, &list, on_left, k, &k->op->s3);
}

static void dir_keep_ask(struct dir_keep *k)
{
    int r;

    k->asks = k->seen = 0;
    k->marker = false;
    r = list_left(k, NULL);
    if (r < 0)
        dir_keep_end(k, r);
}

/* ---- the step ---- */

static void dir_keep_begin(struct op *op, const char *key, enum last last)
{
    struct dir_keep *k = dir_keep_new(op, key);

    if (!k)
        op_step_done(op, -ENOMEM);
    else if (last == LAST_ASK)
        dir_keep_ask(k);
    else
        dir_keep_mark(k);
}

void dir_keep(struct op *op, const char *name, size_t len)
{
    struct worker *w = op->w;
    enum last last = LAST_NO;
    char key[KEY_CAP];
    uint32_t dir;
    int r = 0;

    worker_lock(w);
    dir = op_node(op);
    if (dir != SHM_NIL)
        last = was_last(op, dir, name, len);
    if (last != LAST_NO)
        r = key_of_node(w, dir, key);
    worker_unlock(w);
    if (r < 0 || last == LAST_NO)
        op_step_done(op, r);
    else
        dir_keep_begin(op, key, last);
}
