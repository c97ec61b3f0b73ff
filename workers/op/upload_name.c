/* Aborting a multipart upload. */
#include "workers/op/upload_name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "shm/shm_abort.h"

static_assert(SHM_UPLOAD_ID_MAX >= S3_UPLOAD_ID_MAX, "any id fits");
static_assert(SHM_UPLOAD_PARTS == S3_PARTS_MAX, "both are S3's limit");

/* An abort under way. */
struct aborting {
    struct worker *w;
    uint32_t note;
};

void upload_note(struct worker *w, struct upload_name *name)
{
    name->note = shm_abort_note(w->shm, w->slot, name->key, name->id);
}

static void abort_done(struct worker *w, uint32_t note)
{
    if (!note)
        return;
    worker_lock(w);
    shm_abort_done(w->shm, note);
    worker_unlock(w);
}

void upload_completed(struct worker *w, struct upload_name *name)
{
    abort_done(w, name->note);
    *name = (struct upload_name){.key = ""};
}

static void tell_left(struct worker *w, const struct s3_result *res)
{
    worker_count(w, SHM_STAT_UPLOADS_LEFT, 1);
    if (res->error == -EACCES &&
        __atomic_exchange_n(&w->shm->header->abort_refused, 1, __ATOMIC_RELAXED))
        return;
    log_warn("upload not aborted error=\"%s\" detail=\"%s\": its parts stay on S3, and cost money, "
             "until a lifecycle rule removes incomplete uploads",
             strerror(-res->error), res->text);
}

static void on_aborted(void *arg, const struct s3_result *res)
{
    struct aborting *a = arg;

    abort_done(a->w, a->note);
    if (res->error && res->error != -ESTALE && res->error != -ENOENT) /* -ESTALE: it had ended */
        tell_left(a->w, res);
    free(a);
}

static int start_abort(struct worker *w, const struct upload_name *name)
{
    struct aborting *a = malloc(sizeof(*a));
    int r = -ENOMEM;

    if (a) {
        *a = (struct aborting){w, name->note};
        r = s3_abort(w->s3, name->key, name->id, on_aborted, a, NULL);
    }
    if (r < 0)
        free(a);
    return r;
}

void upload_abort(struct worker *w, struct upload_name *name)
{
    if (!*name->key)
        return;
    if (start_abort(w, name) < 0) {
        abort_done(w, name->note);
        worker_count(w, SHM_STAT_UPLOADS_LEFT, 1);
    }
    name->key[0] = '\0';
    name->note = 0;
}

void upload_abort_noted(struct worker *w)
{
    uint32_t note = 0;

    do {
        struct upload_name name = {.key = ""};

        worker_lock(w);
        note = shm_abort_next(w->shm, w->slot, note);
        if (note) {
            const struct shm_abort *a = shm_abort_at(w->shm, note);

            memcpy(name.key, a->key, sizeof(name.key));
            memcpy(name.id, a->id, sizeof(name.id));
            name.note = note;
        }
        worker_unlock(w);
        upload_abort(w, &name);
    } while (note);
}
