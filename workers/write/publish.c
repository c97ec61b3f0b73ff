/* Publishing a session: one PutObject at a time, or one upload in parts (publish_parts.c), from
 * what the spool holds.
 *
 * The publish is a job of the session, not of the op that requested it: it continues if that op is
 * interrupted, and other ops can wait for it too. Its state is in the segment. If its worker dies,
 * recover() ends the job; a waiting op (replayed by the replacement, or of another worker) then
 * finds the session still dirty and starts a new publish. The spool does not change while a publish
 * runs (session_change.c).
 *
 * A PUT that was given up (its worker died, its reply was lost) may be delayed somewhere and take
 * effect after the application's next publish. So each PUT is conditional on the last version that
 * this session knew: a late one is refused. With last write wins such a refusal is not final: the
 * same PUT is sent again at once, conditional on the version that HEAD finds. If a server does not
 * support conditions, or refuses ones that hold, they are no longer sent.
 *
 * This file is the loop: it sends, waits and reports. The variant's rules decide what a refusal and
 * the result of a HEAD mean (publish_rules.h); the end of the job is in publish_end.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_conflict.h"
#include "shm/shm_patch.h"
#include "workers/cas/cas.h"
#include "workers/cas/cas_put.h"
#include "workers/objmeta/lineage.h"
#include "workers/objmeta/meta.h"
#include "workers/op/key.h"
#include "workers/op/spool.h"
#include "workers/op/tags.h"
#include "workers/op/validity.h"
#include "workers/server/server.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_end.h"
#include "workers/write/session_patch.h"
#include "workers/write/session_told.h"

/* ---- the PUT ---- */

static void start_put(struct publish *p);
static void on_looked(void *arg, const struct s3_result *res);

static bool asks(const struct publish *p)
{
    return p->cas.expects ||
           !(p->blind || p->insists || s3_habit_has(p->w->s3, S3_HABIT_NO_PUT_MATCH));
}

/* The server accepted the PUT: remembers the form of its condition. */
static void publish_learn(const struct publish *p)
{
    if (p->blind)
        (void)s3_habit_learn(p->w->s3, S3_HABIT_NO_PUT_MATCH);
    else if (p->bare)
        (void)s3_habit_learn(p->w->s3, S3_HABIT_BARE_PUT_MATCH);
}

/* ---- carrying out what the rules decide ---- */

/* S3 has it. `etag` is that of our version; another one may have replaced it by now. */
void publish_ours(struct publish *p, const char *etag)
{
    struct s3_result res = {0};

    if (p->stale_meta) {
        publish_store_meta(p, etag);
        return;
    }
    memcpy(res.obj.etag, etag, strnlen(etag, sizeof(res.obj.etag) - 1));
    publish_finish(p, &res, 0);
}

/* The thread group that wrote, as far as the session knows. Under shm->meta. */
static int32_t writer_of(const struct shm_session *s)
{
    int32_t tgid = 0;

    for (int i = SHM_SESSION_PIDS - 1; i >= 0; i--) {
        if (s->pids[i].tgid && (!tgid || (s->pids[i].flags & SHM_PID_WROTE)))
            tgid = s->pids[i].tgid;
    }
    return tgid;
}

static_assert(KEY_CAP <= SHM_CONFLICT_KEY_MAX, "a conflict holds any key");

void publish_note_conflict(struct worker *w, uint32_t session, struct shm_conflict *c)
{
    worker_lock(w);
    c->tgid = writer_of(shm_session_at(w->shm, session));
    worker_unlock(w);
    cas_note_conflict(w, c);
}

static void tell_conflict(struct publish *p)
{
    const char *found = p->cas.gone ? "absent" : *p->cas.found ? p->cas.found : "another";
    struct shm_conflict c = {0};

    if (p->absent)
        c.flags |= SHM_CONFLICT_EXPECTED_ABSENT;
    if (p->cas.gone)
        c.flags |= SHM_CONFLICT_FOUND_ABSENT;
    snprintf(c.key, sizeof(c.key), "%s", p->key);
    snprintf(c.expected, sizeof(c.expected), "%s", p->absent ? "" : p->etag);
    snprintf(c.found, sizeof(c.found), "%s", p->cas.found);
    snprintf(c.write_id, sizeof(c.write_id), "%s", p->cas.id);
    publish_note_conflict(p->w, p->session, &c);
    log_notice("conflict key=\"%s\" expected=%s found=%s write_id=%s: the file has changed since "
               "it was read, and keeps that content",
               p->key, p->absent ? "absent" : p->etag, found, p->cas.id);
    p->told = true;
}

