/* A query over JSON documents: what is asked for, which documents match, and in which order. Pure
 * functions; con_query.c fetches the documents. */
#ifndef WORKERS_CONNECTOR_QUERY_H
#define WORKERS_CONNECTOR_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

#define QUERY_FIELDS_MAX 64 /* in a filter, or to sort by */
#define QUERY_FIELD_LEN_MAX 256
#define QUERY_ROWS_BYTES_MAX (32u << 20) /* of all rows that are kept */

struct query_order {
    const char *field; /* points into `root` */
    bool descending;
};

struct query {
    json_t *root;       /* owned: the request */
    const char *prefix; /* "" = all; points into `root` */
    json_t *filter;     /* an object, borrowed; NULL = none */
    struct query_order order[QUERY_FIELDS_MAX];
    size_t n_order;
    uint64_t limit; /* UINT64_MAX = none was given */
    uint64_t offset;
};

/* A document that matches. */
struct query_row {
    json_t *doc;   /* owned */
    size_t number; /* in the order of the keys */
};

struct query_rows {
    struct query_row *row; /* owned */
    size_t n, cap;
    size_t bytes;   /* of the texts that they were parsed from */
    uint64_t total; /* matches, those that are not kept included */
};

/* Parses the body of a request; `max_limit`: of `limit`. 0 (query_done); -EINVAL, with what is
 * wrong in *err; -ENOMEM. */
must_use int query_parse(const char *text, size_t len, uint64_t max_limit, struct query *ret,
                         struct err *err);
void query_done(struct query *q);

/* Adds the document if it matches. Text that is no JSON is skipped. 0, -ENOMEM; -EFBIG beyond
 * QUERY_ROWS_BYTES_MAX. */
must_use int query_add(const struct query *q, const char *text, size_t len,
                       struct query_rows *rows);

/* Sorts them, if the query says how. */
void query_sort(const struct query *q, struct query_rows *rows);

/* Appends {"rows": [...], "total": N} with at most `max` rows. 0 or the error of buf_append. */
must_use int query_print(const struct query *q, const struct query_rows *rows, uint64_t max,
                         struct buf *out);

void query_rows_done(struct query_rows *rows);

#endif
