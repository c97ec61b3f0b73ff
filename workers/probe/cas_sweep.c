/* What a killed probe has left: objects below KEY_RESERVED_DIR, and uploads, which are described by
 * notes. A later start deletes them when they are too old to belong to a running probe. */
#include "workers/probe/cas_probe_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "workers/op/key.h"

#define OLD_NS (5 * 60 * (int64_t)NS_PER_S)          /* no probe runs this long */
#define FORGET_NS (24 * 60 * 60 * (int64_t)NS_PER_S) /* then its note is deleted anyway */
#define CLEAN_TRIES 3
#define SWEEP_MAX 100 /* maximum of keys per start: the next start deletes the rest */

struct sweep {
    struct cas_probe *p;
    int64_t now_ns; /* on the server's clock */
    bool done;
    unsigned n;
    struct {
        char *key;
        bool forget;
    } old[SWEEP_MAX];
};

/* ---- uploads ---- */

/* True if the note was read, or does not exist (*id is "" then). */
static bool read_note(struct cas_probe *p, const char *note, char id[S3_UPLOAD_ID_MAX])
{
    if (cas_get(p, note) < 0 || p->answer.error) {
        id[0] = '\0';
        return p->answer.error == -ENOENT;
    }
    memcpy(id, p->answer.body, p->answer.body_len);
    id[p->answer.body_len < S3_UPLOAD_ID_MAX ? p->answer.body_len : 0] = '\0';
    return true;
}

/* Completes the upload with a part of its own. True if the upload no longer exists. */
static bool complete(struct cas_probe *p, const char *key, const char *id)
{
    char part[S3_ETAG_MAX];

    if (cas_part(p, key, id) < 0)
        return false;
    if (p->answer.error)
        return p->answer.error == -ESTALE || p->answer.error == -EINVAL ||
               p->answer.error == -ENOENT;
    strcpy(part, p->answer.etag);
    return cas_complete(p, key, id, part, NULL, NULL) == 0 && p->answer.error == 0;
}

/* Deletes the key first: as long as the note exists, this can be repeated. */
bool cas_end_upload(struct cas_probe *p, const char *key, const char *note)
{
    char id[S3_UPLOAD_ID_MAX];
    bool over;

    p->cleaning = true;
    over = read_note(p, note, id) && (!*id || complete(p, key, id));
    cas_clean(p, key);
    if (over)
        cas_clean(p, note);
    p->cleaning = false;
    return over;
}

void cas_clean(struct cas_probe *p, const char *key)
{
    bool was = p->cleaning;

    p->cleaning = true;
    for (unsigned i = 0; i < CLEAN_TRIES; i++) { /* after that it is left to a later start */
        if (cas_delete(p, key, NULL) == 0 && !s3_may_heal(p->answer.error))
            break;
    }
    p->cleaning = was;
}

/* ---- objects ---- */

static int sweep_on_entry(void *arg, const struct s3_list_entry *e)
{
    struct sweep *s = arg;

    int64_t age = s->now_ns - e->mtime_ns;

    if (e->is_prefix || s->n == SWEEP_MAX || age < OLD_NS ||
        !key_is_reserved(s->p->conf, e->key, e->key_len))
        return 0;
    s->old[s->n].forget = age > FORGET_NS;
    s->old[s->n].key = strdup(e->key);
    s->n += s->old[s->n].key != NULL;
    return 0;
}

static void sweep_on_done(void *arg, const struct s3_result *res)
{
    struct sweep *s = arg;

    (void)res; /* the entries that were reported are valid all the same */
    s->done = true;
}

static void list(struct sweep *s)
{
    struct s3_list list = {.prefix = s->p->root, .on_entry = sweep_on_entry};
    struct s3_req *req = NULL;
    int r = s3_list(s->p->client, &list, sweep_on_done, s, &req);

    s->p->n_requests++;
    while (r == 0 && !s->done)
        r = loop_turn(s->p->loop);
    if (req && !s->done)
        s3_cancel(req);
}

static void remove_one(struct cas_probe *p, const char *key, bool forget)
{
    size_t len = strlen(key), tail = strlen(CAS_NOTE);
    char object[KEY_CAP];

    if (len > tail && strcmp(key + len - tail, CAS_NOTE) == 0) {
        snprintf(object, sizeof(object), "%.*s", (int)(len - tail), key);
        forget &= !cas_end_upload(p, object, key);
    } else {
        forget = true;
    }
    if (forget)
        cas_clean(p, key);
}

void cas_sweep(struct cas_probe *p)
{
    struct sweep s = {.p = p};

    s.now_ns = p->server_ns ? p->server_ns + (int64_t)clock_mono_ns() : (int64_t)clock_wall_ns();
    list(&s);
    for (unsigned i = 0; i < s.n; i++) {
        if (clock_mono_ns() < p->end_ns)
            remove_one(p, s.old[i].key, s.old[i].forget);
        free(s.old[i].key);
    }
}
