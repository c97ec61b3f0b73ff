/* See dir_empty.h. One LIST of two entries, unless a server returns fewer entries than it could. */
#include "workers/names/dir_empty.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_error.h"

#define DIR_EMPTY_ASKS 16 /* replies in a row with no information but that more follows */

struct dir_empty {
    struct op *op;
    dir_empty_fn *then;
    bool not_empty, marker;
    unsigned asks;
    char key[KEY_CAP];
};

static int on_entry_below(void *arg, const struct s3_list_entry *entry)
{
    struct dir_empty *d = arg;

    if (strcmp(entry->key, d->key) == 0)
        d->marker = true;
    else
        d->not_empty = true;
    return 0;
}

static void dir_empty_end(struct dir_empty *d, int error)
{
    struct op *op = d->op;
    dir_empty_fn *then = d->then;
    bool marker = d->marker;
    char key[KEY_CAP];

    memcpy(key, d->key, sizeof(key));
    op_set_state(op, NULL, NULL);
    free(d);
    then(op, key, error, marker);
}

static int list_below(struct dir_empty *d, const char *token);

static void on_listed_below(void *arg, const struct s3_result *res)
{
    struct dir_empty *d = arg;
    int r = res->error;

    d->op->s3 = NULL;
    if (r == 0 && !d->not_empty && res->truncated) {
        r = d->asks < DIR_EMPTY_ASKS && res->next_token ? list_below(d, res->next_token) : -EIO;
        if (r == 0)
            return;
    }
    dir_empty_end(d, r == 0 && d->not_empty ? -ENOTEMPTY : r);
}

static int list_below(struct dir_empty *d, const char *token)
{
    /* With a delimiter: a folder without objects shows up only this way. */
    struct s3_list list = {.prefix = d->key,
                           .delimiter = "/",
                           .token = token,
                           .max_keys = 2,
                           .on_entry = on_entry_below};

    d->asks++;
    return s3_list(d->op->w->s3, &list, on_listed_below, d, &d->op->s3);
}

int dir_check_empty(struct op *op, const char *key, dir_empty_fn *then)
{
    struct dir_empty *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->op = op;
    d->then = then;
    snprintf(d->key, sizeof(d->key), "%s", key);
    op_set_state(op, d, free);
    r = list_below(d, NULL);
    if (r < 0) {
        op_set_state(op, NULL, NULL);
        free(d);
    }
    return r;
}
