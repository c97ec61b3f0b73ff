/* Sending the parts of a multipart upload. A part's state is in the segment, so any worker may send
 * any part, and the parts of a worker that dies are sent again by another. */
#include "workers/write/upload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/min.h"
#include "workers/op/spool.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_end.h"
#include "workers/write/stream.h"

/* A part that this worker is sending. */
struct part {
    struct worker *w;
    uint32_t session;
    uint32_t serial; /* of the upload */
    uint32_t no;
    uint64_t off, len;
    bool copied; /* on the server, from version `etag` */
    bool early;  /* taken before the publish that completes the upload */
    char etag[SHM_ETAG_MAX];
    char from[SHM_UPLOAD_KEY_MAX]; /* ... of this key */
    enum s3_crc checksum;
    struct upload_name name;
};

/* ---- the end of a part ---- */

/* Under shm->meta. False: the upload has ended meanwhile, and its parts do not count. */
static bool part_counts(const struct part *part)
{
    const struct shm_upload *u = shm_upload_at(part->w->shm, part->session);

    return u->open && u->serial == part->serial;
}

/* What storing the end of a part has led to. */
struct stored {
    bool counted;
    bool failed;       /* the upload has ended with that */
    bool closed;       /* the session must be cleared */
    uint32_t mask;     /* workers to wake */
    uint64_t from, to; /* of the spool: may be released */
};

/* Under shm->meta. The first part that fails decides what is told: nothing of an earlier failure is
 * left in it. (A part that was changed on its way has not failed.) `res` NULL: S3 was not asked. */
static void part_failed(const struct part *part, int error, const struct s3_result *res)
{
    struct shm *shm = part->w->shm;
    bool first = !shm_upload_at(shm, part->session)->error;
    struct shm_session *s;

    shm_upload_unsent(shm, part->session, part->no, error);
    if (first && shm_upload_at(shm, part->session)->error) {
        s = shm_session_edit(shm, part->session);
        s->failed_http = res ? (uint32_t)res->http_status : 0;
        s->failed_how = res ? (uint32_t)res->fail : S3_FAIL_LOCAL;
    }
}

/* Under shm->meta. A publish sends it again: what S3 said to it was said before the close, whose
 * result must not be that. (-ESTALE: the upload is gone, and all goes again.) */
static bool is_healed(const struct part *part, int error)
{
    const struct shm_session *s = shm_session_at(part->w->shm, part->session);

    return error && error != -ESTALE && part->early && s->publish.state == SHM_JOB_RUNNING;
}

/* Under shm->meta. `res`: of a part that was sent. */
static void part_store(const struct part *part, int error, const struct s3_result *res,
                       struct stored *ret)
{
    struct worker *w = part->w;
    struct shm_session *s;

    *ret = (struct stored){.counted = part_counts(part)};
    if (!ret->counted)
        return;
    ret->failed = error && !shm_upload_at(w->shm, part->session)->part[part->no].changed;
    if (is_healed(part, error))
        shm_upload_unsent(w->shm, part->session, part->no, 0);
    else if (error)
        part_failed(part, error, res);
    else if (!shm_upload_is_whole(shm_upload_at(w->shm, part->session), part->no,
                                  shm_session_at(w->shm, part->session)->size))
        shm_upload_unsent(w->shm, part->session, part->no, 0); /* the file has grown since */
    else
        shm_upload_sent(w->shm, part->session, part->no, res->obj.etag, res->crc);
    stream_advance(w, part->session, &ret->from, &ret->to);
    s = shm_session_edit(w->shm, part->session);
    if (ret->to > ret->from) /* until it is done, the slot is not used for anything else */
        s->releasing |= UINT32_C(1) << w->slot;
    ret->mask = shm_session_take_waiters(s);
    if (s->publish.state == SHM_JOB_RUNNING)
        ret->mask |= UINT32_C(1) << s->publish.owner;
    ret->closed = session_end_unused(w, part->session);
}

/* Frees what S3 has now. */
static void release(const struct part *part, struct stored *stored)
{
    struct worker *w = part->w;
    struct shm_session *s;

    spool_release(w, part->session, stored->from, stored->to);
    worker_lock(w);
    s = shm_session_edit(w->shm, part->session);
    s->releasing &= ~(UINT32_C(1) << w->slot);
    stored->mask |= shm_session_take_waiters(s);
    stored->closed = session_end_unused(w, part->session);
    worker_unlock(w);
}

/* A failure of which no program hears is not told: an early part goes again with the close, and
 * instead of one that the server does not copy its bytes are sent. */
static void tell_failed(const struct part *part, int error, const struct s3_result *res,
                        const char *detail)
{
    if (part->early || (part->copied && res && publish_copy_goes_on(res)))
        log_debug("a part is sent again key=\"%s\" part=%u error=\"%s\" detail=\"%s\"",
                  part->name.key, part->no + 1, strerror(-error), detail);
    else
        log_warn("upload of a part failed key=\"%s\" part=%u bytes=%llu error=\"%s\" "
                 "detail=\"%s\"",
                 part->name.key, part->no + 1, (unsigned long long)part->len, strerror(-error),
                 detail);
}

/* `res`: of a part that was sent; `detail`: for the log. (-ESTALE: the upload is gone; the publish
 * reports what follows.) */
