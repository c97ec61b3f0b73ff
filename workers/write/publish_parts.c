/* A publish in parts: creates the upload, has its parts sent (upload.c), and completes it under the
 * condition that a PUT would have. Nothing is visible before Complete.
 *
 * The upload outlives its job: if the worker dies, the next publish of the same content continues
 * with the parts that S3 has. A refusal of Complete leaves the upload as it is, and the next
 * attempt is another Complete. An upload that has vanished on the server begins anew; if Complete
 * was sent, a HEAD first shows whether it has taken effect. It also has to show what a 200 to a
 * repeated Complete claims (upload_proof.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/fnv.h"
#include "base/log.h"
#include "s3/s3_etag.h"
#include "workers/objmeta/meta.h"
#include "workers/op/copy.h"
#include "workers/server/server.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_patch.h"
#include "workers/write/stream.h"
#include "workers/write/upload_open.h"

static_assert(LINEAGE_ID_CAP <= SHM_UPLOAD_WRITE_ID, "an upload holds any write-id");

#define UPLOADS_MAX 3 /* uploads of one publish: two may vanish on the server */

/* (With its NUL.) */
static uint64_t digest_add(uint64_t digest, const char *text)
{
    return fnv_add(digest, text, strlen(text) + 1);
}

/* Of what was sent, or would be sent, when the upload is created. Not `timed`: but for the time of
 * the last change of attributes. */
static uint64_t digest_of(const struct publish *p, bool timed)
{
    uint64_t digest = digest_add(FNV_START, p->type);

    for (size_t i = 0; i < p->meta.n; i++) {
        if (!timed && strcmp(p->meta.pair[i].name, META_CTIME) == 0)
            continue;
        digest = digest_add(digest, p->meta.pair[i].name);
        digest = digest_add(digest, p->meta.pair[i].value);
    }
    if (p->tags)
        digest = digest_add(digest, p->tags);
    return fnv_add(digest, p->meta.kept.text, p->meta.kept.len);
}

/* Compare-and-set: the condition of Complete must be one that the server was seen to keep. */
static bool may_complete(const struct publish *p)
{
    return !p->cas.expects || server_keeps(p->w, SERVER_KEEPS_COMPLETE);
}

bool publish_wants_parts(const struct publish *p)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    if (p->whole)
        return false;
    if (*p->copy.key)
        return p->copy_parts;
    /* (While the publish runs nobody else opens or ends an upload of the session.) */
    if (p->opens || p->patch ||
        (stream_is(s) && (s->base || shm_upload_at(p->w->shm, p->session)->open)))
        return true;
    if (!may_complete(p))
        return p->size > S3_PUT_MAX; /* which publish_parts refuses */
    return p->size >= p->w->conf->upload.multipart_threshold || p->size > S3_PUT_MAX;
}

bool publish_is_early(const struct publish *p)
{
    return p->opens && !stream_is(shm_session_at(p->w->shm, p->session));
}

static void fail_parts(struct publish *p, int error)
{
    struct s3_result res = {.error = error, .text = "in parts", .attempts = p->uploads};

    publish_finish(p, &res, res.error);
}

static void part_not_copied(struct publish *p, const struct s3_result *res)
{
    if (p->w->variant->expects)
        publish_cas_copy_part_failed(p, res);
    else
        publish_copy_part_failed(p, res);
}

/* One of the parts has failed. (What is no longer there to be copied is -ESTALE for the server; if
 * it is the upload, the status is 404.) */
static void fail_part(struct publish *p, int error, bool copied)
{
    struct s3_result res = {.error = error, .text = "in parts", .attempts = p->uploads};
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    worker_lock(p->w);
    res.http_status = (int)s->failed_http;
    res.fail = (enum s3_fail)s->failed_how;
    worker_unlock(p->w);
    if (copied && p->patch)
        publish_copy_failed(p, &res);
    else if (copied && p->copy_parts)
        part_not_copied(p, &res);
    else
        publish_finish(p, &res, res.error);
}

/* ---- create ---- */

static void drive(struct publish *p);

/* The server does not support multipart uploads. */
static bool is_unknown(const struct s3_result *res)
{
    return res->http_status == 501 || res->http_status == 405;
}

