/* See delete.h. */
#include "workers/delete.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/cas.h"
#include "workers/key.h"
#include "workers/lineage.h"

#define REFUSED_MAX 16 /* other writers in a row that were faster */
#define LOST_MAX 8     /* answers that were lost, and the version found still there */
#define LOST_WAIT_NS (50 * NS_PER_MS) /* doubled each time, but for the first */

struct deletion {
    struct op *op;
    void (*then)(struct op *op, int error);
    enum delete_how how;
    unsigned refused, lost;
    struct loop_timer wait;
    bool unclear; /* one of ours may have acted */
    char id[LINEAGE_ID_CAP]; /* of the version, "" = not known */
    char key[KEY_CAP];
    char etag[SHM_ETAG_MAX];
};

static bool asks_no_more; /* in this worker */

bool delete_asks(void)
{
    return !asks_no_more;
}

void delete_asks_no_more(void)
{
    asks_no_more = true;
}

static void deletion_free(void *state)
{
    struct deletion *d = state;

    loop_timer_cancel(d->op->w->loop, &d->wait);
    free(d);
}

static void end(struct deletion *d, int error)
{
    struct op *op = d->op;
    void (*then)(struct op *op, int error) = d->then;

    op->state = NULL;
    op->state_free = NULL;
    deletion_free(d);
    then(op, error == -ENOENT ? 0 : error);
}

static void on_deleted(void *arg, const struct s3_result *res);
static void on_head(void *arg, const struct s3_result *res);

static void send_delete(struct deletion *d)
{
    struct worker *w = d->op->w;
    bool seen = d->how == DELETE_SEEN;
    bool asks = seen ? w->env->traits.delete_if_match
                     : !asks_no_more && d->refused < REFUSED_MAX;
    struct s3_delete del = {
        .key = d->key, .if_match = asks && *d->etag ? d->etag : NULL, .once = seen};
    int r;

    if (seen && d->op->rec->step != DELETE_SENT) {
        worker_lock(w);
        op_edit(d->op)->step = DELETE_SENT;
        memcpy(delete_note_of(d->op)->etag, d->etag, sizeof(d->etag));
        memcpy(delete_note_of(d->op)->id, d->id, sizeof(d->id));
        worker_unlock(w);
    }
    w->stats->s3[S3_OP_DELETE]++;
    r = s3_delete(w->s3, &del, on_deleted, d, &d->op->s3);
    if (r < 0)
        end(d, r);
}

static void send_head(struct deletion *d)
{
    struct worker *w = d->op->w;
    int r;

    w->stats->s3[S3_OP_HEAD]++;
    r = s3_head(w->s3, d->key, on_head, d, &d->op->s3);
    if (r < 0)
        end(d, r);
}

static void on_waited(struct loop_timer *t)
{
    send_head((struct deletion *)((char *)t - offsetof(struct deletion, wait)));
}

/* An answer is missing: HEAD tells what there is to tell, as often as there may be a reason. The
 * client does not try again by itself, so the waiting for a server that is busy is here. */
static void look_again(struct deletion *d, const struct s3_result *res)
{
    d->unclear = true;
    if (++d->lost > LOST_MAX)
        end(d, res->error);
    else if (d->lost == 1)
        send_head(d);
    else
        loop_timer_set(d->op->w->loop, &d->wait, LOST_WAIT_NS << (d->lost - 1));
}

static void on_deleted(void *arg, const struct s3_result *res)
{
    struct deletion *d = arg;

    d->op->s3 = NULL;
    if (res->http_status == 501 && d->how != DELETE_SEEN && !asks_no_more) {
        asks_no_more = true;
        send_delete(d);
    } else if (d->how == DELETE_SEEN && res->error && res->may_have_acted) {
        look_again(d, res);
    } else if (res->error == -EEXIST && d->how == DELETE_LAST) {
        d->refused++;
        send_head(d);
    } else {
        end(d, res->error == -EEXIST && d->how == DELETE_MOVED ? 0 : res->error);
    }
}

/* It is not the version that is meant. A DELETE that may have acted makes all of them suspect: who
 * writes the same again makes a file with the same ETag. */
static bool is_another(const struct deletion *d, const struct s3_object *obj)
{
    bool ids_tell = *d->id && (d->unclear || cas_is_empty(d->etag));
    char id[LINEAGE_ID_CAP];

    if (!lineage_head(s3_object_meta(obj, LINEAGE_META), id))
        strcpy(id, CAS_NO_ID);
    return strcmp(d->etag, obj->etag) != 0 || (ids_tell && strcmp(d->id, id) != 0);
}

/* Another version is there, after one of ours may have acted. What was built on ours shows that it
 * has not; whatever else is there may have come after it. */
static int judge(const struct deletion *d, const char *lineage)
{
    if (*d->etag && !lineage_is_valid(lineage))
        return 0;
    if (!*d->etag || !*d->id || strcmp(d->id, CAS_NO_ID) == 0) {
        log_notice("delete: it cannot be told whether it acted, look what is there key=\"%s\": the "
                   "answer was lost, and another version is there now",
                   d->key);
        return -EIO;
    }
    return lineage_judge(lineage, d->id, NULL) == LINEAGE_OURS ? -EEXIST : 0;
}

static void on_head(void *arg, const struct s3_result *res)
{
    struct deletion *d = arg;

    d->op->s3 = NULL;
    if (res->error) {
        end(d, res->error);
        return;
    }
    if (d->how == DELETE_SEEN && is_another(d, &res->obj)) {
        end(d, d->unclear ? judge(d, s3_object_meta(&res->obj, LINEAGE_META)) : -EEXIST);
        return;
    }
    memset(d->etag, 0, sizeof(d->etag));
    memcpy(d->etag, res->obj.etag, strnlen(res->obj.etag, sizeof(d->etag) - 1));
    send_delete(d);
}

/* Whether the DELETE waits for what a HEAD says. */
static bool looks_first(const struct deletion *d)
{
    if (d->how != DELETE_SEEN)
        return false;
    if (d->unclear)
        return true;
    return *d->etag && (!d->op->w->env->traits.delete_if_match || (*d->id && cas_is_empty(d->etag)));
}

void delete_key(struct op *op, const char *key, const char *etag, enum delete_how how,
                const char *id, void (*then)(struct op *op, int error))
{
    struct deletion *d = calloc(1, sizeof(*d));

    if (!d) {
        then(op, -ENOMEM);
        return;
    }
    *d = (struct deletion){
        .op = op, .then = then, .how = how, .unclear = op->rec->step == DELETE_SENT};
    memcpy(d->key, key, strlen(key));
    if (d->unclear) {
        etag = delete_note_of(op)->etag;
        id = delete_note_of(op)->id;
    }
    memcpy(d->etag, etag, strnlen(etag, sizeof(d->etag) - 1));
    if (id)
        memcpy(d->id, id, strnlen(id, sizeof(d->id) - 1));
    op->state = d;
    op->state_free = deletion_free;
    d->wait.on_time = on_waited;
    if (looks_first(d))
        send_head(d);
    else
        send_delete(d);
}
