/* See query.h. Values are compared in the form in which Python's str() shows them: that is what
 * clients of this protocol are written for. */
#include "workers/connector/query.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (1u << 20) /* of a value in text form */
#define ROWS_FIRST 64

/* ---- the request ---- */

/* [a-zA-Z_][a-zA-Z0-9_.]* */
static bool is_field(const char *name)
{
    if (!(isalpha((unsigned char)*name) || *name == '_') || strlen(name) > QUERY_FIELD_LEN_MAX)
        return false;
    for (; *name; name++) {
        if (!(isalnum((unsigned char)*name) || *name == '_' || *name == '.') ||
            (unsigned char)*name >= 0x80)
            return false;
    }
    return true;
}

static int parse_prefix(struct query *q, struct err *err)
{
    const json_t *prefix = json_object_get(q->root, "prefix");

    q->prefix = "";
    if (!prefix || json_is_null(prefix))
        return 0;
    q->prefix = json_string_value(prefix);
    return q->prefix ? 0 : err_set(err, EINVAL, "prefix has to be a string");
}

static int parse_filter(struct query *q, struct err *err)
{
    json_t *filter = json_object_get(q->root, "filter");
    const char *name;
    json_t *value;

    if (!filter || json_is_null(filter))
        return 0;
    if (!json_is_object(filter))
        return err_set(err, EINVAL, "filter has to be an object");
    if (json_object_size(filter) > QUERY_FIELDS_MAX)
        return err_set(err, EINVAL, "filter has more than %d fields", QUERY_FIELDS_MAX);
    json_object_foreach(filter, name, value)
    {
        if (!is_field(name))
            return err_set(err, EINVAL, "invalid field name in filter: %.80s", name);
    }
    q->filter = filter;
    return 0;
}

static int parse_sort(struct query *q, struct err *err)
{
    json_t *sort = json_object_get(q->root, "sort"), *item;
    size_t i;

    if (!sort || json_is_null(sort))
        return 0;
    if (!json_is_array(sort) || json_array_size(sort) > QUERY_FIELDS_MAX)
        return err_set(err, EINVAL, "sort has to be an array of at most %d field names",
                       QUERY_FIELDS_MAX);
    json_array_foreach(sort, i, item)
    {
        const char *name = json_string_value(item);
        bool descending = name && *name == '-';

        if (!name || !is_field(name + descending))
            return err_set(err, EINVAL, "invalid field name in sort: %.80s", name ? name : "");
        q->order[q->n_order++] =
            (struct query_order){.field = name + descending, .descending = descending};
    }
    return 0;
}

static int parse_number(const struct query *q, const char *name, uint64_t max, uint64_t *ret,
                        struct err *err)
{
    const json_t *value = json_object_get(q->root, name);

    if (!value || json_is_null(value))
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return err_set(err, EINVAL, "%s has to be an integer that is not negative", name);
    if ((uint64_t)json_integer_value(value) > max)
        return err_set(err, EINVAL, "%s is greater than %" PRIu64, name, max);
    *ret = (uint64_t)json_integer_value(value);
    return 0;
}

int query_parse(const char *text, size_t len, uint64_t max_limit, struct query *ret,
                struct err *err)
{
    struct query q = {.limit = UINT64_MAX};
    json_error_t error;
    int r = 0;

    q.root = json_loadb(text, len, 0, &error);
    if (!q.root && json_error_code(&error) == json_error_out_of_memory)
        return err_set(err, ENOMEM, "out of memory");
    if (!json_is_object(q.root))
        r = err_set(err, EINVAL, "the body has to be a JSON object");
    if (r == 0)
        r = parse_prefix(&q, err);
    if (r == 0)
        r = parse_filter(&q, err);
    if (r == 0)
        r = parse_sort(&q, err);
    if (r == 0)
        r = parse_number(&q, "limit", max_limit, &q.limit, err);
    if (r == 0)
        r = parse_number(&q, "offset", INT64_MAX, &q.offset, err);
    if (r < 0)
        query_done(&q);
    else
        *ret = q;
    return r;
}

void query_done(struct query *q)
{
    json_decref(q->root);
    q->root = NULL;
}

/* ---- values ---- */

/* "a.b": the field itself if there is one of that name, else the path. NULL: there is none. */
static const json_t *field_of(const json_t *doc, const char *field)
{
    const json_t *value = json_object_get(doc, field);
    char name[QUERY_FIELD_LEN_MAX + 1];

    for (size_t n; !value && *field; field += n + (field[n] == '.')) {
        n = strcspn(field, ".");
        memcpy(name, field, n);
        name[n] = '\0';
        doc = json_object_get(doc, name);
        if (!doc)
            return NULL;
        if (!field[n])
            return doc;
    }
    return value;
}