static void do_without(struct publish *p)
{
    __atomic_store_n(&p->w->shm->header->no_uploads, 1, __ATOMIC_RELAXED);
    p->whole = true;
    if (p->patch || p->copy_parts)
        publish_without_copies(p);
    else if (p->opens)
        publish_opened(p, NULL);
    else
        publish_next(p, PUT_SEND);
}

/* Under shm->meta. */
static struct shm_upload_plan plan_of(const struct publish *p)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);
    bool grows = p->opens || stream_is(s);
    uint64_t least = p->w->conf->upload.part_size;

    if (p->patch)
        return session_patch_plan(p->w, p->session, p->patch);
    if (p->copy_parts)
        return session_copy_plan(p->w, p->size);
    return shm_upload_plan(grows ? least : shm_upload_part_size(p->size, least), grows, s->base);
}

/* Under shm->meta. The version from which the server copies parts. */
static const char *copied_version(const struct publish *p)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    if (p->copy_parts)
        return p->copy.etag;
    return p->patch ? publish_patch_source(p) : s->expect.etag;
}

void publish_open_upload(struct publish *p, const struct s3_result *res)
{
    struct worker *w = p->w;
    const struct shm_session *s = shm_session_at(w->shm, p->session);

    shm_upload_open(w->shm, p->session,
                    &(struct shm_upload_new){
                        .key = p->key,
                        .id = res->upload_id,
                        .plan = plan_of(p),
                        .digest = digest_of(p, true),
                        .write_id = p->w->variant->expects ? p->cas.id : "",
                        .checksum = res->checksum,
                        /* (No part of it is taken yet: it carries what is written meanwhile.) */
                        .seq = p->opens ? s->write_seq : s->publishing_seq,
                        .opened_ns = clock_mono_ns(),
                        .base_etag = copied_version(p),
                    });
}

static void on_created(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    p->w->creating--;
    if (is_unknown(res) && p->size <= S3_PUT_MAX && !p->base) {
        do_without(p);
        return;
    }
    if (res->error) {
        publish_finish(p, res, res->error);
        return;
    }
    if (p->opens) {
        publish_opened(p, res);
        return;
    }
    worker_lock(p->w);
    publish_open_upload(p, res);
    worker_unlock(p->w);
    drive(p);
}

static void create(struct publish *p)
{
    struct s3_create create = {
        .key = p->key,
        .content_type = *p->type ? p->type : NULL,
        .meta = p->meta.pair,
        .n_meta = p->meta.n,
        /* (Of a part that the server copies we have none.) */
        .checksum = !p->base && !p->patch && !p->copy_parts,
        .kept = &p->meta.kept,
        .tags = p->tags,
    };
    int r;

    p->stale_meta = p->source_seen = false;
    p->proof.since_ns = 0;
    if (p->uploads++ == UPLOADS_MAX) {
        fail_parts(p, -EIO);
        return;
    }
    p->w->creating++;
    r = s3_create(p->w->s3, &create, on_created, p, NULL);
    if (r < 0) {
        p->w->creating--;
        fail_parts(p, r);
    }
}

/* ---- metadata that were set after the upload was opened ---- */

/* Its own copy, or a predecessor's, has made the object: it has the time of the change, whatever
 * ETag the server gives the copy. */
static bool has_meta_of_now(const struct publish *p, const struct s3_result *res)
{
    return !res->error && p->node.ctime_ns != SHM_TIME_UNSET &&
           meta_is_of_change(&res->obj, p->size, p->node.ctime_ns);
}

static void meta_stored(struct publish *p, const char *etag)
{
    p->prepared = true;
    publish_ours(p, *etag ? etag : p->parts_etag);
}

static void meta_not_stored(struct publish *p, const struct s3_result *res)
{
    if (!stream_is(shm_session_at(p->w->shm, p->session))) {
        log_warn("attributes not stored key=\"%s\" error=\"%s\" detail=\"%s\": the content is "
                 "published, but close fails, since the file has not the attributes that were set",
                 p->key, strerror(-res->error), res->text);
        p->told = true;
        publish_finish(p, res, res->error);
        return;
    }
    log_warn("attributes not stored key=\"%s\" error=\"%s\" detail=\"%s\": the file is "
             "published with those that it had when its upload began",
             p->key, strerror(-res->error), res->text);
    p->prepared = false;
    publish_ours(p, p->parts_etag);
}

