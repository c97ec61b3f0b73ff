/* A listing: page after page of S3's is written as it comes, so that a prefix of a million keys
 * needs no more memory than one of a hundred. The keys come first in the answer, then the
 * prefixes, which S3 mixes with them: those are kept, up to a limit, and beyond that the listing
 * is walked through a second time for them.
 *
 * S3 groups by "/". Keys are grouped here by any other delimiter. */
#include "workers/connector/con_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_text.h"
#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"
#include "workers/connector/con_key.h"

#define DELIMITER_MAX 64
#define PREFIXES_MAX (256u << 10) /* of JSON; more are listed a second time */
#define OUT_MAX (8u << 20)        /* one page of the longest keys */
#define PIECE (32u << 10)
#define AFTER_ALL "\xf4\x8f\xbf\xbf" /* U+10FFFF: behind all keys with a prefix */

struct list {
    struct con_job job;
    struct con_key prefix;
    char delimiter[DELIMITER_MAX];
    struct s3_req *req;
    bool begun;               /* the answer is sent in pieces */
    bool second;              /* the second walk: only prefixes count */
    bool any_key, any_prefix; /* a comma precedes the next one */
    bool lost;                /* there were too many prefixes to keep */
    bool waits;               /* for room */
    struct buf out, prefixes;
    char after[KEY_CAP + 8]; /* the last entry, or behind it */
    char token[S3_TOKEN_MAX];
    char group[KEY_CAP]; /* the last prefix, if the delimiter is not "/" */
};

static void list_page(struct list *l);

static void list_free(struct list *l)
{
    if (l->req)
        s3_cancel(l->req);
    buf_done(&l->out);
    buf_done(&l->prefixes);
    free(l);
}

static void list_refuse(struct list *l, const struct s3_result *res)
{
    if (l->begun)
        http_conn_break(l->job.c);
    else
        con_refuse_s3(l->job.c, res, con_key_name(&l->prefix));
    list_free(l);
}

/* ---- entries ---- */

static int put_entry(struct buf *to, bool *any, const char *text, size_t len)
{
    int r = *any ? buf_puts(to, ", ") : 0;

    *any = true;
    return r == 0 ? json_text_put(to, text, len) : r;
}

static int put_key(struct list *l, const char *name, size_t len)
{
    return l->second ? 0 : put_entry(&l->out, &l->any_key, name, len);
}

static int put_prefix(struct list *l, const char *name, size_t len)
{
    if (l->second)
        return put_entry(&l->out, &l->any_prefix, name, len);
    if (!l->lost && put_entry(&l->prefixes, &l->any_prefix, name, len) < 0) {
        l->lost = true;
        buf_done(&l->prefixes);
    }
    return 0;
}

/* The bytes of the key up to the end of the first delimiter behind the prefix; 0: there is none. */
static size_t group_len(const struct list *l, const char *key)
{
    size_t skip = strlen(l->prefix.full);
    const char *at = strstr(key + skip, l->delimiter);

    return at ? (size_t)(at - key) + strlen(l->delimiter) : 0;
}

/* Keys come in order, so those of a group come together. */
static int put_grouped(struct list *l, const struct s3_list_entry *e)
{
    size_t n = group_len(l, e->key), skip = l->prefix.prefix;

    if (!n)
        return put_key(l, e->key + skip, e->key_len - skip);
    if (strncmp(l->group, e->key, n) == 0 && !l->group[n])
        return 0;
    memcpy(l->group, e->key, n);
    l->group[n] = '\0';
    return put_prefix(l, e->key + skip, n - skip);
}

static void note_place(struct list *l, const struct s3_list_entry *e)
{
    memcpy(l->after, e->key, e->key_len);
    strcpy(l->after + e->key_len, e->is_prefix ? AFTER_ALL : "");
}

static int con_list_on_entry(void *arg, const struct s3_list_entry *e)
{
    struct list *l = arg;
    size_t skip = l->prefix.prefix;

    if (e->key_len >= KEY_CAP || e->key_len < skip)
        return 0;
    note_place(l, e);
    if (e->key_len == skip || key_is_reserved(l->job.w->conf, e->key, e->key_len))
        return 0;
    if (strcmp(l->delimiter, "/") != 0)
        return put_grouped(l, e);
    return e->is_prefix ? put_prefix(l, e->key + skip, e->key_len - skip)
                        : put_key(l, e->key + skip, e->key_len - skip);
}

