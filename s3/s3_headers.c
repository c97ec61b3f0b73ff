/* Headers and queries of our own requests: bounded, and without characters that could end a
 * line. */
#include "s3/s3_headers.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "s3/s3_url.h"

#define META_NAME_MAX 128 /* with "x-amz-meta-" and NUL */

static bool printable(const char *s)
{
    for (; *s; s++) {
        if (*s < ' ' || *s > '~')
            return false;
    }
    return true;
}

int s3_headers_add(struct s3_headers *h, const char *name, const char *value)
{
    int r;

    if (!*name || !printable(name) || strpbrk(name, " :;") || !printable(value))
        return -EINVAL;
    if (h->n == S3_HEADERS_MAX)
        return -E2BIG;
    h->at[h->n].name = h->text.len;
    r = buf_append(&h->text, name, strlen(name) + 1);
    h->at[h->n].value = h->text.len;
    if (r == 0)
        r = buf_append(&h->text, value, strlen(value) + 1);
    if (r < 0)
        return r == -EMSGSIZE ? -E2BIG : r;
    h->n++;
    return 0;
}

int s3_headers_meta(struct s3_headers *h, const struct s3_meta_pair *meta, size_t n)
{
    size_t total = 0;
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        char name[META_NAME_MAX] = "x-amz-meta-";
        size_t len = strlen(name), more = strlen(meta[i].name);

        total += more + strlen(meta[i].value);
        if (len + more >= sizeof(name) || total > S3_META_MAX)
            return -E2BIG;
        memcpy(name + len, meta[i].name, more + 1);
        r = s3_headers_add(h, name, meta[i].value);
    }
    return r;
}

bool s3_headers_has(const struct s3_headers *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++) {
        if (strcmp(h->text.data + h->at[i].name, name) == 0)
            return true;
    }
    return false;
}

size_t s3_headers_drop(struct s3_headers *h, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(h->text.data + h->at[i].name, name) != 0)
            continue;
        memmove(&h->at[i], &h->at[i + 1], (h->n - i - 1) * sizeof(h->at[0]));
        h->n--;
        return n - 1;
    }
    return n;
}

void s3_headers_cut(struct s3_headers *h, size_t n, size_t bytes)
{
    h->n = n;
    h->text.len = bytes;
}

int s3_query_add(struct buf *query, const char *name, const char *value)
{
    int r = query->len ? buf_puts(query, "&") : 0;

    if (r == 0)
        r = s3_url_encode(query, name, strlen(name), false);
    if (r == 0)
        r = buf_puts(query, "=");
    if (r == 0)
        r = s3_url_encode(query, value, strlen(value), false);
    return r == -EMSGSIZE ? -E2BIG : r;
}