static void on_meta_looked(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    struct s3_result refused = {.error = -ESTALE, .text = "another version is there"};

    if (has_meta_of_now(p, res))
        meta_stored(p, res->obj.etag);
    else
        meta_not_stored(p, &refused);
}

/* A refusal: perhaps by what an attempt before has made, whose answer was lost. */
static void on_meta_stored(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    bool looks = res->error == -ESTALE;

    if (!res->error)
        meta_stored(p, res->obj.etag);
    else if (!looks || s3_head(p->w->s3, p->key, on_meta_looked, p, NULL) < 0)
        meta_not_stored(p, res);
}

void publish_store_meta(struct publish *p, const char *etag)
{
    struct s3_copy copy = {
        .from_key = p->key,
        .to_key = p->key,
        .if_source_match = etag,
        .if_match = etag,
        .replace_meta = true,
        .content_type = *p->type ? p->type : NULL,
        .meta = p->meta.pair,
        .n_meta = p->meta.n,
        .kept = &p->meta.kept,
    };

    p->stale_meta = false;
    shm_etag_copy(p->parts_etag, etag);
    if (copy_object(p->w, &copy, p->size, on_meta_stored, p, NULL) < 0)
        publish_ours(p, etag);
}

/* ---- complete ---- */

/* The upload has ended on the server without our knowledge: publish_parts() begins another. */
static void begin_anew(struct publish *p, bool completed)
{
    p->vanished = true;
    if (completed && p->w->variant->expects) {
        p->cas.ambiguous = true;
        publish_next(p, PUT_LOOK);
    } else {
        publish_next(p, PUT_SEND);
    }
}

bool publish_is_there(const struct publish *p, const struct s3_result *res)
{
    return !res->error && *p->parts_etag && strcmp(res->obj.etag, p->parts_etag) == 0;
}

/* Under shm->meta. A stream whose upload is gone: the spool no longer has the parts. */
static bool has_lost_bytes(const struct publish *p)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    return s->held_from > s->base;
}

/* The 200 to Complete was no publish: what was there before still is. (A server that gives such
 * answers gives them where there is an object: a 404 does not show it.) */
static bool is_false_200(const struct publish *p, const struct s3_result *res)
{
    return p->proof_of_200 && !res->error && *p->proof.before &&
           strcmp(res->obj.etag, p->proof.before) == 0;
}

static bool is_blind(const struct publish *p)
{
    return s3_habit_has(p->w->s3, S3_HABIT_BLIND_COMPLETE);
}

/* Last write wins; Complete was answered 200, once, and what it makes is not there. True: it was,
 * and somebody has deleted or replaced it since. Of a server that is known for false answers the
 * former alone is believed, unless nothing else is possible: all is sent again. */
static bool is_replaced(struct publish *p, const struct s3_result *res)
{
    bool lost;

    if (!p->proof_of_200)
        return false;
    if (is_false_200(p, res)) {
        (void)s3_habit_learn(p->w->s3, S3_HABIT_BLIND_COMPLETE);
        return false;
    }
    if (res->error == -ENOENT || !is_blind(p))
        return true;
    worker_lock(p->w);
    lost = has_lost_bytes(p);
    worker_unlock(p->w);
    return lost && !p->excl;
}

/* Last write wins: Complete has not taken effect, or something else has replaced what it made. */
static void on_not_there(struct publish *p, const struct s3_result *res)
{
    if (is_replaced(p, res)) {
        p->cas.ambiguous = true; /* the name may have another version by now */
        p->stale_meta = false;
        publish_ours(p, p->proof.etag);
        return;
    }
    if (p->excl && !res->error) {
        publish_next(p, PUT_CONFLICT);
        return;
    }
    if (publish_base_is_gone(p, res)) {
        publish_next(p, PUT_STALE);
        return;
    }
    cas_put_condition(res, p->etag, &p->absent);
    begin_anew(p, true);
}

