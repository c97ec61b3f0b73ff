/* The end of a publish (publish.c): the session and its node become the version that S3 has, or
 * stay as they were; waiting ops are woken. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/shm_patch.h"
#include "workers/cas/cas.h"
#include "workers/objmeta/meta.h"
#include "workers/op/validity.h"
#include "workers/read/version_id.h"
#include "workers/server/server.h"
#include "workers/write/names_tell.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_end.h"
#include "workers/write/stream.h"
#include "workers/write/upload_open.h"

void publish_free(struct publish *p)
{
    free(p->like);
    free(p->tags);
    free(p);
}

/* Under shm->meta. The time at which S3 is known to have had the published version, for a session
 * on `node`: when the PUT was sent, or later. 0: another version may be there by now. (A version
 * other than the replaced one was found while the PUT was in flight; or it is unknown when the PUT
 * took effect.) */
static uint64_t published_ns(const struct publish *p, uint32_t node, const char *etag)
{
    struct shm *shm = p->w->shm;
    uint32_t named = shm_node_named(shm, node);
    const struct shm_node *n = named == SHM_NIL ? NULL : shm_node_at(shm, named);

    if (n && n->checked_ns > p->sent_ns && shm_etag_same(n->etag, etag))
        return n->checked_ns;
    if (p->cas.ambiguous)
        return 0;
    if (n && named != node && n->checked_ns > p->sent_ns &&
        (p->absent || !shm_etag_same(n->etag, p->etag)))
        return 0;
    return p->sent_ns;
}

/* Under shm->meta. With isolation, others see the name of a new file from now on. The directory
 * does not become newer than the file unless it must, to move at all: make and find -newer would
 * take it to be newer than the stamp that was just made in it. */
static void name_appears(struct worker *w, uint32_t dir, int64_t mtime_ns)
{
    int64_t now = (int64_t)clock_wall_ns();
    bool moves = dir != SHM_NIL && shm_node_at(w->shm, dir)->mtime_ns < mtime_ns;

    shm_node_names_changed(w->shm, dir, moves && mtime_ns < now ? mtime_ns : now);
}

/* Under shm->meta, after success: the node is this version now. */
static void publish_node(struct publish *p, const struct s3_result *res)
{
    struct shm *shm = p->w->shm;
    const struct shm_session *s = shm_session_at(shm, p->session);
    struct shm_node *n = shm_node_edit(shm, s->node);
    uint32_t parent = n->parent;

    if (p->w->variant->isolates && (n->flags & SHM_NODE_LOCAL))
        name_appears(p->w, parent, s->mtime_ns);
    n->size = p->size;
    n->mtime_ns = s->mtime_ns;
    n->checked_ns = published_ns(p, s->node, res->obj.etag);
    n->flags &= (uint16_t) ~(SHM_NODE_LOCAL | SHM_NODE_FRESH);
    if (!p->prepared) { /* a PUT of a dead worker: its metadata are not known here */
        n->flags &= (uint16_t) ~(SHM_NODE_META_FLAGS & ~SHM_NODE_TYPED);
    } else if (p->w->conf->metadata == CONF_METADATA_FULL) {
        if (!(n->flags & SHM_NODE_META))
            meta_adopt(n, &p->node);
        meta_told(n, &p->meta, *p->type ? p->type : NULL);
    }
    shm_etag_copy(n->etag, res->obj.etag);
    shm_node_new_content(shm, s->node);
    version_id_told(p->w, p->rules->takes_name(p, s->node), p->key, &res->obj);
    validity_dir_changed(p->w, parent);
}

/* Its writes are decided. A killed process will write nothing more. */
static void forget_writer(struct shm_session_pid *pid)
{
    if (pid->flags & SHM_PID_KILLED)
        *pid = (struct shm_session_pid){0};
    pid->flags &= ~(uint32_t)SHM_PID_WROTE;
}

static void publish_session(struct publish *p, const struct s3_result *res)
{
    struct shm_session *s = shm_session_edit(p->w->shm, p->session);

    s->published_seq = s->publishing_seq;
    /* (Extended attributes have not been set meanwhile: setxattr waits for a publish.) */
    s->flags &= ~(uint32_t)(SHM_SESSION_UNPUBLISHED | SHM_SESSION_EXCL | SHM_SESSION_XATTR);
    s->expect.absent = false;
    s->lost_etag[0] = '\0';
    shm_etag_copy(s->expect.etag, res->obj.etag);
    for (int i = 0; i < SHM_SESSION_PIDS; i++)
        forget_writer(&s->pids[i]);
    if (s->content == SHM_CONTENT_COPY) /* S3 now has it under this key */
        s->content = SHM_CONTENT_S3;
    if (s->content == SHM_CONTENT_PATCH && !shm_patch_published(p->w->shm, p->session, p->size))
        s->content = SHM_CONTENT_SPOOL; /* all of it is there: it was sent */
    s->flags &= ~(uint32_t)(SHM_SESSION_NO_COPY | SHM_SESSION_RENEWED);
    p->rules->published(p, s, res);
    if (s->flags & SHM_SESSION_KEYED)
        names_tell_put(p->w, p->key, p->size, res->obj.etag, p->cas.ambiguous ? 0 : p->sent_ns);
    else
        publish_node(p, res);
    s->changed_from = UINT64_MAX;
}

