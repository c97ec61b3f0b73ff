/* The rules of a publish with last write wins: after a refusal the same PUT is sent on the version
 * that HEAD finds. Compare-and-set uses these rules too if it expects nothing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"
#include "s3/s3_etag.h"
#include "workers/op/spool.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_change.h"

/* Refusals in a row because another writer was faster. Then the PUT is sent without a condition:
 * one of many writers must not fail where the last one wins. */
#define REFUSED_MAX 16

/* A condition is refused although HEAD shows that it holds: after BARE_AFTER such refusals in a row
 * it is sent without quotes, after BLIND_AFTER the PUT is sent without it. (A single one may be
 * another writer that changed the file and changed it back.) */
#define BARE_AFTER 2
#define BLIND_AFTER 3

static bool agrees(const struct publish *p, const struct s3_result *res)
{
    if (p->absent)
        return res->error == -ENOENT;
    return !res->error && *p->etag && strcmp(p->etag, res->obj.etag) == 0;
}

/* Only with last write wins: compare-and-set never drops its condition. */
static void doubt(struct publish *p, const struct s3_result *res)
{
    bool drops = !p->w->variant->expects;

    p->agreed = agrees(p, res) ? p->agreed + 1 : 0;
    p->bare = drops && !p->absent && p->agreed >= BARE_AFTER;
    p->blind = drops && p->agreed >= BLIND_AFTER;
}

/* Compares bytes with the ETag of an object of the same size. */
static enum s3_etag_says compare(struct publish *p, const char *etag)
{
    static char piece[64 << 10];
    struct s3_etag_check check = {0};

    s3_etag_begin(&check);
    for (uint64_t at = 0; at < p->size; at += sizeof(piece)) {
        size_t len = p->size - at < sizeof(piece) ? (size_t)(p->size - at) : sizeof(piece);

        if (spool_read(p->w, p->session, piece, len, at) < 0)
            return S3_ETAG_SILENT;
        s3_etag_add(&check, piece, len);
    }
    return s3_etag_end(&check, etag);
}

/* The file had to be new, and an attempt whose answer was lost may have made it. Versions have no
 * write-ids here: the content tells whether it did. What is not ours is never replaced. */
static enum put_next excl_found(struct publish *p, const struct s3_result *res)
{
    bool parts = publish_wants_parts(p);

    if (res->error && cas_put_waits(&p->cas))
        return PUT_WAIT;
    if (res->error || (parts && !*p->parts_etag))
        return PUT_SEND; /* under the same condition */
    snprintf(p->cas.found, sizeof(p->cas.found), "%s", res->obj.etag);
    shm_etag_copy(p->cas.etag, res->obj.etag);
    if (publish_is_there(p, res))
        return PUT_OURS;
    if (res->obj.size != p->size)
        return PUT_CONFLICT;
    if (res->obj.own_etag)
        return PUT_UNKNOWN;
    if (parts)
        return PUT_CONFLICT;
    switch (compare(p, res->obj.etag)) {
    case S3_ETAG_RIGHT:
        return PUT_OURS;
    case S3_ETAG_SILENT:
        return PUT_UNKNOWN;
    default:
        return PUT_CONFLICT;
    }
}

/* The condition did not hold, or the server does not support it: the PUT is retried. */
enum put_next publish_lww_refused(struct publish *p, const struct s3_result *res)
{
    p->cas.ambiguous |= res->may_have_acted;
    if (!p->asked || p->refused > REFUSED_MAX)
        return PUT_FAILED;
    /* (A repetition must not overwrite what was built on the first PUT.) */
    if (s3_condition_unknown(res->http_status, res->code) && !p->cas.ambiguous) {
        p->blind = true;
        return PUT_SEND;
    }
    if (res->error != -EEXIST && res->error != -ENOENT)
        return PUT_FAILED;
    if (p->excl) { /* created meanwhile on another machine, or by an earlier attempt of ours */
        p->cas.since_ns = clock_mono_ns();
        return p->cas.ambiguous ? PUT_LOOK : PUT_FAILED;
    }
    if (p->refused++ < REFUSED_MAX)
        return PUT_LOOK;
    p->insists = !p->w->variant->expects && !p->cas.ambiguous;
    return p->insists ? PUT_SEND : PUT_FAILED;
}

/* Replaces what was written meanwhile, by a predecessor's upload or by others. */
enum put_next publish_lww_found(struct publish *p, const struct s3_result *res)
{
    if (p->excl)
        return excl_found(p, res);
    if (p->unsure) {
        if (res->error && cas_put_waits(&p->cas))
            return PUT_WAIT;
        p->unsure = false;
    } else {
        doubt(p, res);
    }
    cas_put_condition(res, p->etag, &p->absent);
    return PUT_SEND;
}

static void lww_begin(struct publish *p, struct shm_session *s)
{
    p->unsure = p->absent && s->expect.tried;
    p->cas.ambiguous = p->excl && s->expect.tried;
    p->cas.since_ns = s->expect.sent_ns;
}

static enum put_next lww_first(const struct publish *p)
{
    return p->unsure ? PUT_LOOK : PUT_SEND;
}

static void lww_published(struct publish *p, struct shm_session *s, const struct s3_result *res)
{
    (void)p, (void)res;
    s->expect.tried = false;
}

static void lww_failed(struct publish *p, struct shm_session *s, int error)
{
    (void)error;
    if (!p->cas.ambiguous && !p->unsure)
        s->expect.tried = false;
}

static uint32_t lww_takes_name(struct publish *p, uint32_t node)
{
    session_regain_name(p->w, p->session);
    return node;
}

const struct publish_rules publish_lww = {
    .begin = lww_begin,
    .first = lww_first,
    .refused = publish_lww_refused,
    .found = publish_lww_found,
    .published = lww_published,
    .takes_name = lww_takes_name,
    .failed = lww_failed,
};

bool publish_base_is_gone(const struct publish *p, const struct s3_result *res)
{
    return p->base && (res->error || strcmp(res->obj.etag, p->base_etag) != 0);
}

static enum put_next stream_found(struct publish *p, const struct s3_result *res)
{
    if (publish_is_there(p, res)) {
        shm_etag_copy(p->cas.etag, res->obj.etag);
        return PUT_OURS;
    }
    return publish_base_is_gone(p, res) ? PUT_STALE : publish_lww_found(p, res);
}

/* s3-passthrough: the last write wins too, but a session does not have the node of the name. */
const struct publish_rules publish_stream = {
    .begin = lww_begin,
    .first = lww_first,
    .refused = publish_lww_refused,
    .found = stream_found,
    .published = lww_published,
    .takes_name = publish_takes_name,
    .failed = lww_failed,
};