static int put_real(double value, struct buf *out)
{
    char text[40];

    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (!strpbrk(text, ".einf"))
        strcat(text, ".0");
    return buf_puts(out, text);
}

static int put_json(const json_t *value, struct buf *out)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    int r = text ? buf_puts(out, text) : -ENOMEM;

    free(text);
    return r;
}

/* The text form of a value. */
static int query_put_text(const json_t *value, struct buf *out)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return buf_append(out, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
        return buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL:
        return put_real(json_real_value(value), out);
    case JSON_TRUE:
        return buf_puts(out, "True");
    case JSON_FALSE:
        return buf_puts(out, "False");
    case JSON_NULL:
        return buf_puts(out, "None");
    default:
        return put_json(value, out);
    }
}

/* Compares the text forms; a missing value (NULL) is "". */
static int query_compare(const json_t *a, const json_t *b)
{
    struct buf x, y;
    int r;

    buf_init(&x, TEXT_MAX);
    buf_init(&y, TEXT_MAX);
    /* (a value that is too long counts up to there) */
    if (a)
        (void)!query_put_text(a, &x);
    if (b)
        (void)!query_put_text(b, &y);
    r = memcmp(x.len ? x.data : "", y.len ? y.data : "", x.len < y.len ? x.len : y.len);
    if (r == 0)
        r = (x.len > y.len) - (x.len < y.len);
    buf_done(&x);
    buf_done(&y);
    return r;
}

static bool matches(const struct query *q, const json_t *doc)
{
    const char *name;
    json_t *wanted;

    json_object_foreach(q->filter, name, wanted)
    {
        const json_t *value = field_of(doc, name);

        if (!value || query_compare(value, wanted) != 0)
            return false;
    }
    return true;
}

/* ---- rows ---- */

static int query_keep(struct query_rows *rows, json_t *doc, size_t len)
{
    size_t cap = rows->cap ? 2 * rows->cap : ROWS_FIRST;
    struct query_row *row;

    if (len > QUERY_ROWS_BYTES_MAX - rows->bytes)
        return -EFBIG;
    if (rows->n == rows->cap) {
        row = realloc(rows->row, cap * sizeof(*row));
        if (!row)
            return -ENOMEM;
        rows->row = row;
        rows->cap = cap;
    }
    rows->row[rows->n] = (struct query_row){.doc = json_incref(doc), .number = rows->n};
    rows->n++;
    rows->bytes += len;
    return 0;
}

/* Without an order, only the rows of the answer are kept. */
static bool is_wanted(const struct query *q, uint64_t number)
{
    return q->n_order || (number >= q->offset && number - q->offset < q->limit);
}

int query_add(const struct query *q, const char *text, size_t len, struct query_rows *rows)
{
    json_error_t ignored;
    json_t *doc = json_loadb(text, len, JSON_DECODE_ANY, &ignored);
    int r = 0;

    if (!doc && json_error_code(&ignored) == json_error_out_of_memory)
        return -ENOMEM;
    if (doc && matches(q, doc)) {
        if (is_wanted(q, rows->total))
            r = query_keep(rows, doc, len);
        rows->total++;
    }
    json_decref(doc);
    return r;
}

static int by_order(const void *a, const void *b, void *arg)
{
    const struct query_row *x = a, *y = b;
    const struct query *q = arg;

    for (size_t i = 0; i < q->n_order; i++) {
        int r =
            query_compare(field_of(x->doc, q->order[i].field), field_of(y->doc, q->order[i].field));

        if (r)
            return q->order[i].descending ? -r : r;
    }
    return (x->number > y->number) - (x->number < y->number);
}

void query_sort(const struct query *q, struct query_rows *rows)
{
    if (q->n_order && rows->n > 1)
        qsort_r(rows->row, rows->n, sizeof(*rows->row), by_order, (void *)(uintptr_t)q);
}

static int print_row(const json_t *doc, bool first, struct buf *out)
{
    char *text = json_dumps(doc, JSON_ENSURE_ASCII | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    int r = text ? 0 : -ENOMEM;

    if (r == 0 && !first)
        r = buf_puts(out, ", ");
    if (r == 0)
        r = buf_puts(out, text);
    free(text);
    return r;
}

int query_print(const struct query *q, const struct query_rows *rows, uint64_t max, struct buf *out)
{
    uint64_t skip = q->n_order ? q->offset : 0, limit = q->limit < max ? q->limit : max;
    int r = buf_puts(out, "{\"rows\": [");

    for (uint64_t i = skip; r == 0 && i < rows->n && i - skip < limit; i++)
        r = print_row(rows->row[i].doc, i == skip, out);
    return r == 0 ? buf_printf(out, "], \"total\": %" PRIu64 "}", rows->total) : r;
}

void query_rows_done(struct query_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        json_decref(rows->row[i].doc);
    free(rows->row);
    *rows = (struct query_rows){0};
}
