/* A publish of compare-and-set whose content is already on S3, under another key: a rename on a
 * server that keeps conditions on the target of CopyObject (rename_cas.c). The copy has the
 * condition, the write-id and the lineage that the PUT would have, so its answers are judged by the
 * same rules (cas_put.c); and it is pinned to the version of its source.
 *
 * One status stands for the refusal of either condition, and "no such key" may mean either key. So
 * after a refusal a HEAD of the source shows which it was.
 *
 * A large file is copied in parts where the server keeps no conditions on the target of CopyObject
 * but on Complete, or does not copy it in one piece: as any upload in parts (publish_parts.c), but
 * for its source. A part has no condition on the target, so its refusal speaks of the source. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/server/server.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_patch.h"

/* The bytes are read and uploaded instead. Any attempt so far stays in doubt if it was: the PUT has
 * the same write-id, and begins with a HEAD then. */
static void copy_not(struct publish *p, const struct s3_result *res)
{
    log_notice("copy refused key=\"%s\" from=\"%s\" error=\"%s\" detail=\"%s\": its content is "
               "read and uploaded instead",
               p->key, p->copy.key, strerror(-res->error), res->text);
    publish_finish(p, res, -EAGAIN);
}

/* The version that was to be copied is not there any more. If an earlier attempt may have been
 * made, the target shows that. */
static void copy_lost_source(struct publish *p, const struct s3_result *res)
{
    p->source_gone = true;
    if (p->cas.ambiguous) {
        p->cas.since_ns = clock_mono_ns();
        publish_next(p, PUT_LOOK);
        return;
    }
    log_notice("not copied key=\"%s\" from=\"%s\": the source has changed since it was looked up",
               p->key, p->copy.key);
    p->told = true;
    publish_finish(p, res, -ESTALE);
}

/* The result of the HEAD of the source, after a refusal (p->refusal). */
static void on_source_looked(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    struct s3_result refused = {.error = p->refused_404 ? -ENOENT : -EEXIST,
                                .http_status = p->refused_404 ? 404 : 412,
                                .fail = S3_FAIL_ANSWER};

    if (publish_source_found(res, p->copy.etag) == PUBLISH_SOURCE_GONE) {
        copy_lost_source(p, res);
    } else if (res->error) {
        publish_finish(p, res, res->error);
    } else if (p->refused_404 && p->absent) { /* it was gone, and is there again */
        copy_lost_source(p, res);
    } else {
        refused.may_have_acted = p->cas.ambiguous;
        publish_answered(p, &refused);
    }
}

static void look_at_copied(struct publish *p, const struct s3_result *res)
{
    int r;

    p->cas.ambiguous |= res->may_have_acted;
    p->refused_404 = res->error == -ENOENT; /* (a refusal may come in the body of a 200) */
    r = s3_head(p->w->s3, p->copy.key, on_source_looked, p, NULL);
    if (r < 0)
        publish_finish(p, res, r);
}

/* True: this copy is refused for another reason than a condition that does not hold (a permission,
 * an archived source), or takes longer than a request may. */
static bool copy_is_refused(const struct s3_result *res)
{
    int status = res->http_status;

    return res->fail == S3_FAIL_STALLED ||
           (res->fail == S3_FAIL_ANSWER && ((status >= 400 && status < 500) || status == 501));
}

static void on_cas_copied(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (!res->error) {
        publish_answered(p, res);
        return;
    }
    if (res->http_status == 412 || res->error == -ENOENT || res->error == -ESTALE) {
        look_at_copied(p, res);
        return;
    }
    p->cas.ambiguous |= res->may_have_acted;
    if (res->fail == S3_FAIL_ANSWER && s3_condition_unknown(res->http_status, res->code))
        server_keeps_no_longer(p->w, SERVER_KEEPS_COPY, p->key);
    if (copy_is_refused(res))
        copy_not(p, res);
    else
        publish_finish(p, res, res->error);
}

void publish_cas_copy(struct publish *p)
{
    struct s3_copy copy = {
        .from_key = p->copy.key,
        .to_key = p->key,
        .if_source_match = p->copy.etag,
        .strict = true,
        .replace_meta = true,
        .content_type = *p->type ? p->type : NULL,
        .meta = p->meta.pair,
        .n_meta = p->meta.n,
        .kept = &p->meta.kept,
    };
    struct s3_result none = {0};
    int r;

    if (!p->cas.expects || !(p->copy_parts || session_copies_whole(p->w, p->size))) {
        copy_not(p, &none); /* (what is known of the server may have changed since it was aimed) */
        return;
    }
    if (p->copy_parts) { /* whose Complete has the condition */
        publish_parts(p);
        return;
    }
    if (!publish_condition(p, &copy.if_match, &copy.if_none_match))
        return;
    if (!p->cas.tried || p->cas.puts)
        publish_note_sent(p);
    r = s3_copy(p->w->s3, &copy, on_cas_copied, p, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

static void parts_not_copied(struct publish *p, const struct s3_result *res)
{
    publish_note_no_part_copy(p, res);
    copy_not(p, res);
}

static void on_source_of_part(void *arg, const struct s3_result *res)
{
    struct s3_result refused = {
        .error = -EINVAL, .http_status = 400, .fail = S3_FAIL_ANSWER, .text = "in parts"};
    struct publish *p = arg;

    switch (publish_source_found(res, p->copy.etag)) {
    case PUBLISH_SOURCE_GONE:
        copy_lost_source(p, res);
        return;
    case PUBLISH_SOURCE_THERE:
        parts_not_copied(p, &refused);
        return;
    case PUBLISH_SOURCE_UNKNOWN:
        publish_finish(p, res, res->error);
        return;
    }
}

void publish_cas_copy_part_failed(struct publish *p, const struct s3_result *res)
{
    int r = 0;

    if (res->http_status == 412 || res->error == -ENOENT)
        copy_lost_source(p, res);
    else if (publish_copy_is_doubtful(res))
        r = s3_head(p->w->s3, p->copy.key, on_source_of_part, p, NULL);
    else if (publish_copy_goes_on(res))
        parts_not_copied(p, res);
    else
        publish_finish(p, res, res->error);
    if (r < 0)
        publish_finish(p, res, r);
}
