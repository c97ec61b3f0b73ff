/* See s3_page.h. Up to twice the page's entries are kept; then the greater half goes. */
#include "s3/s3_page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct item {
    struct s3_list_entry entry; /* its strings are those of this */
    char etag[S3_ETAG_MAX];
    char storage_class[S3_CLASS_MAX];
    char key[];
};

struct s3_page {
    unsigned max;
    char *behind;    /* or NULL */
    unsigned n, cap; /* in `item` */
    unsigned n_seen; /* everything that the server sent */
    bool cut;        /* greater entries were dropped */
    char *last_key;  /* the greatest key (not prefix) of all, NULL = none */
    struct item *item[];
};

int s3_page_new(unsigned max, const char *behind, struct s3_page **ret_page)
{
    unsigned cap = 2 * max;
    struct s3_page *page = calloc(1, sizeof(*page) + cap * sizeof(page->item[0]));

    if (!page)
        return -ENOMEM;
    page->max = max;
    page->cap = cap;
    page->behind = behind && *behind ? strdup(behind) : NULL;
    if (behind && *behind && !page->behind) {
        free(page);
        return -ENOMEM;
    }
    *ret_page = page;
    return 0;
}

static void drop_from(struct s3_page *page, unsigned n)
{
    while (page->n > n)
        free(page->item[--page->n]);
}

void s3_page_reset(struct s3_page *page)
{
    drop_from(page, 0);
    free(page->last_key);
    page->last_key = NULL;
    page->n_seen = 0;
    page->cut = false;
}

void s3_page_free(struct s3_page *page)
{
    if (!page)
        return;
    s3_page_reset(page);
    free(page->behind);
    free(page);
}

/* ---- order ---- */

/* By key; if the server sends a marker's key and its prefix, the prefix comes first. */
static int compare(const void *a, const void *b)
{
    const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
    int r = strcmp(x->key, y->key);

    return r ? r : (int)y->entry.is_prefix - (int)x->entry.is_prefix;
}

/* Sorted, each key once, not more than the page may have. */
static void page_settle(struct s3_page *page)
{
    unsigned n = 0;

    qsort(page->item, page->n, sizeof(page->item[0]), compare);
    for (unsigned i = 0; i < page->n; i++) {
        if (n && strcmp(page->item[n - 1]->key, page->item[i]->key) == 0)
            free(page->item[i]);
        else
            page->item[n++] = page->item[i];
    }
    page->n = n;
    page->cut |= n > page->max;
    if (n > page->max)
        drop_from(page, page->max);
}

/* ---- adding ---- */

static int note_last_key(struct s3_page *page, const struct s3_list_entry *e)
{
    char *key;

    if (e->is_prefix || (page->last_key && strcmp(e->key, page->last_key) <= 0))
        return 0;
    key = strdup(e->key);
    if (!key)
        return -ENOMEM;
    free(page->last_key);
    page->last_key = key;
    return 0;
}

static struct item *copy_of(const struct s3_list_entry *e)
{
    struct item *item = malloc(sizeof(*item) + e->key_len + 1);

    if (!item)
        return NULL;
    item->entry = *e;
    item->entry.key = memcpy(item->key, e->key, e->key_len + 1);
    item->etag[0] = '\0';
    if (e->etag && strlen(e->etag) < sizeof(item->etag))
        strcpy(item->etag, e->etag);
    item->entry.etag = item->etag;
    item->storage_class[0] = '\0';
    if (e->storage_class && strlen(e->storage_class) < sizeof(item->storage_class))
        strcpy(item->storage_class, e->storage_class);
    item->entry.storage_class = item->storage_class;
    return item;
}

int s3_page_add(struct s3_page *page, const struct s3_list_entry *e)
{
    struct item *item;

    page->n_seen++;
    if (note_last_key(page, e) < 0)
        return -ENOMEM;
    if (page->behind && strcmp(e->key, page->behind) <= 0)
        return 0;
    if (page->n == page->cap)
        page_settle(page);
    if (page->cut && strcmp(e->key, page->item[page->max - 1]->key) > 0)
        return 0; /* the entries that settle() kept are in front, in order */
    item = copy_of(e);
    if (!item)
        return -ENOMEM;
    page->item[page->n++] = item;
    return 0;
}

/* ---- the end ---- */

/* Drops prefixes after the greatest key: keys may be missing between them. */
static void end_at_last_key(struct s3_page *page)
{
    unsigned n = page->n;

    while (n && strcmp(page->item[n - 1]->key, page->last_key) > 0)
        n--;
    page->cut |= n < page->n;
    drop_from(page, n);
}

bool s3_page_end(struct s3_page *page, bool truncated)
{
    page_settle(page);
    if (truncated && page->n_seen > page->max && page->last_key)
        end_at_last_key(page);
    return page->cut;
}

unsigned s3_page_count(const struct s3_page *page)
{
    return page->n;
}

const struct s3_list_entry *s3_page_entry(const struct s3_page *page, unsigned i)
{
    return &page->item[i]->entry;
}