static void tell_unknown(struct publish *p)
{
    log_err("outcome unknown key=\"%s\" expected=%s found=%s write_id=%s: it is not known whether "
            "this upload took effect; read the file again",
            p->key, p->absent ? "absent" : p->etag, *p->cas.found ? p->cas.found : "nothing",
            p->cas.id);
    p->told = true;
    worker_count(p->w, SHM_STAT_UNKNOWN, 1);
}

static void publish_prepare(struct publish *p);

static void on_waited(struct loop_timer *t)
{
    publish_next(container_of(t, struct publish, wait), PUT_LOOK);
}

/* The refusal stays final, whatever the HEAD finds. */
static void on_doubted(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    char head[LINEAGE_ID_CAP];

    (void)lineage_head(s3_object_meta(&res->obj, LINEAGE_META), head);
    if (!res->error && strcmp(res->obj.etag, p->etag) == 0 &&
        (!*p->cas.expected || strcmp(head, p->cas.expected) == 0))
        server_contradicts(p->w, p->key, "If-Match was refused though it held");
    if (!res->error)
        snprintf(p->cas.found, sizeof(p->cas.found), "%s", res->obj.etag);
    publish_next(p, PUT_CONFLICT);
}

static void look_into(struct publish *p)
{
    if (s3_head(p->w->s3, p->key, on_doubted, p, NULL) < 0)
        publish_next(p, PUT_CONFLICT);
}

void publish_next(struct publish *p, enum put_next next)
{
    struct s3_result none = {0};
    int r;

    switch (next) {
    case PUT_OURS:
        publish_ours(p, p->cas.etag);
        return;
    case PUT_SEND:
        if (p->prepared)
            start_put(p);
        else
            publish_prepare(p);
        return;
    case PUT_LOOK:
        r = s3_head(p->w->s3, p->key, on_looked, p, NULL);
        if (r < 0)
            publish_finish(p, &none, r);
        return;
    case PUT_WAIT:
        p->wait.on_time = on_waited;
        loop_timer_set(p->w->loop, &p->wait, p->cas.wait_ns);
        return;
    case PUT_CONFLICT:
        tell_conflict(p);
        publish_finish(p, &none, -EEXIST);
        return;
    case PUT_DOUBT:
        look_into(p);
        return;
    case PUT_STALE:
        log_warn("append refused key=\"%s\": what was appended to has been replaced meanwhile: "
                 "append again",
                 p->key);
        p->told = true;
        publish_finish(p, &none, -ESTALE);
        return;
    case PUT_FAILED: /* publish_answered has handled it */
        return;
    case PUT_UNKNOWN:
        if (p->cas.puts > CAS_PUTS_MAX)
            server_contradicts(p->w, p->key,
                               "a condition was refused again and again though it held");
        tell_unknown(p);
        publish_finish(p, &none, -EIO);
        return;
    }
}

static void on_looked(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (res->error && res->error != -ENOENT)
        publish_finish(p, res, res->error);
    else
        publish_next(p, p->rules->found(p, res));
}

static void on_etag(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    bool other = !res->error && res->obj.size != p->size; /* was it stored at all? */

    if (res->error || other) {
        log_err("uploaded, but the new version is unknown key=\"%s\" detail=\"%s\"", p->key,
                other ? "what is there has another size" : res->text);
        p->told = true;
    }
    publish_finish(p, res, res->error || other ? -EIO : 0);
}

/* S3 has it, but returned no ETag: a HEAD may. If versions carry write-ids, it also shows whether
 * the version is ours. */