/* Compare-and-set asks who has written what is there: others may have written the same bytes. */
static void cas_on_proof(struct publish *p, const struct s3_result *res)
{
    bool before = p->cas.ambiguous;
    enum put_next next;

    p->cas.ambiguous = true;
    if (p->proof_of_200 && res->error == -ENOENT && !is_blind(p)) { /* deleted since */
        p->stale_meta = false;
        publish_ours(p, p->proof.etag);
        return;
    }
    if (is_false_200(p, res))
        (void)s3_habit_learn(p->w->s3, S3_HABIT_BLIND_COMPLETE);
    next = p->rules->found(p, res);
    if (p->proof_of_200 && next == PUT_OURS && shm_etag_same(p->cas.etag, res->obj.etag))
        p->cas.ambiguous = before; /* it is there as this publish has made it */
    p->vanished = p->proof_of_200 && next != PUT_OURS;
    publish_next(p, next);
}

/* A predecessor's Complete, and its copy with the metadata of now, which has another ETag. */
static bool is_copied_since(const struct publish *p, const struct s3_result *res)
{
    return p->stale_meta && has_meta_of_now(p, res);
}

static void on_proof(struct upload_proof *proof, enum upload_found found,
                     const struct s3_result *res)
{
    struct publish *p = container_of(proof, struct publish, proof);

    if (found == UPLOAD_FAILED) {
        p->cas.ambiguous = true; /* it was answered 200, or may have taken effect */
        publish_finish(p, res, res->error);
    } else if (found == UPLOAD_PENDING) {
        drive(p);
    } else if (p->w->variant->expects) {
        cas_on_proof(p, res);
    } else if (found == UPLOAD_THERE) {
        publish_ours(p, res->obj.etag);
    } else if (is_copied_since(p, res)) {
        p->stale_meta = false;
        publish_ours(p, res->obj.etag);
    } else {
        on_not_there(p, res);
    }
}

/* `etag`: of what Complete makes. `limit_ns`: how long it may still take effect. */
static void prove(struct publish *p, const char *etag, uint64_t limit_ns)
{
    int r;

    p->proof.limit_ns = limit_ns;
    p->proof.absent = p->absent;
    shm_etag_copy(p->proof.before, (p->asked || p->proof_of_200) && !p->absent ? p->etag : "");
    shm_etag_copy(p->proof.etag, etag);
    r = upload_prove(p->w, &p->proof, p->key, on_proof);
    if (r == 0)
        return;
    p->cas.ambiguous = true;
    fail_parts(p, r);
}

/* The server no longer knows the upload: it was completed by an attempt whose answer was lost, or
 * somebody has aborted it. Or (-EBUSY) it must not be completed any more, because of a concurrent
 * change. */
static bool has_vanished(const struct s3_result *res)
{
    return res->error == -ESTALE || res->error == -EBUSY ||
           strcmp(res->code, "NoSuchUpload") == 0 || strcmp(res->code, "InvalidPart") == 0;
}

/* As shm_upload_completes(). Later publishes of a patch have to know, too: what they copy may be
 * replaced by what this one makes. */
static bool note_complete(struct publish *p, bool sent)
{
    bool before;

    worker_lock(p->w);
    before = shm_upload_completes(p->w->shm, p->session, sent);
    if (p->patch) {
        struct shm_session *s = shm_session_edit(p->w->shm, p->session);

        if (sent && !shm_etag_same(s->lost_etag, p->parts_etag))
            shm_etag_copy(p->lost_before, s->lost_etag);
        shm_etag_copy(s->lost_etag, sent ? p->parts_etag : p->lost_before);
    }
    worker_unlock(p->w);
    return before;
}

/* The first 200 to Complete does not prove that it has taken effect. */
static bool is_doubtful(const struct publish *p)
{
    uint64_t opened_ns;

    worker_lock(p->w);
    opened_ns = shm_upload_at(p->w->shm, p->session)->opened_ns;
    worker_unlock(p->w);
    return upload_needs_proof(p->w, opened_ns);
}

static void on_completed(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    bool repeated = p->completed_before || res->may_have_acted;

    if (res->error && !repeated) /* clearly refused: the next Complete is a first one again */
        (void)note_complete(p, false);
    p->proof_of_200 = !res->error && !repeated && *res->obj.etag && is_doubtful(p);
    if (p->proof_of_200) {
        prove(p, res->obj.etag, 0);
    } else if (!res->error && repeated && *res->obj.etag) {
        prove(p, res->obj.etag, p->w->conf->s3.deadline_ns);
    } else if (!res->error && p->stale_meta && *res->obj.etag) {
        publish_ours(p, res->obj.etag);
    } else if (!has_vanished(res) || !res->error) {
        publish_answered(p, res);
    } else if (p->w->variant->expects) {
        begin_anew(p, true);
    } else {
        prove(p, p->parts_etag, repeated ? p->cas.settle_ns : 0);
    }
}

