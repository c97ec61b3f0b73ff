/* See query.h. Values are compared in the form in which Python's str() shows them: that is what
 * clients of this protocol are written for. */
#include "workers/connector/query.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/connector/query_memory.h"

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

/* (A member that nobody knows is not kept.) */
static void drop_unknown(json_t *root)
{
    static const char *const known[] = {"prefix", "filter", "sort", "limit", "offset"};
    const char *name;
    json_t *value;
    void *next;

    json_object_foreach_safe(root, next, name, value)
    {
        bool keep = false;

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            keep |= strcmp(name, known[i]) == 0;
        if (!keep)
            (void)json_object_del(root, name);
    }
}

/* q->root, and what it needs; on failure neither. */
static int parse_root(const char *text, size_t len, struct query *q, struct err *err)
{
    json_error_t error;
    bool refused;
    size_t bytes;

    query_memory_limit(QUERY_REQUEST_MAX);
    q->root = json_loadb(text, len, 0, &error);
    if (json_is_object(q->root))
        drop_unknown(q->root);
    bytes = query_memory_unlimit(&refused);
    if (refused)
        return err_set(err, EINVAL, "the request has too many members");
    if (!q->root && json_error_code(&error) == json_error_out_of_memory)
        return err_set(err, ENOMEM, "out of memory");
    if (!json_is_object(q->root))
        return err_set(err, EINVAL, "the body has to be a JSON object");
    if (!query_memory_take(bytes))
        return err_set(err, ENOMEM, "too many queries at once");
    q->root_bytes = bytes;
    return 0;
}

int query_parse(const char *text, size_t len, uint64_t max_limit, struct query *ret,
                struct err *err)
{
    struct query q = {.limit = max_limit};
    int r;

    r = parse_root(text, len, &q, err);
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
    query_memory_give(q->root_bytes);
    q->root = NULL;
    q->root_bytes = 0;
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

static int put_dumped(const char *text, size_t len, void *out)
{
    return buf_append(out, text, len);
}

static int put_json(const json_t *value, struct buf *out)
{
    return json_dump_callback(value, put_dumped, out, JSON_ENCODE_ANY) == 0 ? 0 : -ENOMEM;
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

static int compare_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int r = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return r ? r : (a_len > b_len) - (a_len < b_len);
}

/* Compares the text forms. */
static bool is_same(const json_t *a, const json_t *b)
{
    struct buf x, y;
    bool same;

    buf_init(&x, TEXT_MAX);
    buf_init(&y, TEXT_MAX);
    same = query_put_text(a, &x) == 0 && query_put_text(b, &y) == 0 && x.len == y.len &&
           (!x.len || memcmp(x.data, y.data, x.len) == 0);
    buf_done(&x);
    buf_done(&y);
    return same;
}

static bool matches(const struct query *q, const json_t *doc)
{
    const char *name;
    json_t *wanted;

    json_object_foreach(q->filter, name, wanted)
    {
        const json_t *value = field_of(doc, name);

        if (!value || !is_same(value, wanted))
            return false;
    }
    return true;
}

/* ---- rows ---- */

/* What a row is sorted by. */
static int put_order(const struct query *q, const json_t *doc, struct buf *out)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < q->n_order; i++) {
        const json_t *value = field_of(doc, q->order[i].field);
        size_t at = out->len, len = 0;

        r = buf_append(out, &len, sizeof(len));
        if (r == 0 && value) /* a missing one is "" */
            r = query_put_text(value, out);
        if (r < 0)
            break;
        len = out->len - at - sizeof(len);
        memcpy(out->data + at, &len, sizeof(len));
    }
    return r;
}

static int grow(struct query_rows *rows)
{
    size_t cap = rows->cap ? 2 * rows->cap : ROWS_FIRST;
    struct query_row *row;

    if (rows->n < rows->cap)
        return 0;
    row = realloc(rows->row, cap * sizeof(*row));
    if (!row)
        return -ENOMEM;
    rows->row = row;
    rows->cap = cap;
    return 0;
}

/* `order`: of put_order. */
static int query_keep(struct query_rows *rows, const char *text, size_t len,
                      const struct buf *order)
{
    size_t bytes = len + order->len, taken = bytes + sizeof(struct query_row);
    char *copy;

    if (taken > QUERY_ROWS_BYTES_MAX - rows->bytes)
        return -EFBIG;
    if (grow(rows) < 0 || !query_memory_take(taken))
        return -ENOMEM;
    copy = malloc(bytes ? bytes : 1);
    if (!copy) {
        query_memory_give(taken);
        return -ENOMEM;
    }
    memcpy(copy, text, len);
    if (order->len)
        memcpy(copy + len, order->data, order->len);
    rows->row[rows->n] =
        (struct query_row){.text = copy, .len = len, .bytes = bytes, .number = rows->n};
    rows->n++;
    rows->bytes += taken;
    return 0;
}

