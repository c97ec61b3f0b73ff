/* A publish whose content is already on S3, under another key (op_copy_range.c): CopyObject, pinned
 * to the version that was copied. Metadata and type are the session's own, as for a PUT. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "s3/s3_error.h"
#include "workers/write/publish_private.h"

/* True: the server refused the copy, so a GET and a PUT replace it. Not if the source is gone: the
 * data would be a mix of two versions, or missing. Nor while S3 is away: one wait for it is
 * enough. */
static bool may_fall_back(const struct s3_result *res)
{
    if (res->error == -ESTALE || res->error == -ENOENT)
        return false;
    if (res->fail == S3_FAIL_STALLED) /* the copy takes longer than the request limit */
        return true;
    return res->fail == S3_FAIL_ANSWER && !res->may_have_acted &&
           ((res->http_status >= 400 && res->http_status < 500) || res->http_status == 501);
}

static int publish_copy_judge(struct publish *p, const struct s3_result *res)
{
    bool gone = res->error == -ESTALE || res->error == -ENOENT;

    if (!res->error)
        return *res->obj.etag ? 0 : -EIO;
    if (may_fall_back(res)) {
        log_debug("read and uploaded instead of copied key=\"%s\" error=\"%s\" detail=\"%s\"",
                  p->key, strerror(-res->error), res->text);
        return -EAGAIN;
    }
    log_warn("copy failed key=\"%s\" from=\"%s\" bytes=%llu error=\"%s\" detail=\"%s\" "
             "attempts=%u%s",
             p->key, p->copy.key, (unsigned long long)p->size, strerror(-res->error), res->text,
             res->attempts,
             gone ? ": the source has changed since it was read: copy it again" : "");
    p->told = true;
    return gone ? -ESTALE : res->error;
}

static void publish_copy_on_copied(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    publish_finish(p, res, publish_copy_judge(p, res));
}

/* No condition on the target: few servers check one, and the last writer wins. */
void publish_copy(struct publish *p)
{
    struct s3_copy copy = {
        .from_key = p->copy.key,
        .to_key = p->key,
        .if_source_match = p->copy.etag,
        .replace_meta = true,
        .content_type = *p->type ? p->type : NULL,
        .meta = p->meta.pair,
        .n_meta = p->meta.n,
        .kept = &p->meta.kept,
        .is_new = true,
        .tags = p->tags,
    };
    struct s3_result none = {0};
    int r;

    if (p->copy_parts) {
        publish_parts(p);
        return;
    }
    r = s3_copy(p->w->s3, &copy, publish_copy_on_copied, p, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

void publish_copy_part_failed(struct publish *p, const struct s3_result *res)
{
    /* (Where it is doubtful, the load shows whether the source is still there.) */
    if (publish_copy_goes_on(res) && !publish_copy_is_doubtful(res))
        publish_note_no_part_copy(p, res);
    publish_finish(p, res, publish_copy_judge(p, res));
}
