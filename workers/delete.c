/* See delete.h. */
#include "workers/delete.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_error.h"
#include "workers/key.h"
#include "workers/lineage.h"

#define REFUSED_MAX 16 /* other writers in a row that were faster */

struct deletion {
    struct op *op;
    void (*then)(struct op *op, int error);
    enum delete_how how;
    unsigned refused;
    char id[LINEAGE_ID_CAP]; /* that the version must have, "" = any */
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

static void end(struct deletion *d, int error)
{
    struct op *op = d->op;
    void (*then)(struct op *op, int error) = d->then;

    op->state = NULL;
    op->state_free = NULL;
    free(d);
    then(op, error == -ENOENT ? 0 : error);
}

static void on_deleted(void *arg, const struct s3_result *res);
static void on_head(void *arg, const struct s3_result *res);

static void send_delete(struct deletion *d)
{
    struct worker *w = d->op->w;
    bool asks = d->how == DELETE_SEEN ? w->env->traits.delete_if_match
                                      : !asks_no_more && d->refused < REFUSED_MAX;
    int r;

    w->stats->s3[S3_OP_DELETE]++;
    r = s3_delete(w->s3, d->key, asks && *d->etag ? d->etag : NULL, on_deleted, d, &d->op->s3);
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

static void on_deleted(void *arg, const struct s3_result *res)
{
    struct deletion *d = arg;

    d->op->s3 = NULL;
    if (res->http_status == 501 && d->how != DELETE_SEEN && !asks_no_more) {
        asks_no_more = true;
        send_delete(d);
    } else if (res->error == -EEXIST && d->how == DELETE_LAST) {
        d->refused++;
        send_head(d);
    } else {
        end(d, res->error == -EEXIST && d->how == DELETE_MOVED ? 0 : res->error);
    }
}

/* It is not the version that is meant. */
static bool is_another(const struct deletion *d, const struct s3_object *obj)
{
    char id[LINEAGE_ID_CAP];

    (void)lineage_head(s3_object_meta(obj, LINEAGE_META), id);
    return strcmp(d->etag, obj->etag) != 0 || (*d->id && strcmp(d->id, id) != 0);
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
        end(d, -EEXIST);
        return;
    }
    memset(d->etag, 0, sizeof(d->etag));
    memcpy(d->etag, res->obj.etag, strnlen(res->obj.etag, sizeof(d->etag) - 1));
    send_delete(d);
}

void delete_key(struct op *op, const char *key, const char *etag, enum delete_how how,
                const char *id, void (*then)(struct op *op, int error))
{
    struct deletion *d = calloc(1, sizeof(*d));

    if (!d) {
        then(op, -ENOMEM);
        return;
    }
    *d = (struct deletion){.op = op, .then = then, .how = how};
    memcpy(d->key, key, strlen(key));
    memcpy(d->etag, etag, strnlen(etag, sizeof(d->etag) - 1));
    if (id)
        memcpy(d->id, id, strnlen(id, sizeof(d->id) - 1));
    op->state = d;
    op->state_free = free;
    if (*etag && how == DELETE_SEEN && (*d->id || !op->w->env->traits.delete_if_match))
        send_head(d);
    else
        send_delete(d);
}