/* Without an order, only the rows of the answer are kept. */
static bool is_wanted(const struct query *q, uint64_t number)
{
    return q->n_order || (number >= q->offset && number - q->offset < q->limit);
}

static int keep_if_wanted(const struct query *q, const json_t *doc, const char *text, size_t len,
                          struct query_rows *rows)
{
    struct buf order;
    int r;

    if (!is_wanted(q, rows->total))
        return 0;
    buf_init(&order, QUERY_ROWS_BYTES_MAX);
    r = put_order(q, doc, &order);
    if (r == 0)
        r = query_keep(rows, text, len, &order);
    buf_done(&order);
    return r == -EMSGSIZE ? -EFBIG : r;
}

static void trim_document(const char **text, size_t *len)
{
    while (*len && strchr(" \t\r\n", **text)) {
        ++*text;
        --*len;
    }
    while (*len && strchr(" \t\r\n", (*text)[*len - 1]))
        --*len;
}

/* An integer of more than 64 bits is looked at as a real number. */
static json_t *load_document(const char *text, size_t len, json_error_t *error)
{
    size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_t *doc = json_loadb(text, len, flags, error);

    if (!doc && json_error_code(error) == json_error_numeric_overflow)
        doc = json_loadb(text, len, flags | JSON_DECODE_INT_AS_REAL, error);
    return doc;
}

int query_add(const struct query *q, const char *text, size_t len, struct query_rows *rows)
{
    json_error_t error;
    json_t *doc;
    bool refused;
    int r = 0;

    query_memory_limit(query_memory_tree_max());
    doc = load_document(text, len, &error);
    (void)query_memory_unlimit(&refused);
    if (!doc && !refused && json_error_code(&error) == json_error_out_of_memory)
        return -ENOMEM;
    if (doc && matches(q, doc)) {
        trim_document(&text, &len);
        r = keep_if_wanted(q, doc, text, len, rows);
        rows->total++;
    }
    json_decref(doc);
    return r;
}

/* The next text of put_order; *at moves behind it. */
static const char *next_order(const char **at, size_t *ret_len)
{
    const char *text = *at + sizeof(*ret_len);

    memcpy(ret_len, *at, sizeof(*ret_len));
    *at = text + *ret_len;
    return text;
}

static int by_order(const void *a, const void *b, void *arg)
{
    const struct query_row *x = a, *y = b;
    const struct query *q = arg;
    const char *x_at = x->text + x->len, *y_at = y->text + y->len;

    for (size_t i = 0; i < q->n_order; i++) {
        size_t x_len, y_len;
        const char *x_text = next_order(&x_at, &x_len), *y_text = next_order(&y_at, &y_len);
        int r = compare_text(x_text, x_len, y_text, y_len);

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

/* ---- the answer ---- */

static const char opening[] = "{\"rows\": [", comma[] = ", ";

enum { PART_OPENING, PART_ROW, PART_COMMA, PART_CLOSING, PART_NONE };

void query_answer_begin(const struct query *q, const struct query_rows *rows,
                        struct query_answer *ret)
{
    uint64_t skip = q->n_order ? q->offset : 0;
    struct query_answer a = {.rows = rows};
    int n = snprintf(a.closing, sizeof(a.closing), "], \"total\": %" PRIu64 "}", rows->total);

    a.next = skip < rows->n ? (size_t)skip : rows->n;
    a.end = rows->n - a.next < q->limit ? rows->n : a.next + (size_t)q->limit;
    a.len = strlen(opening) + (size_t)n;
    for (size_t i = a.next; i < a.end; i++)
        a.len += rows->row[i].len + (i > a.next ? strlen(comma) : 0);
    *ret = a;
}

/* A piece of the row at hand. */
static size_t take_row(struct query_answer *a, size_t max, const char **ret_text)
{
    const struct query_row *row = &a->rows->row[a->next];
    size_t n = row->len - a->at < max ? row->len - a->at : max;

    *ret_text = row->text + a->at;
    a->at += n;
    if (a->at == row->len) {
        a->at = 0;
        a->part = ++a->next < a->end ? PART_COMMA : PART_CLOSING;
    }
    return n;
}

bool query_answer_next(struct query_answer *a, size_t max, const char **ret_text, size_t *ret_len)
{
    switch (a->part) {
    case PART_OPENING:
        *ret_text = opening;
        a->part = a->next < a->end ? PART_ROW : PART_CLOSING;
        break;
    case PART_ROW:
        *ret_len = take_row(a, max, ret_text);
        return true;
    case PART_COMMA:
        *ret_text = comma;
        a->part = PART_ROW;
        break;
    case PART_CLOSING:
        *ret_text = a->closing;
        a->part = PART_NONE;
        break;
    default:
        return false;
    }
    *ret_len = strlen(*ret_text);
    return true;
}

void query_rows_done(struct query_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        free(rows->row[i].text);
    free(rows->row);
    query_memory_give(rows->bytes);
    *rows = (struct query_rows){0};
}