static void ask_etag(struct publish *p)
{
    struct s3_result none = {0};
    int r;

    if (p->w->variant->expects) {
        p->cas.ambiguous = true;
        publish_next(p, PUT_LOOK);
        return;
    }
    r = s3_head(p->w->s3, p->key, on_etag, p, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

void publish_answered(struct publish *p, const struct s3_result *res)
{
    enum put_next next = res->error ? p->rules->refused(p, res) : PUT_FAILED;

    if (next != PUT_FAILED) {
        publish_next(p, next);
        return;
    }
    if (res->error) {
        publish_finish(p, res, res->error);
        return;
    }
    publish_learn(p);
    log_debug("uploaded key=\"%s\" bytes=%llu ms=%llu", p->key, (unsigned long long)p->size,
              publish_took_ms(p));
    if (!*res->obj.etag)
        ask_etag(p);
    else
        publish_finish(p, res, 0);
}

static void on_put(void *arg, const struct s3_result *res)
{
    publish_answered(arg, res);
}

struct shm_job *publish_job(const struct publish *p, struct shm_session *s)
{
    return p->opens ? &s->opening : &s->publish;
}

int publish_begin(struct publish *p)
{
    struct worker *w = p->w;
    struct shm_session *s = shm_session_edit(w->shm, p->session);
    struct shm_job *job;
    int r = key_of_session(w, p->session, p->key);

    if (r < 0)
        return r;
    p->absent = s->expect.absent;
    p->excl = s->flags & SHM_SESSION_EXCL;
    if (!p->absent)
        memcpy(p->etag, s->expect.etag, sizeof(p->etag));
    p->size = s->size;
    p->base = s->base;
    p->patch = session_patch_parts(w, p->session);
    /* (What is known of the server may have changed since the caller looked: it has no lock.) */
    if (!p->patch && s->content == SHM_CONTENT_PATCH && shm_patch_is_short(w->shm, p->session))
        return -EAGAIN;
    memcpy(p->base_etag, p->patch ? shm_node_at(w->shm, s->node)->etag : s->expect.etag,
           sizeof(p->base_etag));
    if (s->content == SHM_CONTENT_COPY) {
        p->copy = s->copy;
        p->copy_parts = session_copies_parts(w, s->size);
    }
    p->node = *shm_node_at(w->shm, s->node);
    p->renewed = s->flags & SHM_SESSION_RENEWED;
    p->has_xattr = s->flags & SHM_SESSION_XATTR;
    if (p->has_xattr)
        memcpy(p->xattr, s->xattr, sizeof(p->xattr));
    /* (An object that the connector puts has metadata of its own: none.) */
    p->ask_meta = w->conf->metadata == CONF_METADATA_FULL && !p->absent &&
                  !(s->flags & SHM_SESSION_KEYED) &&
                  (!(p->node.flags & SHM_NODE_META) || (p->node.flags & SHM_NODE_MORE));
    p->cas.settle_ns = s3_settle_ns(w->s3);
    p->rules = w->variant->publish;
    p->rules->begin(p, s);
    if (!p->opens) {
        s->publishing_seq = s->write_seq;
        session_untold(s);
    }
    job = publish_job(p, s);
    job->state = SHM_JOB_RUNNING;
    job->owner = w->slot;
    return 0;
}

void publish_note_sent(struct publish *p)
{
    struct worker *w = p->w;

    worker_lock(w);
    cas_put_sends(&p->cas, shm_session_edit(w->shm, p->session));
    worker_unlock(w);
}

bool publish_condition(struct publish *p, const char **ret_match, const char **ret_none_match)
{
    struct s3_result none = {0};

    *ret_match = asks(p) && !p->absent && *p->etag ? p->etag : NULL;
    *ret_none_match = asks(p) && p->absent ? "*" : NULL;
    p->asked = *ret_match || *ret_none_match;
    if (!p->cas.expects || p->asked)
        return true;
    log_warn("upload skipped key=\"%s\": the server returned no ETag for the version to be "
             "replaced",
             p->key);
    p->told = true;
    publish_finish(p, &none, -EIO);
    return false;
}

static void put_whole(struct publish *p)
{
    struct worker *w = p->w;
    struct s3_result none = {0};
    struct s3_put put = {
        .key = p->key,
        .body = {.fd = spool_fd(w, p->session), .len = p->size},
        .content_type = *p->type ? p->type : NULL,
        .meta = p->meta.pair,
        .n_meta = p->meta.n,
        .kept = &p->meta.kept,
        .tags = p->tags,
        .bare_match = p->bare,
        .once_wrong = p->rules == &publish_cas,
    };
    int r;

    if (!publish_condition(p, &put.if_match, &put.if_none_match))
        return;
    if ((w->variant->expects || p->absent) && (!p->cas.tried || p->cas.puts))
        publish_note_sent(p);
    r = s3_put(w->s3, &put, on_put, p, NULL);
    if (r == 0)
        return;
    publish_finish(p, &none, r);
}

static void start_put(struct publish *p)
{
    p->sent_ns = clock_mono_ns();
    if (p->w->variant->expects)
        cas_put_meta(&p->cas, &p->meta);
    if (p->source_gone) { /* nothing that could be sent again, nor proof of what was sent */
        publish_next(p, PUT_UNKNOWN);
        return;
    }
    if (!*p->copy.key && publish_wants_parts(p)) {
        publish_parts(p);
        return;
    }
    if (!p->copy_parts)
        publish_drop_upload(p);
    if (!*p->copy.key)
        put_whole(p);
    else if (p->w->variant->expects)
        publish_cas_copy(p);
    else
        publish_copy(p);
}

/* ---- what the new version takes over ---- */

static void on_tags(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    int r = tags_take(p->w, p->key, res, &p->tags);

    if (r < 0) {
        publish_finish(p, res, r);
    } else {
        p->prepared = true;
        start_put(p);
    }
}

/* All but the tags is known. `obj`, with key `key`: what has them; NULL: nothing. */
static void take_tags(struct publish *p, const struct s3_object *obj, const char *key)
{
    struct s3_result none = {0};
    int r;

    free(p->tags);
    p->tags = NULL;
    if (!obj || p->w->conf->metadata != CONF_METADATA_FULL || !tags_wanted(p->w, obj) ||
        (p->like && *p->copy.key && !p->copy_parts)) { /* a copy of that object has its tags */
        p->prepared = true;
        start_put(p);
        return;
    }
    r = s3_tags(p->w->s3, key, on_tags, p, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

/* `obj`: the object that is replaced, whose metadata must be kept; NULL: none, or not needed. */
static void begin_put(struct publish *p, const struct s3_object *obj)
{
    unsigned lost = 0;

    if (p->w->conf->metadata == CONF_METADATA_FULL) {
        if (obj && !(p->node.flags & SHM_NODE_META))
            (void)!meta_fill(&p->node, obj); /* -ESTALE: a link there, a file here */
        meta_write(&p->meta, &p->node);
        if (p->has_xattr)
            meta_write_xattr(&p->meta, p->xattr);
        if (obj && obj->own_type)
            memcpy(p->type, obj->content_type, sizeof(p->type));
        if (obj)
            lost = meta_keep(&p->meta, obj, p->renewed ? META_KEEP_NEW : META_KEEP_CHANGED);
    }
    if (lost)
        log_warn("metadata dropped key=\"%s\" names=%u: they do not fit", p->key, lost);
    take_tags(p, obj, p->key);
}

/* Metadata and type are those of another object, except for the lineage. */
static void begin_put_like(struct publish *p)
{
    unsigned lost;

    if (p->like->is_plain) {
        meta_write(&p->meta, &p->node);
        take_tags(p, NULL, NULL);
        return;
    }
    if (!(p->node.flags & SHM_NODE_META))
        (void)!meta_fill(&p->node, &p->like->obj);
    if (p->node.ctime_ns != SHM_TIME_UNSET)
        meta_write_ctime(&p->meta, p->node.ctime_ns);
    lost = meta_keep(&p->meta, &p->like->obj, META_KEEP_MOVED);
    if (p->like->obj.own_type)
        memcpy(p->type, p->like->obj.content_type, sizeof(p->type));
    if (lost)
        log_warn("metadata dropped key=\"%s\" names=%u: they do not fit", p->key, lost);
    take_tags(p, &p->like->obj, p->like->key);
}

static void on_meta(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (res->error && res->error != -ENOENT) {
        publish_finish(p, res, res->error);
        return;
    }
    begin_put(p, res->error ? NULL : &res->obj);
}

/* The job has begun: first a HEAD for metadata that must be kept, if needed. */
static void publish_prepare(struct publish *p)
{
    struct s3_result none = {0};
    int r;

    if (p->like) {
        begin_put_like(p);
        return;
    }
    if (!p->ask_meta) {
        begin_put(p, NULL);
        return;
    }
    r = s3_head(p->w->s3, p->key, on_meta, p, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

void publish_run(struct publish *p)
{
    publish_next(p, p->rules->first(p));
}