static void part_end(struct part *part, int error, const struct s3_result *res, const char *detail)
{
    struct worker *w = part->w;
    struct stored stored;

    worker_lock(w);
    part_store(part, error, res, &stored);
    worker_unlock(w);
    if (stored.failed && error != -ESTALE)
        tell_failed(part, error, res, detail);
    if (stored.to > stored.from)
        release(part, &stored);
    if (stored.closed)
        session_clear(w, part->session);
    if (!error && !stored.counted) /* S3 may have it, though the upload was aborted */
        upload_abort(w, &part->name);
    worker_wake(w, stored.mask);
    if (!error && stored.counted && !stored.closed)
        upload_drive(w, part->session);
    free(part);
}

static void on_part(void *arg, const struct s3_result *res)
{
    if (!res->error && !*res->obj.etag)
        part_end(arg, -EIO, res, "the response has no ETag");
    else
        part_end(arg, res->error, res, res->text);
}

/* ---- sending ---- */

/* Under shm->meta. Of a file that is not a stream, and is still being written: somebody has it
 * open, and the parts that are on S3 are of use (shm_upload_changed). */
static bool early_goes_on(const struct shm_session *s, const struct shm_upload *u)
{
    return s->refs && u->seq == s->write_seq;
}

/* Under shm->meta. The number of parts that may be sent by now: while a publish runs the content
 * does not change, and the last part is whole too. */
static uint32_t ready(const struct shm_session *s, const struct shm_upload *u)
{
    uint64_t off, len, end = s->size;
    uint32_t n;

    if (s->publish.state == SHM_JOB_RUNNING)
        return shm_upload_parts(&u->plan, end);
    if (u->plan.patch) /* its publish has died */
        return 0;
    if (!stream_is(s)) {
        if (!early_goes_on(s, u))
            return 0;
        end = min_u64(end, s->ordered_to);
    }
    n = shm_upload_parts(&u->plan, end);
    if (n && shm_upload_range(&u->plan, n - 1, UINT64_MAX, &off, &len) && off + len > end)
        n--;
    return n;
}

/* Under shm->meta. What the parts consist of is there: in the spool, or (of a copy that is being
 * published) on S3. */
static bool has_content(const struct shm_session *s, const struct shm_upload *u)
{
    if (s->content == SHM_CONTENT_COPY)
        return u->plan.copies && s->publish.state == SHM_JOB_RUNNING;
    return shm_session_has_spool(s);
}

/* Under shm->meta. Takes the next part to send and fills *ret. False: there is none, or enough are
 * being sent. */
static bool take_part(struct worker *w, uint32_t session, struct part *ret)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    const struct shm_upload *u = shm_upload_at(w->shm, session);
    uint32_t no;

    if (s->state != SHM_SESSION_LIVE || !u->open || u->error || !has_content(s, u) ||
        s->load.state == SHM_JOB_RUNNING || u->sending >= w->conf->upload.concurrency)
        return false;
    shm_upload_grown(w->shm, session, s->size);
    no = shm_upload_take(w->shm, session, w->slot, ready(s, u), s->size,
                         s->publish.state == SHM_JOB_RUNNING ? SHM_UPLOAD_ALL : SHM_UPLOAD_NEW);
    if (no == SHM_NIL)
        return false;
    *ret = (struct part){
        .w = w, .session = session, .serial = u->serial, .no = no, .copied = u->part[no].copied};
    ret->early = !stream_is(s) && s->publish.state != SHM_JOB_RUNNING;
    ret->off = u->part[no].off;
    ret->len = u->part[no].len;
    memcpy(ret->etag, u->base_etag, sizeof(ret->etag));
    ret->checksum = (enum s3_crc)u->checksum;
    memcpy(ret->name.key, u->key, sizeof(ret->name.key));
    memcpy(ret->name.id, u->id, sizeof(ret->name.id));
    snprintf(ret->from, sizeof(ret->from), "%s",
             s->content == SHM_CONTENT_COPY ? s->copy.key : u->key);
    return true;
}

static int copy_part(struct part *part)
{
    struct s3_part_copy copy = {
        .key = part->name.key,
        .upload_id = part->name.id,
        .number = part->no + 1,
        .from_key = part->from,
        .off = part->off,
        .len = part->len,
        .if_source_match = *part->etag ? part->etag : NULL,
    };

    return s3_part_copy(part->w->s3, &copy, on_part, part, NULL);
}

static int put_part(struct part *part)
{
    struct s3_part put = {
        .key = part->name.key,
        .upload_id = part->name.id,
        .number = part->no + 1,
        .checksum = part->checksum,
        .body = {.fd = spool_fd(part->w, part->session), .off = part->off, .len = part->len},
    };

    return s3_part(part->w->s3, &put, on_part, part, NULL);
}

static void send_part(struct part *part)
{
    int r = part->copied ? copy_part(part) : put_part(part);

    if (r < 0)
        part_end(part, r, NULL, "it could not be sent");
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
    ret->note = 0;
    if (!u->open)
        return;
    memcpy(ret->key, u->key, sizeof(ret->key));
    memcpy(ret->id, u->id, sizeof(ret->id));
    shm_upload_end(w->shm, session);
    upload_note(w, ret);
}