/* The list of parts, with their ETags behind it; freed by the caller. NULL: no memory. */
static struct s3_part_done *list_done(struct publish *p, size_t n, enum s3_crc *ret_checksum)
{
    struct s3_part_done *done = calloc(n, sizeof(*done) + SHM_ETAG_MAX);
    char *etag = (char *)(done + n);
    const struct shm_upload *u;

    if (!done)
        return NULL;
    worker_lock(p->w);
    u = shm_upload_at(p->w->shm, p->session);
    *ret_checksum = (enum s3_crc)u->checksum;
    for (size_t i = 0; i < n; i++, etag += SHM_ETAG_MAX) {
        memcpy(etag, u->part[i].etag, SHM_ETAG_MAX - 1);
        done[i] = (struct s3_part_done){
            .number = (unsigned)i + 1, .etag = etag, .crc = u->part[i].crc, .len = u->part[i].len};
    }
    worker_unlock(p->w);
    return done;
}

static void complete(struct publish *p, const struct upload_name *name, size_t n)
{
    struct s3_complete complete = {.key = name->key, .upload_id = name->id, .n_parts = n};
    struct s3_part_done *done;
    int r;

    if (!publish_condition(p, &complete.if_match, &complete.if_none_match))
        return;
    done = list_done(p, n, &complete.checksum);
    if (!done) {
        fail_parts(p, -ENOMEM);
        return;
    }
    if (p->w->variant->expects || p->absent)
        publish_note_sent(p);
    (void)s3_etag_of_parts(done, n, p->parts_etag);
    p->completed_before = note_complete(p, true);
    complete.parts = done;
    complete.bare_match = p->bare;
    p->sent_ns = clock_mono_ns();
    r = s3_complete(p->w->s3, &complete, on_completed, p, NULL);
    free(done);
    if (r < 0) {
        p->cas.ambiguous |= p->completed_before;
        fail_parts(p, r);
    }
}

/* ---- the parts ---- */

/* Some servers ignore the condition on the source of a part (R2 documents it, Ceph): what is still
 * there after the last part is what all of them were copied from. Complete says nothing of it, as
 * it is another key. */
static void on_source_seen(void *arg, const struct s3_result *res)
{
    struct s3_result gone = {.error = res->error ? res->error : -ESTALE,
                             .http_status = res->error ? res->http_status : 412,
                             .fail = S3_FAIL_ANSWER,
                             .text = "the source has changed"};
    struct publish *p = arg;

    switch (publish_source_found(res, p->copy.etag)) {
    case PUBLISH_SOURCE_THERE:
        p->source_seen = true;
        drive(p);
        return;
    case PUBLISH_SOURCE_GONE:
        part_not_copied(p, &gone);
        return;
    case PUBLISH_SOURCE_UNKNOWN:
        publish_finish(p, res, res->error);
        return;
    }
}

/* True: it is asked for first. (Not if Complete was sent, and may have taken effect.) */
static bool looks_at_source(struct publish *p)
{
    bool completing;
    int r;

    if (!p->copy_parts || p->source_seen)
        return false;
    worker_lock(p->w);
    completing = shm_upload_at(p->w->shm, p->session)->completing;
    worker_unlock(p->w);
    if (completing)
        return false;
    r = s3_head(p->w->s3, p->copy.key, on_source_seen, p, NULL);
    if (r < 0)
        fail_parts(p, r);
    return true;
}

enum state { STATE_NONE, STATE_FAILED, STATE_SENDING, STATE_DONE };

