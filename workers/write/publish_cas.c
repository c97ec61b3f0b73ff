/* The rules of a publish with compare-and-set: applies the decisions of cas_put.c to the session,
 * and gives the name its node after a publish. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "shm/shm_upload.h"
#include "shm/shm_win.h"
#include "workers/cas/cas.h"
#include "workers/write/publish_private.h"

/* Under shm->meta. An upload that was opened while the file was written has a write-id already. */
static void take_id(struct publish *p, const struct shm_session *s)
{
    const struct shm_upload *u = shm_upload_at(p->w->shm, p->session);

    if (u->open && *u->write_id && !s->expect.tried && strcmp(u->key, p->key) == 0)
        memcpy(p->cas.id, u->write_id, LINEAGE_ID_CAP);
}

/* Parts take their time, and change nothing that anybody sees: nothing is in doubt before the
 * Complete is sent. */
static bool is_sent_later(const struct publish *p)
{
    return !*p->copy.key && publish_wants_parts(p);
}

static void cas_begins(struct publish *p, struct shm_session *s)
{
    if (p->opens) {
        cas_put_open(&p->cas, s);
        return;
    }
    take_id(p, s);
    p->cas.since_ns = s->expect.sent_ns;
    p->cas.look = s3_habit_has(p->w->s3, S3_HABIT_CONTRADICTS);
    cas_put_begin(&p->cas, s, is_sent_later(p) || (p->like ? p->like->obj.tags > 0 : p->ask_meta));
}

static enum put_next cas_first(const struct publish *p)
{
    return p->opens ? PUT_SEND : cas_put_first(&p->cas);
}

/* Refusals in a row, of the whole mount, after which one is examined; the second for an expected
 * version without a write-id, which cannot be distinguished from another one with the same
 * content. */
#define DOUBT_AFTER 3
#define DOUBT_AFTER_FOREIGN 6

static bool is_odd(const struct publish *p, const struct s3_result *res)
{
    uint32_t *refused = &p->w->shm->header->refused;

    return res->error == -EEXIST && !p->absent &&
           __atomic_add_fetch(refused, 1, __ATOMIC_RELAXED) >=
               (*p->cas.expected ? DOUBT_AFTER : DOUBT_AFTER_FOREIGN);
}

static enum put_next replace_spoilt(struct publish *p)
{
    char id[LINEAGE_ID_CAP];
    enum put_next next;

    lineage_new_id(id);
    worker_lock(p->w);
    next = cas_put_spoilt(&p->cas, shm_session_edit(p->w->shm, p->session), id);
    worker_unlock(p->w);
    return next;
}

static enum put_next cas_refused_put(struct publish *p, const struct s3_result *res)
{
    enum put_next next;

    if (res->stored_other)
        return replace_spoilt(p);
    if (!p->cas.expects)
        return publish_lww_refused(p, res);
    if (res->http_status != 412 && res->error != -ENOENT) {
        p->cas.ambiguous |= res->may_have_acted;
        return PUT_FAILED;
    }
    next = cas_put_refused(&p->cas, res);
    return next == PUT_CONFLICT && is_odd(p, res) ? PUT_DOUBT : next;
}

/* (If nothing is expected but a PUT is in doubt, the version that is there may be ours, or be built
 * on ours.) */
static enum put_next cas_found(struct publish *p, const struct s3_result *res)
{
    if (p->cas.expects || p->cas.ambiguous)
        return cas_put_found(&p->cas, res, p->etag, &p->absent);
    return publish_lww_found(p, res);
}

static void cas_done(struct publish *p, struct shm_session *s, const struct s3_result *res)
{
    const char *replaced = p->absent ? "" : p->etag;

    if (p->cas.expects && !p->cas.ambiguous && !res->may_have_acted && res->attempts == 1)
        p->contradicts =
            !shm_win_add(p->w->shm, p->key, replaced, res->obj.etag, p->sent_ns, clock_mono_ns());
    cas_put_done(&p->cas, s, p->size);
    cas_published(p->w, p->session, p->key, replaced, res->obj.etag);
}

/* Under shm->meta. S3 no longer has the version of the name's node. */
static void lose_name(struct publish *p, uint32_t node)
{
    struct shm *shm = p->w->shm;
    uint32_t named = shm_node_named(shm, node);

    if (named != SHM_NIL && !p->absent && shm_etag_same(shm_node_at(shm, named)->etag, p->etag))
        shm_node_detach(shm, named);
}

static void cas_failed(struct publish *p, struct shm_session *s, int error)
{
    cas_put_failed(&p->cas, s);
    if (error == -EEXIST) {
        cas_conflict(p->w, p->session, p->key, p->cas.gone);
        lose_name(p, s->node);
    }
    if (s->expect.must)
        shm_node_list_stale(p->w->shm, shm_node_at(p->w->shm, s->node)->parent);
}

const struct publish_rules publish_cas = {
    .begin = cas_begins,
    .first = cas_first,
    .refused = cas_refused_put,
    .found = cas_found,
    .published = cas_done,
    .takes_name = publish_takes_name,
    .failed = cas_failed,
};
