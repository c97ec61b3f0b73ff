/* A publish that copies on the server what has not changed (session_patch.h): what follows when a
 * copy fails.
 *
 *   the source has another version, or is gone   compare-and-set: a conflict, as a refused PUT is.
 *                                                Else HEAD shows whether it is what an earlier
 *                                                Complete of the session has made whose answers
 *                                                were lost: that is copied then. If it is not, the
 *                                                missing content is loaded, which only works where
 *                                                the bucket keeps versions; otherwise the publish
 *                                                fails with ESTALE. Parts of two versions are never
 *                                                put together.
 *   the server does not copy parts               remembered; the missing content is loaded, and all
 *                                                is sent. It has not changed: If-Match says so.
 *                                                (400 may be about a range beyond the end of
 *                                                another version: HEAD shows whether there is.)
 *   all else                                     the publish fails, as for a part that is sent */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_patch.h"

const char *publish_patch_source(const struct publish *p)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    /* (An earlier write of ours was found there, which had the same unchanged bytes: cas_put.c.) */
    if (p->cas.expects && !p->absent && *p->etag && strcmp(p->etag, s->expect.etag) != 0)
        return p->etag;
    return p->base_etag;
}

void publish_without_copies(struct publish *p)
{
    struct s3_result none = {0};

    publish_finish(p, &none, -EAGAIN);
}

static bool is_gone(const struct s3_result *res)
{
    return res->http_status == 412 || res->error == -ENOENT;
}

/* Last write wins. */
static void go_on_without(struct publish *p)
{
    log_notice("not copied key=\"%s\": the file has been replaced since it was opened", p->key);
    publish_without_copies(p);
}

static void on_found(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (res->error && res->error != -ENOENT) {
        publish_finish(p, res, res->error);
    } else if (!res->error &&
               session_patch_adopt(p->w, p->session, p->key, &res->obj, p->asked_ns)) {
        log_notice("outcome found key=\"%s\": the upload whose answer was lost has taken effect",
                   p->key);
        shm_etag_copy(p->base_etag, res->obj.etag);
        cas_put_condition(res, p->etag, &p->absent);
        publish_next(p, PUT_SEND);
    } else {
        go_on_without(p);
    }
}

/* Under no lock. An earlier publish of the session may have replaced the source itself. */
static bool may_be_ours(const struct publish *p)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);
    bool may;

    worker_lock(p->w);
    may = *s->lost_etag;
    worker_unlock(p->w);
    return may;
}

static void source_is_gone(struct publish *p, const struct s3_result *res)
{
    struct s3_result refused = *res;
    enum put_next next;

    if (!p->cas.expects && may_be_ours(p)) {
        p->asked_ns = clock_mono_ns();
        if (s3_head(p->w->s3, p->key, on_found, p, NULL) < 0)
            go_on_without(p);
        return;
    }
    if (!p->cas.expects) {
        go_on_without(p);
        return;
    }
    if (refused.error != -ENOENT)
        refused.error = -EEXIST; /* as If-Match of a PUT would have said */
    next = p->rules->refused(p, &refused);
    if (next == PUT_FAILED)
        publish_finish(p, res, res->error);
    else
        publish_next(p, next);
}

bool publish_copy_is_doubtful(const struct s3_result *res)
{
    return res->fail == S3_FAIL_ANSWER && (res->http_status == 400 || res->http_status == 416);
}

bool publish_copy_goes_on(const struct s3_result *res)
{
    int status = res->fail == S3_FAIL_ANSWER ? res->http_status : 0;

    return res->fail == S3_FAIL_STALLED || status == 400 || status == 403 || status == 405 ||
           status == 501;
}

void publish_note_no_part_copy(struct publish *p, const struct s3_result *res)
{
    uint32_t *known = &p->w->shm->header->no_part_copy;

    if (p->copy_parts && res->http_status == 403)
        return;
    if (res->fail == S3_FAIL_ANSWER && !__atomic_exchange_n(known, 1, __ATOMIC_RELAXED))
        log_warn("parts are not copied any more http_status=%d: the server refuses that, so "
                 "large files that are changed are loaded and sent as a whole",
                 res->http_status);
}

static void copies_no_parts(struct publish *p, const struct s3_result *res)
{
    publish_note_no_part_copy(p, res);
    publish_without_copies(p);
}

enum publish_source publish_source_found(const struct s3_result *res, const char *etag)
{
    if (res->error == -ENOENT || (!res->error && strcmp(res->obj.etag, etag) != 0))
        return PUBLISH_SOURCE_GONE;
    return res->error ? PUBLISH_SOURCE_UNKNOWN : PUBLISH_SOURCE_THERE;
}

static void on_source_found(void *arg, const struct s3_result *res)
{
    struct s3_result refused = {.http_status = 400, .fail = S3_FAIL_ANSWER};
    struct s3_result gone = {
        .error = res->error ? res->error : -ESTALE, .http_status = 412, .fail = S3_FAIL_ANSWER};
    struct publish *p = arg;

    switch (publish_source_found(res, publish_patch_source(p))) {
    case PUBLISH_SOURCE_GONE:
        source_is_gone(p, &gone);
        return;
    case PUBLISH_SOURCE_THERE:
        copies_no_parts(p, &refused);
        return;
    case PUBLISH_SOURCE_UNKNOWN:
        publish_finish(p, res, res->error);
        return;
    }
}

void publish_copy_failed(struct publish *p, const struct s3_result *res)
{
    int r = 0;

    if (is_gone(res))
        source_is_gone(p, res);
    else if (publish_copy_is_doubtful(res))
        r = s3_head(p->w->s3, p->key, on_source_found, p, NULL);
    else if (publish_copy_goes_on(res))
        copies_no_parts(p, res);
    else
        publish_finish(p, res, res->error);
    if (r < 0)
        publish_finish(p, res, r);
}
