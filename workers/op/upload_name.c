/* Aborting a multipart upload. */
#include "workers/op/upload_name.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

static_assert(SHM_UPLOAD_ID_MAX >= S3_UPLOAD_ID_MAX, "any id fits");
static_assert(SHM_UPLOAD_PARTS == S3_PARTS_MAX, "both are S3's limit");

static void on_aborted(void *arg, const struct s3_result *res)
{
    struct worker *w = arg;

    if (!res->error || res->error == -ESTALE || res->error == -ENOENT)
        return; /* -ESTALE: it had ended */
    worker_count(w, SHM_STAT_UPLOADS_LEFT, 1);
    if (res->error == -EACCES &&
        __atomic_exchange_n(&w->shm->header->abort_refused, 1, __ATOMIC_RELAXED))
        return;
    log_warn("upload not aborted error=\"%s\" detail=\"%s\": its parts stay on S3, and cost money, "
             "until a lifecycle rule removes incomplete uploads",
             strerror(-res->error), res->text);
}

void upload_abort(struct worker *w, const struct upload_name *name)
{
    if (*name->key && s3_abort(w->s3, name->key, name->id, on_aborted, w, NULL) < 0)
        worker_count(w, SHM_STAT_UPLOADS_LEFT, 1);
}
