/* Publishing a session: one PutObject at a time of what the spool holds.
 *
 * The publish is a job of the session, not of the op that asked for it: it goes on when that op is
 * interrupted, and other ops wait for it too. Its state is in the segment, so that a worker that
 * dies in the middle only leaves a job that recover() ends: whoever waits (an op replayed by the
 * replacement, or one of another worker) finds the session still dirty and starts anew. The spool
 * does not change while a publish runs (session_change.c).
 *
 * A PUT that was given up for lost (its worker died, its answer did not come) may be held up
 * somewhere and act after the application's next publish. So each PUT is conditional on the version
 * that this session last knew: one that comes late is refused. A refusal does not mean defeat here:
 * the last writer wins, so the same PUT follows at once on the version that HEAD finds. A server
 * that does not know conditions, or refuses those that hold, is not asked for them again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_conflict.h"
#include "shm/shm_win.h"
#include "workers/cas/cas.h"
#include "workers/cas/cas_put.h"
#include "workers/objmeta/lineage.h"
#include "workers/objmeta/meta.h"
#include "workers/op/key.h"
#include "workers/op/spool.h"
#include "workers/op/validity.h"
#include "workers/read/version_id.h"
#include "workers/server/server.h"
#include "workers/write/publish_private.h"
#include "workers/write/session_change.h"
#include "workers/write/session_end.h"

#define REFUSED_MAX 16 /* other writers in a row that were faster */

void publish_free(struct publish *p)
{
    free(p->like);
    free(p);
}

/* ---- the PUT ---- */

/* Under shm->meta, compare-and-set. All that has changed lies behind what the readers of the name's
 * node have: a log was appended to. (What a rename brings is another file.) */
static bool has_grown(const struct publish *p, const struct shm_node *named)
{
    const struct shm_session *s = shm_session_at(p->w->shm, p->session);

    return named->opens && named->session == SHM_NIL && !p->absent && *p->etag && !p->like &&
           !(named->flags & (SHM_NODE_DIR | SHM_NODE_LINK)) && strcmp(named->etag, p->etag) == 0 &&
           s->changed_from >= named->size && p->size > named->size;
}

/* Under shm->meta. As the session's node is. */
static void inherit(struct shm *shm, uint32_t named, const struct shm_node *n, uint64_t since)
{
    const uint16_t told = SHM_NODE_MTIME_SET | SHM_NODE_META_FLAGS;
    struct shm_node *to = shm_node_edit(shm, named);

    to->size = n->size;
    to->mtime_ns = n->mtime_ns;
    to->mode = n->mode;
    to->uid = n->uid;
    to->gid = n->gid;
    to->checked_ns = since;
    memcpy(to->etag, n->etag, SHM_ETAG_MAX);
    to->flags = (uint16_t)((to->flags & ~(told | SHM_NODE_FRESH)) | (n->flags & told));
    to->told = n->nlookup ? (uint32_t)(n - shm_node_at(shm, 0)) + 1 : 0;
}

/* Under shm->meta. When S3 is known to have had what is published, of a session on `node`: since it
 * was sent, at the earliest. 0: another version may be there by now. (It was found while this one
 * was on its way, and is not the one that was replaced; or when it took effect is not known.) */
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

/* Under shm->meta, compare-and-set: the session keeps its node to itself; the name's is of what is
 * published. It is another one, so that readers keep theirs; but where the file has only grown,
 * they see that, as on a local disk (`tail -f`). */
static void publish_name(struct publish *p, uint32_t node)
{
    struct shm *shm = p->w->shm;
    const struct shm_node *n = shm_node_at(shm, node);
    struct shm_version v = shm_node_version(n);
    uint32_t named = shm_node_named(shm, node);
    uint64_t since = n->checked_ns;
    int64_t r;

    if (named != SHM_NIL && has_grown(p, shm_node_at(shm, named))) {
        shm_node_new_content(shm, named);
        inherit(shm, named, n, since);
        return;
    }
    r = shm_node_intern(shm, n->parent, shm_node_name(shm, node), n->name_len, &v, since);
    if (r >= 0) {
        inherit(shm, (uint32_t)r, n, since);
        return;
    }
    if (named != SHM_NIL)
        shm_node_gone(shm, named);
    shm_node_list_stale(shm, n->parent);
}