/* Ends the job. Returns the mask of workers to wake; *ret_closed: the session had no user left and
 * must be cleared; *ret_left: the upload to abort. */
static uint32_t end_job(struct publish *p, const struct s3_result *res, int error, bool *ret_closed,
                        struct upload_name *ret_left)
{
    struct shm_session *s = shm_session_edit(p->w->shm, p->session);
    uint32_t mask;

    if (!error) {
        publish_session(p, res);
        stream_published(p->w, p->session, p->size);
    } else {
        p->rules->failed(p, s, error);
        stream_failed(p->w, p->session, error, p->opens);
    }
    s->failed_http = error ? (uint32_t)res->http_status : 0;
    s->failed_how = error ? (uint32_t)res->fail : 0;
    if (error)
        upload_give_up(p->w, p->session, ret_left);
    else
        shm_upload_end(p->w->shm, p->session); /* it is complete */
    publish_job(p, s)->state = SHM_JOB_IDLE;
    s->publish.attempts++;
    s->publish.error = error == -EAGAIN ? 0 : error;
    if (error == -EAGAIN) /* waiting ops continue by loading it */
        s->flags |= SHM_SESSION_NO_COPY;
    mask = shm_session_take_waiters(s);
    *ret_closed = session_end_unused(p->w, p->session);
    return mask;
}

static void publish_count(struct publish *p, int error)
{
    if (!error)
        worker_count(p->w, SHM_STAT_PUBLISHED, 1);
    else if (error != -EAGAIN)
        worker_count(p->w, SHM_STAT_PUBLISH_FAILED, 1);
}

unsigned long long publish_took_ms(const struct publish *p)
{
    return (clock_mono_ns() - p->started_ns) / NS_PER_MS;
}

/* Each failure has one line. (Those that wait for the publish, in any process, write none.) */
static void publish_tell(const struct publish *p, const struct s3_result *res, int error)
{
    if (!error || error == -EAGAIN || p->told)
        return;
    if (p->excl && error == -EEXIST) /* an answer, as any program that locks by it expects */
        log_debug("not created key=\"%s\": it is there already", p->key);
    else
        log_warn("upload failed key=\"%s\" bytes=%llu error=\"%s\" detail=\"%s\" request_id=%s "
                 "attempts=%u ms=%llu: the file keeps its last published content",
                 p->key, (unsigned long long)p->size, strerror(-error), res->text, res->request_id,
                 res->attempts, publish_took_ms(p));
}

void publish_finish(struct publish *p, const struct s3_result *res, int error)
{
    struct worker *w = p->w;
    struct upload_name left = {.key = ""};
    uint32_t mask;
    bool closed;

    if (publish_is_early(p) || (p->opens && !error)) { /* nobody waits for it */
        publish_opened(p, NULL);
        return;
    }
    publish_tell(p, res, error);
    worker_hook_remove(w, &p->hook);
    if (!error && w->variant->isolates)
        cas_family_lives(w, p->session);
    worker_lock(w);
    mask = end_job(p, res, error, &closed, &left);
    worker_unlock(w);
    upload_abort(w, &left);
    publish_count(p, error);
    if (!error && p->cas.expects && !p->absent)
        __atomic_store_n(&w->shm->header->refused, 0, __ATOMIC_RELAXED);
    if (p->contradicts)
        server_contradicts(w, p->key,
                           "two writes at once, on the same version, were both told success");
    if (closed)
        session_clear(w, p->session);
    worker_wake(w, mask | UINT32_C(1) << w->slot);
    publish_free(p);
}

/* Under shm->meta. The file is still what the upload was created for. */
static bool is_still_wanted(const struct publish *p)
{
    char key[KEY_CAP];

    return upload_is_wanted(p->w, p->session) && key_of_session(p->w, p->session, key) == 0 &&
           strcmp(key, p->key) == 0;
}

/* Under shm->meta. The upload has been created: stores it, or notes that it is to be aborted. */
static void take_upload(struct publish *p, const struct s3_result *res,
                        struct upload_name *ret_left)
{
    if (is_still_wanted(p)) {
        publish_open_upload(p, res);
        return;
    }
    snprintf(ret_left->key, sizeof(ret_left->key), "%s", p->key);
    snprintf(ret_left->id, sizeof(ret_left->id), "%s", res->upload_id);
    upload_note(p->w, ret_left);
}

void publish_opened(struct publish *p, const struct s3_result *res)
{
    struct worker *w = p->w;
    struct upload_name left = {.key = ""};
    struct shm_session *s;
    uint32_t mask;
    bool closed;

    worker_lock(w);
    if (res)
        take_upload(p, res, &left);
    s = shm_session_edit(w->shm, p->session);
    if (!res && publish_is_early(p))
        s->flags |= SHM_SESSION_LATE;
    mask = shm_session_take_waiters(s);
    s->opening.state = SHM_JOB_IDLE;
    closed = session_end_unused(w, p->session);
    worker_unlock(w);
    upload_abort(w, &left);
    if (closed)
        session_clear(w, p->session);
    else
        upload_go_on(w, p->session);
    worker_wake(w, mask | UINT32_C(1) << w->slot);
    publish_free(p);
}