/* Under shm->meta. */
static enum state state_of(struct publish *p, struct upload_name *ret, size_t *ret_parts,
                           int *ret_error, bool *ret_copied)
{
    const struct shm_upload *u = shm_upload_at(p->w->shm, p->session);

    if (!u->open)
        return STATE_NONE;
    *ret_error = u->error;
    *ret_copied = u->copy_failed;
    *ret_parts = shm_upload_parts(&u->plan, p->size);
    if (u->error)
        return STATE_FAILED;
    memcpy(ret->key, u->key, sizeof(ret->key));
    memcpy(ret->id, u->id, sizeof(ret->id));
    /* (Parts beyond the end of a file that was cut may still be on their way.) */
    return u->prefix >= *ret_parts && !u->sending ? STATE_DONE : STATE_SENDING;
}

/* -ESTALE of a copy: its source has another version now (412). Else the upload has vanished. */
static bool is_copy_refused(const struct publish *p, bool copied)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    return copied && (p->patch || p->copy_parts) && s->failed_http == 412;
}

/* Continues the upload as far as it can be now. */
static void drive(struct publish *p)
{
    struct upload_name name;
    enum state state;
    size_t parts = 0;
    bool copied = false;
    int error = 0;

    worker_hook_add(p->w, &p->hook);
    upload_drive(p->w, p->session);
    worker_lock(p->w);
    shm_upload_grown(p->w->shm, p->session, p->size);
    state = state_of(p, &name, &parts, &error, &copied);
    worker_unlock(p->w);
    if (state == STATE_SENDING) /* each part that ends wakes this worker */
        return;
    worker_hook_remove(p->w, &p->hook);
    if (state == STATE_DONE && looks_at_source(p))
        return;
    if (state == STATE_DONE)
        complete(p, &name, parts);
    else if (error == -ESTALE && p->base) /* what was to be copied has been replaced */
        publish_next(p, PUT_STALE);
    else if (state == STATE_NONE || (error == -ESTALE && !is_copy_refused(p, copied)))
        begin_anew(p, false);
    else
        fail_part(p, error, copied);
}

static void on_turn(struct worker_hook *hook)
{
    drive(container_of(hook, struct publish, hook));
}

/* Under shm->meta. True if the metadata of the upload are not those of now. A time of the last
 * change of attributes that alone was added is no reason to store them. */
static bool has_old_meta(const struct publish *p, const struct shm_upload *u)
{
    return u->digest != digest_of(p, true) && u->digest != digest_of(p, false);
}

/* Under shm->meta. True if the upload carries what this publish would send: it was begun by a
 * worker that died, for an attempt that was refused, or while the file was written. */
static bool is_current(struct publish *p)
{
    const struct shm_upload *u = shm_upload_at(p->w->shm, p->session);

    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    if (!u->open || strcmp(u->key, p->key) != 0)
        return false;
    p->stale_meta = has_old_meta(p, u);
    if (u->plan.patch != p->patch ||
        ((p->patch || p->copy_parts) && strcmp(u->base_etag, copied_version(p)) != 0))
        return false;
    if (stream_is(s))
        return true; /* more has been appended to it since it was opened */
    if (p->copy_parts != (u->plan.copies > 0))
        return false;
    if (u->error || u->seq != s->publishing_seq)
        return false;
    if (!p->stale_meta || !u->plan.grows)
        return !p->stale_meta;
    /* (Metadata set while it was written do not cost it all its parts, if last write wins: then a
     * copy onto itself follows. With compare-and-set that would be another version.) */
    if (p->w->variant->expects)
        upload_was_in_vain(p->w);
    return !p->w->variant->expects;
}

void publish_drop_upload(struct publish *p)
{
    struct upload_name old;

    worker_lock(p->w);
    upload_give_up(p->w, p->session, &old);
    worker_unlock(p->w);
    upload_abort(p->w, &old);
}

void publish_parts(struct publish *p)
{
    struct worker *w = p->w;
    struct upload_name old = {.key = ""};
    bool current, lost = false;

    if (!may_complete(p)) {
        fail_parts(p, -EFBIG);
        return;
    }
    p->hook.fn = on_turn;
    worker_lock(w);
    current = !p->vanished && is_current(p);
    p->vanished = false;
    if (!current) {
        p->stale_meta = false;
        p->parts_etag[0] = '\0';
        upload_give_up(w, p->session, &old);
        lost = has_lost_bytes(p);
    }
    worker_unlock(w);
    upload_abort(w, &old);
    if (lost)
        fail_parts(p, -EIO);
    else if (current)
        drive(p);
    else
        create(p);
}