/* Under shm->meta, after success: the node is this version now. */
static void publish_node(struct publish *p, const struct s3_result *res)
{
    struct shm *shm = p->w->shm;
    const struct shm_session *s = shm_session_at(shm, p->session);
    struct shm_node *n = shm_node_edit(shm, s->node);
    uint32_t parent = n->parent;

    n->size = p->size;
    n->mtime_ns = s->mtime_ns;
    n->checked_ns = published_ns(p, s->node, res->obj.etag);
    n->flags &= (uint16_t) ~(SHM_NODE_LOCAL | SHM_NODE_FRESH);
    if (!p->prepared) { /* a PUT of a worker that has died: what it told is not known here */
        n->flags &= (uint16_t) ~(SHM_NODE_META_FLAGS & ~SHM_NODE_LINK);
    } else if (p->w->conf->metadata == CONF_METADATA_FULL) {
        if (!(n->flags & SHM_NODE_META))
            meta_adopt(n, &p->node);
        meta_told(n, &p->meta, *p->type ? p->type : NULL);
    }
    memset(n->etag, 0, sizeof(n->etag));
    memcpy(n->etag, res->obj.etag, strnlen(res->obj.etag, SHM_ETAG_MAX - 1));
    shm_node_new_content(shm, s->node);
    if (cas_on(p->w))
        publish_name(p, s->node);
    else
        session_regain_name(p->w, p->session);
    version_id_told(p->w, cas_on(p->w) ? shm_node_named(shm, s->node) : s->node, p->key, &res->obj);
    validity_dir_changed(p->w, parent);
}

/* What it wrote is decided. Of one that was killed nothing more is to come. */
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
    /* (Extended attributes have not been set meanwhile: that waits for a publish.) */
    s->flags &= ~(uint32_t)(SHM_SESSION_UNPUBLISHED | SHM_SESSION_ABSENT | SHM_SESSION_EXCL |
                            SHM_SESSION_XATTR);
    if (!cas_on(p->w))
        s->flags &= ~(uint32_t)SHM_SESSION_TRIED;
    memset(s->base_etag, 0, sizeof(s->base_etag));
    memcpy(s->base_etag, res->obj.etag, strnlen(res->obj.etag, SHM_ETAG_MAX - 1));
    for (int i = 0; i < SHM_SESSION_PIDS; i++)
        forget_writer(&s->pids[i]);
    s->flags &= ~(uint32_t)(SHM_SESSION_COPY | SHM_SESSION_NO_COPY);
    if (cas_on(p->w)) {
        if (p->cas.expects && !p->cas.ambiguous && !res->may_have_acted && res->attempts == 1)
            p->contradicts = !shm_win_add(p->w->shm, p->key, p->absent ? "" : p->etag,
                                          res->obj.etag, p->sent_ns, clock_mono_ns());
        cas_put_done(&p->cas, s, p->size);
        cas_published(p->w, p->session, p->key, p->absent ? "" : p->etag, res->obj.etag);
    }
    publish_node(p, res);
    s->changed_from = UINT64_MAX;
}

/* Under shm->meta, compare-and-set: S3 has another version than the name's node is, or nothing. */
static void lose_name(struct publish *p, uint32_t node)
{
    struct shm *shm = p->w->shm;
    uint32_t named = shm_node_named(shm, node);

    if (named != SHM_NIL && !p->absent && shm_etag_same(shm_node_at(shm, named)->etag, p->etag))
        shm_node_detach(shm, named);
}

