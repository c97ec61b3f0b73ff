/* See delete.h. */
#include "workers/write/delete.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_win.h"
#include "workers/cas/cas.h"
#include "workers/objmeta/lineage.h"
#include "workers/op/key.h"
#include "workers/op/settle.h"
#include "workers/server/server.h"

#define REFUSED_MAX 16 /* refusals in a row because another writer was faster */
#define BLIND_AFTER 2  /* refusals in a row although HEAD shows that the condition holds */
#define LOST_MAX 8     /* lost replies after which the version was still there */

struct deletion {
    struct op *op;
    void (*then)(struct op *op, int error);
    enum delete_how how;
    struct shm_deletion *note;
    unsigned refused, lost, looks;
    unsigned agreed; /* refusals in a row although HEAD found the expected version */
    bool asked;      /* the last DELETE had a condition */
    bool must_find;
    bool blind; /* this server's conditions are not reliable */
    struct loop_timer wait;
    bool unclear; /* one of our DELETEs may have taken effect */
    bool missing; /* ... the last one: its reply was lost, or its worker died */
    uint64_t since_ns;
    char id[LINEAGE_ID_CAP]; /* write-id of the version, "" = unknown */
    char key[KEY_CAP];
    char etag[SHM_ETAG_MAX];
};

bool delete_asks(const struct worker *w)
{
    return !s3_habit_has(w->s3, S3_HABIT_NO_DELETE_MATCH);
}

/* For compare-and-set. */
static bool server_compares(const struct worker *w)
{
    return server_keeps(w, SERVER_KEEPS_DELETE) && delete_asks(w);
}

static void deletion_free(void *state)
{
    struct deletion *d = state;

    loop_timer_cancel(d->op->w->loop, &d->wait);
    free(d);
}

/* (A baseline of the version that one of our DELETEs may have removed must not turn the absence of
 * the key into a conflict. EEXIST is one, which the caller is told now.) */
static void delete_end(struct deletion *d, int error)
{
    struct op *op = d->op;
    void (*then)(struct op * op, int error) = d->then;

    if (error && error != -ENOENT && error != -EEXIST && d->unclear && d->how == DELETE_SEEN) {
        worker_lock(op->w);
        cas_may_be_removed(op, d->key, d->etag);
        worker_unlock(op->w);
    }
    if (error == -ENOENT && !(d->must_find && !d->unclear))
        error = 0;
    op_set_state(op, NULL, NULL);
    deletion_free(d);
    then(op, error);
}

static void delete_on_deleted(void *arg, const struct s3_result *res);
static void delete_on_head(void *arg, const struct s3_result *res);

/* Journals what is sent, for the worker that replays this op. */
static void delete_note_sent(struct deletion *d)
{
    struct shm_deletion *n = d->note;
    struct worker *w = d->op->w;

    worker_lock(w);
    if (d->how == DELETE_SEEN)
        shm_win_forget(w->shm, d->key);
    (void)op_progress(d->op); /* which contains *n */
    n->sent = 1;
    n->sent_ns = clock_mono_ns();
    memcpy(n->etag, d->etag, sizeof(d->etag));
    memcpy(n->id, d->id, sizeof(d->id));
    worker_unlock(w);
}

static void send_delete(struct deletion *d)
{
    struct worker *w = d->op->w;
    bool seen = d->how == DELETE_SEEN;
    bool asks = seen ? server_compares(w) : delete_asks(w) && !d->blind && d->refused < REFUSED_MAX;
    struct s3_delete del = {
        .key = d->key, .if_match = asks && *d->etag ? d->etag : NULL, .once = true};
    int r;

    delete_note_sent(d);
    d->missing = false;
    d->looks = 0;
    d->asked = del.if_match != NULL;
    r = s3_delete(w->s3, &del, delete_on_deleted, d, &d->op->s3);
    if (r < 0)
        delete_end(d, r);
}

static void send_head(struct deletion *d)
{
    struct worker *w = d->op->w;
    int r;

    r = s3_head(w->s3, d->key, delete_on_head, d, &d->op->s3);
    if (r < 0)
        delete_end(d, r);
}

static void on_waited(struct loop_timer *t)
{
    send_head(container_of(t, struct deletion, wait));
}

/* A reply was lost: a HEAD finds out what happened, up to LOST_MAX times. (The S3 client does not
 * retry here.) */
static void look_again(struct deletion *d, const struct s3_result *res)
{
    d->unclear = d->missing = true;
    d->since_ns = clock_mono_ns();
    if (++d->lost > LOST_MAX)
        delete_end(d, res->error);
    else
        send_head(d);
}

/* The expected version is still there. */
static void delete_settle(struct deletion *d)
{
    struct worker *w = d->op->w;
    uint64_t wait = settle_wait_ns(s3_settle_ns(w->s3), d->since_ns, clock_mono_ns(), d->looks++);

    if (wait)
        loop_timer_set(w->loop, &d->wait, wait);
    else
        send_delete(d);
}

/* The server does not support the condition: HEAD takes its place where another version must not be
 * deleted. */
static void go_blind(struct deletion *d)
{
    if (d->how == DELETE_SEEN)
        (void)s3_habit_learn(d->op->w->s3, S3_HABIT_NO_DELETE_MATCH);
    else
        d->blind = true;
    if (d->how == DELETE_LAST)
        send_delete(d);
    else
        send_head(d);
}

