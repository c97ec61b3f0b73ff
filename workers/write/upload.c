/* Sending the parts of a multipart upload. A part's state is in the segment, so any worker may send
 * any part, and the parts of a worker that dies are sent again by another. */
#include "workers/write/upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "workers/op/spool.h"
#include "workers/write/session_end.h"

static_assert(SHM_UPLOAD_ID_MAX >= S3_UPLOAD_ID_MAX, "any id fits");
static_assert(SHM_UPLOAD_PARTS == S3_PARTS_MAX, "both are S3's limit");

/* A part that this worker is sending. */
struct part {
    struct worker *w;
    uint32_t session;
    uint32_t serial; /* of the upload */
    uint32_t no;
    uint64_t off, len;
    struct upload_name name;
};

/* ---- the end of a part ---- */

/* Under shm->meta. False: the upload has ended meanwhile, and its parts do not count. */
static bool part_counts(const struct part *part)
{
    const struct shm_upload *u = shm_upload_at(part->w->shm, part->session);

    return u->open && u->serial == part->serial;
}

/* Under shm->meta. Returns the mask of workers to wake; *ret_closed: the session must be
 * cleared. */
static uint32_t part_store(const struct part *part, int error, const char *etag, bool *ret_closed)
{
    struct worker *w = part->w;
    struct shm_session *s;
    uint32_t mask;

    *ret_closed = false;
    if (!part_counts(part))
        return 0;
    if (error)
        shm_upload_unsent(w->shm, part->session, part->no, error);
    else
        shm_upload_sent(w->shm, part->session, part->no, etag);
    s = shm_session_edit(w->shm, part->session);
    mask = s->waiters;
    if (s->publish.state == SHM_JOB_RUNNING)
        mask |= UINT32_C(1) << s->publish.owner;
    s->waiters = 0;
    *ret_closed = session_end_unused(w, part->session);
    return mask;
}

static void part_end(struct part *part, int error, const char *etag)
{
    struct worker *w = part->w;
    uint32_t mask;
    bool closed;

    worker_lock(w);
    mask = part_store(part, error, etag, &closed);
    worker_unlock(w);
    if (closed)
        session_clear(w, part->session);
    worker_wake(w, mask);
    if (!error && !closed)
        upload_drive(w, part->session);
    free(part);
}

static void on_part(void *arg, const struct s3_result *res)
{
    struct part *part = arg;
    int error = res->error;

    if (!error && !*res->obj.etag)
        error = -EIO;
    if (error && error != -ESTALE) /* the upload is gone: the publish reports what follows */
        log_warn("upload of a part failed key=\"%s\" part=%u bytes=%llu error=\"%s\" detail=\"%s\" "
                 "attempts=%u",
                 part->name.key, part->no + 1, (unsigned long long)part->len, strerror(-error),
                 res->error ? res->text : "the response has no ETag", res->attempts);
    part_end(part, error, res->obj.etag);
}

/* ---- sending ---- */

/* Under shm->meta. The number of parts that may be sent by now: while a publish runs the content
 * does not change, and the last part is whole too. */
static uint32_t ready(const struct shm_session *s, const struct shm_upload *u)
{
    uint32_t n = shm_upload_parts(u, s->size);
    uint64_t off, len, end;

    if (s->publish.state == SHM_JOB_RUNNING)
        return n;
    end = s->size;
    if (n && shm_upload_range(u, n - 1, UINT64_MAX, &off, &len) && off + len > end)
        n--;
    return n;
}

/* Under shm->meta. Takes the next part to send and fills *ret. False: there is none, or enough are
 * being sent. */
static bool take_part(struct worker *w, uint32_t session, struct part *ret)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    const struct shm_upload *u = shm_upload_at(w->shm, session);
    uint32_t no;

    if (s->state != SHM_SESSION_LIVE || !u->open || u->error || !shm_session_is_loaded(s) ||
        s->load.state == SHM_JOB_RUNNING || u->sending >= w->conf->upload.concurrency)
        return false;
    no = shm_upload_take(w->shm, session, w->slot, ready(s, u));
    if (no == SHM_NIL)
        return false;
    *ret = (struct part){.w = w, .session = session, .serial = u->serial, .no = no};
    (void)!shm_upload_range(u, no, s->size, &ret->off, &ret->len);
    memcpy(ret->name.key, u->key, sizeof(ret->name.key));
    memcpy(ret->name.id, u->id, sizeof(ret->name.id));
    return true;
}

static void send_part(struct part *part)
{
    struct s3_part put = {
        .key = part->name.key,
        .upload_id = part->name.id,
        .number = part->no + 1,
        .body = {.fd = spool_fd(part->w, part->session), .off = part->off, .len = part->len},
    };
    int r = s3_part(part->w->s3, &put, on_part, part, NULL);

    if (r < 0) {
        log_warn("upload cannot start key=\"%s\" error=\"%s\"", part->name.key, strerror(-r));
        part_end(part, r, "");
    }
}

void upload_drive(struct worker *w, uint32_t session)
{
    for (;;) {
        struct part *part = malloc(sizeof(*part));
        bool taken = false;

        if (part) {
            worker_lock(w);
            taken = take_part(w, session, part);
            worker_unlock(w);
        }
        if (!taken) {
            free(part);
            return;
        }
        send_part(part);
    }
}

/* ---- giving up ---- */

void upload_give_up(struct worker *w, uint32_t session, struct upload_name *ret)
{
    const struct shm_upload *u = shm_upload_at(w->shm, session);

    ret->key[0] = '\0';
    if (!u->open)
        return;
    memcpy(ret->key, u->key, sizeof(ret->key));
    memcpy(ret->id, u->id, sizeof(ret->id));
    shm_upload_end(w->shm, session);
}

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