/* Under shm->meta, compare-and-set: it was not published, or nobody knows. */
static void end_refused(struct publish *p, struct shm_session *s, int error)
{
    if (!p->cas.ambiguous)
        s->flags &= ~(uint32_t)SHM_SESSION_TRIED;
    if (error == -EEXIST) {
        cas_conflict(p->w, p->session, p->key, p->cas.gone);
        lose_name(p, s->node);
    }
    if (s->flags & SHM_SESSION_EXPECTS)
        shm_node_list_stale(p->w->shm, shm_node_at(p->w->shm, s->node)->parent);
}

/* Ends the job. Returns whom to wake; *ret_closed: the session had no user left and is to be
 * cleared. */
static uint32_t end_job(struct publish *p, const struct s3_result *res, int error, bool *ret_closed)
{
    struct shm_session *s = shm_session_edit(p->w->shm, p->session);
    uint32_t mask = s->waiters;

    if (!error)
        publish_session(p, res);
    else if (cas_on(p->w))
        end_refused(p, s, error);
    else if (!p->cas.ambiguous && !p->unsure)
        s->flags &= ~(uint32_t)SHM_SESSION_TRIED;
    s->publish.state = SHM_JOB_IDLE;
    s->publish.attempts++;
    s->publish.error = error == -EAGAIN ? 0 : error;
    if (error == -EAGAIN) /* whoever waits goes on */
        s->flags |= SHM_SESSION_NO_COPY;
    s->waiters = 0;
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

void publish_finish(struct publish *p, const struct s3_result *res, int error)
{
    struct worker *w = p->w;
    uint32_t mask;
    bool closed;

    worker_lock(w);
    mask = end_job(p, res, error, &closed);
    worker_unlock(w);
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

static void start_put(struct publish *p);
static void on_looked(void *arg, const struct s3_result *res);

/* A condition that fails though HEAD shows that it holds: so often in a row, and it is sent without
 * quotes; so often, and the PUT goes without it. (Once may be another writer, to and fro.) */
#define BARE_AFTER 2
#define BLIND_AFTER 3

static bool agrees(const struct publish *p, const struct s3_result *res)
{
    if (p->absent)
        return res->error == -ENOENT;
    return !res->error && *p->etag && strcmp(p->etag, res->obj.etag) == 0;
}

/* Only where the last writer wins: a refusal of compare-and-set stays one. */
static void doubt(struct publish *p, const struct s3_result *res)
{
    p->agreed = agrees(p, res) ? p->agreed + 1 : 0;
    p->bare = !cas_on(p->w) && !p->absent && p->agreed >= BARE_AFTER;
    p->blind = !cas_on(p->w) && p->agreed >= BLIND_AFTER;
}

static void on_found(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (cas_on(p->w) && p->cas.ambiguous) {
        on_looked(p, res); /* perhaps it is ours that is there, or lies below */
        return;
    }
    if (res->error && res->error != -ENOENT) {
        publish_finish(p, res, res->error);
        return;
    }
    doubt(p, res);
    cas_put_condition(res, p->etag, &p->absent);
    start_put(p);
}

static bool asks(const struct publish *p)
{
    return p->cas.expects || !(p->blind || s3_habit_has(p->w->s3, S3_HABIT_NO_PUT_MATCH));
}

/* It was taken, in the form that it had. */
static void publish_learn(const struct publish *p)
{
    if (p->blind)
        (void)s3_habit_learn(p->w->s3, S3_HABIT_NO_PUT_MATCH);
    else if (p->bare)
        (void)s3_habit_learn(p->w->s3, S3_HABIT_BARE_PUT_MATCH);
}

/* The condition did not hold (or is not known to the server): true if the PUT is tried on. */
static bool try_on(struct publish *p, const struct s3_result *res)
{
    if (!p->asked || p->refused == REFUSED_MAX)
        return false;
    /* (A repetition of compare-and-set must not overwrite what was built on the first.) */
    if (s3_condition_unknown(res->http_status, res->code) && !p->cas.ambiguous) {
        p->blind = true;
        start_put(p);
        return true;
    }
    if (res->error != -EEXIST && res->error != -ENOENT)
        return false;
    if (p->excl) /* somebody else has made it, on another machine: nothing of ours can be there */
        return false;
    p->refused++;
    p->w->stats->s3[S3_OP_HEAD]++;
    return s3_head(p->w->s3, p->key, on_found, p, NULL) == 0;
}

/* ---- the PUT of compare-and-set: cas_put.c judges, here it is done ---- */

/* S3 has it. `etag` is that of our version, which another one may have replaced by now. */
static void finish_ours(struct publish *p, const char *etag)
{
    struct s3_result res = {0};

    memcpy(res.obj.etag, etag, strnlen(etag, sizeof(res.obj.etag) - 1));
    publish_finish(p, &res, 0);
}

/* Who wrote, as far as the session knows. Under shm->meta. */
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
    c->wall_ns = clock_wall_ns();
    worker_lock(w);
    c->tgid = writer_of(shm_session_at(w->shm, session));
    shm_conflict_add(w->shm, c);
    worker_unlock(w);
    worker_count(w, SHM_STAT_CONFLICTS, 1);
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
}

static void tell_unknown(struct publish *p)
{
    log_err("outcome unknown key=\"%s\" expected=%s found=%s write_id=%s: whether this upload took "
            "effect cannot be told; read the file again",
            p->key, p->absent ? "absent" : p->etag, *p->cas.found ? p->cas.found : "nothing",
            p->cas.id);
    worker_count(p->w, SHM_STAT_UNKNOWN, 1);
}

static void publish_prepare(struct publish *p);
static void do_next(struct publish *p, enum cas_next next);

static void on_waited(struct loop_timer *t)
{
    do_next(container_of(t, struct publish, wait), CAS_LOOK);
}

/* Last write wins: what was made meanwhile, by a predecessor's upload or by others, is replaced. */
static void on_settled(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (res->error && res->error != -ENOENT) {
        publish_finish(p, res, res->error);
    } else if (res->error && cas_put_waits(&p->cas)) {
        do_next(p, CAS_WAIT);
    } else {
        p->unsure = false;
        cas_put_condition(res, p->etag, &p->absent);
        do_next(p, CAS_PUT);
    }
}

static void do_next(struct publish *p, enum cas_next next)
{
    struct s3_result none = {0};
    int r;

    switch (next) {
    case CAS_OURS:
        finish_ours(p, p->cas.etag);
        return;
    case CAS_PUT:
        if (p->prepared)
            start_put(p);
        else
            publish_prepare(p);
        return;
    case CAS_LOOK:
        p->w->stats->s3[S3_OP_HEAD]++;
        r = s3_head(p->w->s3, p->key, p->unsure ? on_settled : on_looked, p, NULL);
        if (r < 0)
            publish_finish(p, &none, r);
        return;
    case CAS_WAIT:
        p->wait.on_time = on_waited;
        loop_timer_set(p->w->loop, &p->wait, p->cas.wait_ns);
        return;
    case CAS_CONFLICT:
        tell_conflict(p);
        publish_finish(p, &none, -EEXIST);
        return;
    case CAS_UNKNOWN:
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
        do_next(p, cas_put_found(&p->cas, res, p->etag, &p->absent));
}

/* ---- a refusal that looks odd ---- */

/* Refusals in a row, of all of this mount, before one is looked into; where no write-id tells the
 * expected version from another one with the same content. */
#define DOUBT_AFTER 3
#define DOUBT_AFTER_FOREIGN 6

static bool is_odd(const struct publish *p, const struct s3_result *res)
{
    uint32_t *refused = &p->w->shm->header->refused;

    return res->error == -EEXIST && !p->absent &&
           __atomic_add_fetch(refused, 1, __ATOMIC_RELAXED) >=
               (*p->cas.expected ? DOUBT_AFTER : DOUBT_AFTER_FOREIGN);
}

/* The refusal stays one, whatever is there. */
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
    do_next(p, CAS_CONFLICT);
}

static void look_into(struct publish *p)
{
    p->w->stats->s3[S3_OP_HEAD]++;
    if (s3_head(p->w->s3, p->key, on_doubted, p, NULL) < 0)
        do_next(p, CAS_CONFLICT);
}

/* True if it was a matter of the condition, and is taken care of. */
static bool refused(struct publish *p, const struct s3_result *res)
{
    if (p->cas.expects && (res->http_status == 412 || res->error == -ENOENT)) {
        enum cas_next next = cas_put_refused(&p->cas, res);

        if (next == CAS_CONFLICT && is_odd(p, res))
            look_into(p);
        else
            do_next(p, next);
        return true;
    }
    p->cas.ambiguous |= res->may_have_acted;
    p->excl = p->excl && !res->may_have_acted;
    return !p->cas.expects && try_on(p, res);
}

static void on_etag(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (res->error)
        log_err("uploaded, but of which version it is cannot be told key=\"%s\" detail=\"%s\"",
                p->key, res->text);
    publish_finish(p, res, res->error ? -EIO : 0);
}

/* S3 has it, and has not told the ETag: HEAD may. With compare-and-set the write-id tells
 * whether it is ours. */
static void ask_etag(struct publish *p)
{
    struct s3_result none = {0};
    int r;

    if (cas_on(p->w)) {
        p->cas.ambiguous = true;
        do_next(p, CAS_LOOK);
        return;
    }
    p->w->stats->s3[S3_OP_HEAD]++;
    r = s3_head(p->w->s3, p->key, on_etag, p, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

static void on_put(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;
    unsigned long long ms = (clock_mono_ns() - p->started_ns) / NS_PER_MS;

    if (res->error && refused(p, res))
        return;
    if (res->error)
        log_warn("upload failed key=\"%s\" bytes=%llu error=\"%s\" detail=\"%s\" "
                 "attempts=%u ms=%llu: the file keeps its last published content",
                 p->key, (unsigned long long)p->size, strerror(-res->error), res->text,
                 res->attempts, ms);
    else
        publish_learn(p);
    if (!res->error)
        log_debug("uploaded key=\"%s\" bytes=%llu ms=%llu", p->key, (unsigned long long)p->size,
                  ms);
    if (!res->error && !*res->obj.etag)
        ask_etag(p);
    else
        publish_finish(p, res, res->error);
}

int publish_begin(struct publish *p)
{
    struct worker *w = p->w;
    struct shm_session *s = shm_session_edit(w->shm, p->session);
    int r = key_of_node(w, s->node, p->key);

    if (r < 0)
        return r;
    p->generation = s->generation;
    p->absent = s->flags & SHM_SESSION_ABSENT;
    p->excl = (s->flags & SHM_SESSION_EXCL) && !(s->flags & SHM_SESSION_TRIED);
    if (!p->absent)
        memcpy(p->etag, s->base_etag, sizeof(p->etag));
    p->size = s->size;
    if (s->flags & SHM_SESSION_COPY)
        p->copy = s->copy;
    p->node = *shm_node_at(w->shm, s->node);
    p->has_xattr = s->flags & SHM_SESSION_XATTR;
    if (p->has_xattr)
        memcpy(p->xattr, s->xattr, sizeof(p->xattr));
    p->ask_meta = w->conf->metadata == CONF_METADATA_FULL && !p->absent &&
                  (!(p->node.flags & SHM_NODE_META) || (p->node.flags & SHM_NODE_MORE));
    p->cas.look = s3_habit_has(w->s3, S3_HABIT_CONTRADICTS);
    p->unsure = !cas_on(w) && p->absent && (s->flags & SHM_SESSION_TRIED);
    p->cas.since_ns = s->sent_ns;
    p->cas.settle_ns = s3_settle_ns(w->s3);
    if (cas_on(w))
        cas_put_begin(&p->cas, s, p->ask_meta && !p->like);
    s->publishing_seq = s->write_seq;
    s->publish.state = SHM_JOB_RUNNING;
    s->publish.owner = w->slot;
    return 0;
}

static void remember_that_it_is_sent(struct publish *p)
{
    struct worker *w = p->w;

    worker_lock(w);
    cas_put_sends(&p->cas, shm_session_edit(w->shm, p->session));
    worker_unlock(w);
}

static void start_put(struct publish *p)
{
    struct worker *w = p->w;
    struct s3_put put;
    struct s3_result none = {0};
    int r;

    p->sent_ns = clock_mono_ns();
    if (*p->copy.key) {
        publish_copy(p);
        return;
    }
    if (cas_on(w))
        cas_put_meta(&p->cas, &p->meta);
    put = (struct s3_put){
        .key = p->key,
        .body = {.fd = spool_fd(w, p->session), .len = p->size},
        .content_type = *p->type ? p->type : NULL,
        .meta = p->meta.pair,
        .n_meta = p->meta.n,
        .if_match = asks(p) && !p->absent && *p->etag ? p->etag : NULL,
        .if_none_match = asks(p) && p->absent ? "*" : NULL,
        .bare_match = p->bare,
    };
    p->asked = put.if_match || put.if_none_match;
    if (p->cas.expects && !p->asked) {
        log_warn("not uploaded key=\"%s\": it is to replace a version whose ETag the server has "
                 "not told",
                 p->key);
        publish_finish(p, &none, -EIO);
        return;
    }
    if ((cas_on(w) || p->absent) && (!p->cas.tried || p->cas.puts))
        remember_that_it_is_sent(p);
    w->stats->s3[S3_OP_PUT]++;
    r = s3_put(w->s3, &put, on_put, p, NULL);
    if (r == 0)
        return;
    log_warn("upload cannot begin key=\"%s\" error=\"%s\"", p->key, strerror(-r));
    publish_finish(p, &none, r);
}

/* What the version has that is replaced; `obj` NULL: nothing, or there is none. */
static void begin_put(struct publish *p, const struct s3_object *obj)
{
    unsigned lost = 0;

    if (p->w->conf->metadata == CONF_METADATA_FULL) {
        if (obj && !(p->node.flags & SHM_NODE_META))
            (void)!meta_fill(&p->node, obj); /* -ESTALE: a link there, a file here */
        meta_write(&p->meta, &p->node);
        if (p->has_xattr)
            meta_write_xattr(&p->meta, p->xattr);
        if (obj)
            memcpy(p->type, obj->content_type, sizeof(p->type));
        if (obj)
            lost = meta_keep(&p->meta, obj, META_KEEP_NEW);
    }
    p->prepared = true;
    if (lost)
        log_warn("metadata left out key=\"%s\" names=%u: they do not fit", p->key, lost);
    start_put(p);
}

/* Its metadata and type are those of another object, but for the lineage. */
static void begin_put_like(struct publish *p)
{
    unsigned lost;

    if (!(p->node.flags & SHM_NODE_META))
        (void)!meta_fill(&p->node, p->like);
    lost = meta_keep(&p->meta, p->like, META_KEEP_MOVED);
    memcpy(p->type, p->like->content_type, sizeof(p->type));
    p->prepared = true;
    if (lost)
        log_warn("metadata left out key=\"%s\" names=%u: they do not fit", p->key, lost);
    start_put(p);
}

static void on_meta(void *arg, const struct s3_result *res)
{
    struct publish *p = arg;

    if (res->error && res->error != -ENOENT) {
        log_warn("upload cannot begin key=\"%s\" error=\"%s\" detail=\"%s\"", p->key,
                 strerror(-res->error), res->text);
        publish_finish(p, res, res->error);
        return;
    }
    begin_put(p, res->error ? NULL : &res->obj);
}

/* The job has begun: metadata that must stay are asked for first. */
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
    p->w->stats->s3[S3_OP_HEAD]++;
    r = s3_head(p->w->s3, p->key, on_meta, p, NULL);
    if (r < 0)
        publish_finish(p, &none, r);
}

void publish_run(struct publish *p)
{
    if (cas_on(p->w))
        do_next(p, cas_put_first(&p->cas));
    else
        do_next(p, p->unsure ? CAS_LOOK : CAS_PUT);
}
