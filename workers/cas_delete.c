/* See cas_delete.h. */
#include "workers/cas_delete.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_error.h"
#include "workers/key.h"

struct deletion {
    struct op *op;
    void (*then)(struct op *op, int error);
    char key[KEY_CAP];
    char etag[SHM_ETAG_MAX];
};

static void end(struct deletion *d, int error)
{
    struct op *op = d->op;
    void (*then)(struct op *op, int error) = d->then;

    op->s3 = NULL;
    op->state = NULL;
    op->state_free = NULL;
    free(d);
    then(op, error == -ENOENT ? 0 : error);
}

static void on_deleted(void *arg, const struct s3_result *res)
{
    end(arg, res->error);
}

static int send(struct deletion *d, bool conditional)
{
    struct worker *w = d->op->w;

    w->stats->s3[S3_OP_DELETE]++;
    return s3_delete(w->s3, d->key, conditional ? d->etag : NULL, on_deleted, d, &d->op->s3);
}

static void on_head(void *arg, const struct s3_result *res)
{
    struct deletion *d = arg;
    int r = res->error;

    d->op->s3 = NULL;
    if (r == 0)
        r = strcmp(d->etag, res->obj.etag) == 0 ? send(d, false) : -EEXIST;
    if (r < 0)
        end(d, r);
}

void cas_delete_seen(struct op *op, const char *key, const char *etag,
                     void (*then)(struct op *op, int error))
{
    struct worker *w = op->w;
    struct deletion *d = calloc(1, sizeof(*d));
    int r;

    if (!d) {
        then(op, -ENOMEM);
        return;
    }
    *d = (struct deletion){.op = op, .then = then};
    memcpy(d->key, key, strlen(key));
    memcpy(d->etag, etag, strnlen(etag, sizeof(d->etag) - 1));
    op->state = d;
    op->state_free = free;
    if (!*etag || w->env->traits.delete_if_match) {
        r = send(d, *etag);
    } else {
        w->stats->s3[S3_OP_HEAD]++;
        r = s3_head(w->s3, d->key, on_head, d, &op->s3);
    }
    if (r < 0)
        end(d, r);
}