/* ---- the answer ---- */

static int send_piece(struct list *l)
{
    int r;

    if (l->out.len < PIECE)
        return 0;
    if (!l->begun)
        http_conn_begin(l->job.c, 200, CON_JSON, HTTP_LENGTH_UNKNOWN);
    l->begun = true;
    r = http_conn_write(l->job.c, l->out.data, l->out.len);
    buf_reset(&l->out);
    return r;
}

static void list_end(struct list *l)
{
    struct http_conn *c = l->job.c;

    if (!l->begun)
        http_conn_answer(c, 200, CON_JSON, l->out.data, l->out.len);
    else if (http_conn_write(c, l->out.data, l->out.len) < 0)
        http_conn_break(c);
    else
        http_conn_end(c);
    list_free(l);
}

static void begin_second(struct list *l)
{
    l->second = true;
    l->any_prefix = false;
    l->after[0] = l->token[0] = l->group[0] = '\0';
}

/* The last page has come. 1: the answer is complete; 0: a second walk follows; -errno. */
static int list_finish(struct list *l)
{
    int r = l->second ? 0 : buf_puts(&l->out, "], \"prefixes\": [");

    if (r == 0 && !l->second && l->lost) {
        begin_second(l);
        return 0;
    }
    if (r == 0 && !l->second && l->prefixes.len)
        r = buf_append(&l->out, l->prefixes.data, l->prefixes.len);
    if (r == 0)
        r = buf_puts(&l->out, "]}");
    return r == 0 ? 1 : r;
}

static void list_go_on(struct list *l)
{
    l->waits = http_conn_is_full(l->job.c);
    if (!l->waits)
        list_page(l);
}

static void list_on_page(void *arg, const struct s3_result *res)
{
    struct list *l = arg;
    struct s3_result none = {0};
    int r = 0;

    l->req = NULL;
    if (res->error) {
        list_refuse(l, res);
        return;
    }
    l->token[0] = '\0';
    if (res->truncated && res->next_token && strlen(res->next_token) < sizeof(l->token))
        strcpy(l->token, res->next_token);
    if (!res->truncated)
        r = list_finish(l);
    if (r == 1) {
        list_end(l);
        return;
    }
    if (r == 0)
        r = send_piece(l);
    none.error = r;
    if (r < 0)
        list_refuse(l, &none);
    else
        list_go_on(l);
}

static void list_page(struct list *l)
{
    struct s3_list list = {.prefix = l->prefix.full,
                           .delimiter = strcmp(l->delimiter, "/") == 0 ? "/" : NULL,
                           .start_after = *l->after ? l->after : NULL,
                           .token = *l->token ? l->token : NULL,
                           .on_entry = con_list_on_entry};
    struct s3_result res = {0};

    res.error = s3_list(l->job.w->s3, &list, list_on_page, l, &l->req);
    if (res.error < 0)
        list_refuse(l, &res);
}

static void list_on_room(struct con_job *job)
{
    struct list *l = (struct list *)job;

    if (!l->waits)
        return;
    l->waits = false;
    list_page(l);
}

static void list_on_gone(struct con_job *job)
{
    list_free((struct list *)job);
}

static const struct con_job_ops list_ops = {.on_room = list_on_room, .on_gone = list_on_gone};

static int con_list_prepare(struct list *l)
{
    const struct http_request *req = http_conn_request(l->job.c);
    char prefix[KEY_CAP];
    int r = http_target_listing(&req->target, prefix, sizeof(prefix), l->delimiter,
                                sizeof(l->delimiter));

    if (r == 0)
        r = con_key_set(l->job.w, prefix, strlen(prefix), &l->prefix);
    return r == 0 ? buf_puts(&l->out, "{\"keys\": [") : r;
}

void con_list(struct http_conn *c)
{
    struct list *l = calloc(1, sizeof(*l));
    int r;

    if (!l) {
        con_refuse(c, 503, "unavailable", "out of memory");
        return;
    }
    con_job_init(&l->job, &list_ops, c);
    buf_init(&l->out, OUT_MAX);
    buf_init(&l->prefixes, PREFIXES_MAX);
    r = con_list_prepare(l);
    if (r == 0) {
        list_page(l);
        return;
    }
    con_refuse(c, r == -ENOMEM ? 503 : 400, r == -ENOMEM ? "unavailable" : "bad_request",
               "the prefix or the delimiter is too long, or has a NUL inside");
    list_free(l);
}
