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
#define QUERY_ROWS_BYTES_MAX (16u << 20) /* of all rows of a query */

struct query_order {
    const char *field; /* points into `root` */
    bool descending;
};

struct query {
    json_t *root;       /* owned: the request */
    size_t root_bytes;  /* of the memory of all queries */
    const char *prefix; /* "" = all; points into `root` */
    json_t *filter;     /* an object, borrowed; NULL = none */
    struct query_order order[QUERY_FIELDS_MAX];
    size_t n_order;
    uint64_t limit; /* the greatest possible one if none was given */
    uint64_t offset;
};

/* A document that matches, as it was stored, followed by what it is sorted by: for each field of
 * the order its length and its text. */
struct query_row {
    char *text;    /* owned */
    size_t len;    /* of the document */
    size_t bytes;  /* of everything */
    size_t number; /* in the order of the keys */
};

struct query_rows {
    struct query_row *row; /* owned */
    size_t n, cap;
    size_t bytes;   /* of all rows: of the memory of all queries */
    uint64_t total; /* matches, those that are not kept included */
};

/* The answer, as it is sent: {"rows": [...], "total": N}. */
struct query_answer {
    const struct query_rows *rows;
    size_t next, end; /* rows[next..end) are still to be sent */
    size_t at;        /* of rows[next], this much was */
    uint64_t len;     /* bytes of the whole */
    unsigned part;    /* what comes next: opening, rows, closing, nothing */
    char closing[48];
};

/* Parses the body of a request; `max_limit`: the greatest `limit`. 0 (query_done); -EINVAL, with
 * what is wrong in *err; -ENOMEM: there is no memory left, or other queries have it. */
must_use int query_parse(const char *text, size_t len, uint64_t max_limit, struct query *ret,
                         struct err *err);
void query_done(struct query *q);

/* Adds the document if it matches. Text that is no JSON, or whose tree needs more than
 * query_memory_tree_max(), is skipped. 0; -EFBIG beyond QUERY_ROWS_BYTES_MAX; -ENOMEM as above. */
must_use int query_add(const struct query *q, const char *text, size_t len,
                       struct query_rows *rows);

/* Sorts them, if the query says how. */
void query_sort(const struct query *q, struct query_rows *rows);

/* Begins the answer. `rows` is borrowed. */
void query_answer_begin(const struct query *q, const struct query_rows *rows,
                        struct query_answer *ret);

/* The next piece of it, of at most `max` bytes, which stays valid as long as `rows`, and the
 * answer. False: there is no more. */
bool query_answer_next(struct query_answer *a, size_t max, const char **ret_text, size_t *ret_len);

void query_rows_done(struct query_rows *rows);

#endif