static void delete_on_deleted(void *arg, const struct s3_result *res)
{
    struct deletion *d = arg;

    d->op->s3 = NULL;
    if (!res->error && d->blind)
        (void)s3_habit_learn(d->op->w->s3, S3_HABIT_NO_DELETE_MATCH);
    if (d->asked && s3_condition_unknown(res->http_status, res->code)) {
        go_blind(d);
    } else if (res->error && res->may_have_acted) {
        look_again(d, res);
    } else if (res->error == -EEXIST && d->how != DELETE_SEEN) {
        d->refused++;
        send_head(d);
    } else {
        delete_end(d, res->error);
    }
}

/* True if this is not the expected version. After a DELETE that may have taken effect the ETag is
 * not enough: if the same content is written again, the new file has the same ETag. */
static bool is_another(const struct deletion *d, const struct s3_object *obj)
{
    bool ids_tell = *d->id && (d->unclear || cas_is_empty(d->etag));
    char id[LINEAGE_ID_CAP];

    if (!lineage_head(s3_object_meta(obj, LINEAGE_META), id))
        strcpy(id, CAS_NO_ID);
    return strcmp(d->etag, obj->etag) != 0 || (ids_tell && strcmp(d->id, id) != 0);
}

/* Another version is there, after one of our DELETEs may have taken effect. If it was built on the
 * version that we meant, the DELETE had no effect; any other version may have been written after
 * it. */
static int delete_judge(const struct deletion *d, const char *lineage)
{
    if (*d->etag && !lineage_is_valid(lineage))
        return 0;
    if (!*d->etag || !*d->id || strcmp(d->id, CAS_NO_ID) == 0) {
        log_notice("outcome of a delete unknown key=\"%s\": the "
                   "answer was lost, and another version is there now",
                   d->key);
        return -EIO;
    }
    return lineage_judge(lineage, d->id, NULL) == LINEAGE_OURS ? -EEXIST : 0;
}

/* For last write wins: false if the version that is there stays, because it was written after our
 * DELETE took effect, or is not the one that was moved. If the server refuses a condition although
 * it holds, its conditions are not reliable. */
static bool goes(struct deletion *d, const struct s3_object *obj)
{
    bool same = *d->etag && strcmp(d->etag, obj->etag) == 0;

    if (d->missing)
        return same || !*d->etag;
    d->agreed = same ? d->agreed + 1 : 0;
    d->blind |= d->agreed >= BLIND_AFTER;
    return same || d->how == DELETE_LAST;
}

/* The caller's baseline has been evicted; its write-id may show that it is of what is there. */
static void remember(struct deletion *d, const struct s3_object *obj)
{
    struct op *op = d->op;

    worker_lock(op->w);
    op->w->variant->has_seen(op->w, d->key, obj);
    cas_own_etag_of(op, d->key, obj->etag, d->etag);
    cas_id(op, d->key, d->etag, d->id);
    worker_unlock(op->w);
}

static void delete_on_head(void *arg, const struct s3_result *res)
{
    struct deletion *d = arg;

    d->op->s3 = NULL;
    if (res->error) {
        delete_end(d, res->error);
        return;
    }
    if (cas_is_forgotten(d->etag) && !d->unclear)
        remember(d, &res->obj);
    if (d->how == DELETE_SEEN && is_another(d, &res->obj)) {
        delete_end(d,
                   d->unclear ? delete_judge(d, s3_object_meta(&res->obj, LINEAGE_META)) : -EEXIST);
        return;
    }
    if (d->how != DELETE_SEEN && !goes(d, &res->obj)) {
        delete_end(d, 0);
        return;
    }
    shm_etag_copy(d->etag, res->obj.etag);
    if (d->missing)
        delete_settle(d);
    else
        send_delete(d);
}

/* True if a HEAD must precede the DELETE. */
static bool looks_first(const struct deletion *d)
{
    if (d->missing)
        return true;
    return d->how == DELETE_SEEN && *d->etag &&
           (!server_compares(d->op->w) || cas_is_forgotten(d->etag) ||
            (*d->id && cas_is_empty(d->etag)));
}

void delete_key(struct op *op, const struct delete_args *a, void (*then)(struct op *op, int error))
{
    struct deletion *d = calloc(1, sizeof(*d));
    const char *etag = a->note->sent ? a->note->etag : a->etag;
    const char *id = a->note->sent ? a->note->id : a->id;

    if (!d) {
        then(op, -ENOMEM);
        return;
    }
    *d = (struct deletion){.op = op,
                           .then = then,
                           .how = a->how,
                           .must_find = a->must_find,
                           .note = a->note,
                           .missing = a->note->sent,
                           .unclear = a->note->sent,
                           .since_ns = a->note->sent_ns}; /* used if `missing` */
    memcpy(d->key, a->key, strlen(a->key));
    shm_etag_copy(d->etag, etag);
    if (id)
        memcpy(d->id, id, strnlen(id, sizeof(d->id) - 1));
    op_set_state(op, d, deletion_free);
    d->wait.on_time = on_waited;
    if (looks_first(d))
        send_head(d);
    else
        send_delete(d);
}
