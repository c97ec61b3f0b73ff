/* Compare-and-set: which process expects which version. */
#include "workers/cas/cas.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "workers/cas/cas_family.h"
#include "workers/objmeta/lineage.h"

static_assert(LINEAGE_CAP <= SHM_LINEAGE_MAX, "a lineage fits the tables");

static const struct shm_baseline_who the_mount;
static const struct shm_baseline_who nobody = {.tgid = -1}; /* versions seen, not read */
static const struct shm_baseline_value absence = {.flags = SHM_BASELINE_ABSENT};

uint32_t cas_ticks(void)
{
    return (uint32_t)(clock_boot_ns() / (NS_PER_S / 100));
}

/* ---- baselines ---- */

static struct shm_baseline_key name_key(struct worker *w, const char *key)
{
    return shm_baseline_key(w->shm, key, strlen(key));
}

static void fill(struct shm_baseline_value *v, uint32_t flags, const char *etag,
                 const char *lineage)
{
    *v = (struct shm_baseline_value){.flags = flags};
    shm_etag_copy(v->etag, etag);
    if (lineage_is_valid(lineage))
        memcpy(v->lineage, lineage, strlen(lineage));
}

void cas_saw(struct worker *w, const char *key, const char *etag, const char *lineage)
{
    struct shm_baseline_key k = name_key(w, key);
    struct shm_baseline_value v;

    if (!*etag)
        return;
    fill(&v, SHM_BASELINE_LINEAGE, etag, lineage);
    shm_baseline_set(w->shm, &k, &nobody, &v, 0);
}

uint32_t cas_find_lineage(struct worker *w, const struct shm_baseline_key *k, const char *etag,
                          char ret[SHM_LINEAGE_MAX])
{
    struct shm_baseline_value v;

    memset(ret, 0, SHM_LINEAGE_MAX);
    if (shm_baseline_get(w->shm, k, &nobody, &v) != SHM_BASELINE_KNOWN || strcmp(v.etag, etag) != 0)
        return 0;
    memcpy(ret, v.lineage, SHM_LINEAGE_MAX);
    return SHM_BASELINE_LINEAGE;
}

void cas_lineage(struct worker *w, const char *key, const char *etag, char ret[SHM_LINEAGE_MAX])
{
    struct shm_baseline_key k = name_key(w, key);

    (void)cas_find_lineage(w, &k, etag, ret);
}

/* True if the node's name has this version, as far as is known. */
static bool is_named_version(struct worker *w, uint32_t node, const char *etag)
{
    uint32_t named = shm_node_named(w->shm, node);

    return named == SHM_NIL || shm_etag_same(shm_node_at(w->shm, named)->etag, etag);
}

/* `named`: as far as is known, the key still has this version. */
static void note_read(struct op *op, const char *key, const char *etag, bool named)
{
    struct worker *w = op->w;
    struct shm_baseline_key k = name_key(w, key);
    char lineage[SHM_LINEAGE_MAX];
    struct shm_baseline_value v;
    uint32_t known = cas_find_lineage(w, &k, etag, lineage);

    fill(&v, SHM_BASELINE_READ | known, etag, lineage);
    if (named)
        shm_baseline_set(w->shm, &k, &the_mount, &v, cas_ticks());
    if (op->caller.self.tgid)
        shm_baseline_set(w->shm, &k, &op->caller.self, &v, cas_ticks());
}

void cas_read(struct op *op, uint32_t node, const char *etag)
{
    char key[KEY_CAP];

    if (*etag && key_of_node(op->w, node, key) == 0)
        note_read(op, key, etag, is_named_version(op->w, node, etag));
}

void cas_read_key(struct op *op, const char *key, const char *etag)
{
    if (*etag)
        note_read(op, key, etag, true);
}

void cas_removed_key(struct op *op, const char *key)
{
    struct shm_baseline_key k = name_key(op->w, key);

    shm_baseline_forget(op->w->shm, &k, &the_mount);
    if (op->caller.self.tgid)
        shm_baseline_forget(op->w->shm, &k, &op->caller.self);
}

bool cas_knows(struct worker *w, const struct shm_baseline_key *k,
               const struct shm_baseline_who *who, struct shm_baseline_value *ret)
{
    return who->tgid && shm_baseline_get(w->shm, k, who, ret) == SHM_BASELINE_KNOWN;
}

/* True if `who` has only ever written the key, so that neither it nor its children have anything to
 * read again. *ret is what it expects. */
static bool is_blind(struct worker *w, const struct shm_baseline_key *k,
                     const struct shm_baseline_who *who, struct shm_baseline_value *ret)
{
    return cas_knows(w, k, who, ret) && !(ret->flags & SHM_BASELINE_READ);
}

/* The baseline that applies to a write of the caller. */
static enum shm_baseline_state rules(struct op *op, const struct shm_baseline_key *k,
                                     struct shm_baseline_value *ret, bool *ret_parents)
{
    const struct op_caller *c = &op->caller;
    struct shm *shm = op->w->shm;
    enum shm_baseline_state r = SHM_BASELINE_NONE;

    if (c->self.tgid)
        r = shm_baseline_get(shm, k, &c->self, ret);
    if (r == SHM_BASELINE_NONE && c->up[0].tgid) {
        r = shm_baseline_get_at(shm, k, &c->up[0], (uint32_t)c->self.start, ret);
        *ret_parents = r != SHM_BASELINE_NONE;
    }
    return r == SHM_BASELINE_NONE ? shm_baseline_get(shm, k, &the_mount, ret) : r;
}

static void expect(struct shm_session *s, const struct shm_baseline_value *v)
{
    s->expect.must = true;
    if (v->flags & SHM_BASELINE_LINEAGE)
        s->expect.lineage_known = true;
    memcpy(s->expect.etag, v->etag, SHM_ETAG_MAX);
    memcpy(s->lineage, v->lineage, SHM_LINEAGE_MAX);
    if (cas_is_empty(v->etag))
        s->expect.ours = true;
    s->expect.absent = v->flags & SHM_BASELINE_ABSENT;
}

/* Nothing of the old content remains: the expectation is what the process knows of the key. */
static void expect_known(struct op *op, struct shm_session *s, const struct shm_baseline_key *k)
{
    struct shm_baseline_value v;
    bool parents = false;
    enum shm_baseline_state known = rules(op, k, &v, &parents);

    if (parents)
        s->parent = op->caller.up[0];
    if (known == SHM_BASELINE_KNOWN)
        expect(s, &v);
    else if (known == SHM_BASELINE_DROPPED)
        s->expect.must = s->expect.refused = true;
}

static void expect_absence(struct shm_session *s)
{
    expect(s, &absence);
}

/* The LOOKUP before found nothing, so a new file expects absence, whatever other processes know.
 * Two exceptions, both if nothing of an old content remains (`truncate`): a process that has itself
 * read or written a version that is gone now, though not by its own doing, gets a conflict; and if
 * no process of this mount has ever touched the key, the write is unconditional. */
static void expect_nothing(struct op *op, struct shm_session *s, const struct shm_baseline_key *k,
                           bool truncate)
{
    struct shm_baseline_value v;
    bool parents = false;

    if (truncate && cas_knows(op->w, k, &op->caller.self, &v) && !(v.flags & SHM_BASELINE_LEAVING))
        expect(s, &v);
    else if (!truncate || rules(op, k, &v, &parents) != SHM_BASELINE_NONE)
        expect_absence(s);
}

/* The write is built on the loaded version. */
static void expect_loaded(struct op *op, struct shm_session *s, const struct shm_baseline_key *k,
                          bool append)
{
    struct shm_baseline_value v;
    enum shm_baseline_state known;

    s->expect.must = true;
    if (cas_is_empty(s->expect.etag))
        s->expect.ours = true;
    if (cas_find_lineage(op->w, k, s->expect.etag, s->lineage))
        s->expect.lineage_known = true;
    if (append || cas_is_link(op->w, s->node) || !op->caller.self.tgid)
        return;
    known = shm_baseline_get(op->w->shm, k, &op->caller.self, &v);
    if (known == SHM_BASELINE_DROPPED ||
        (known == SHM_BASELINE_KNOWN && (v.flags & SHM_BASELINE_READ) &&
         strcmp(v.etag, s->expect.etag) != 0))
        s->expect.refused = true;
}

/* The key is like this now. Baselines that say so and were evicted are there again: those of the
 * caller, of its ancestors, and of the mount. */
static void recall_as(struct op *op, const struct shm_baseline_key *k,
                      const struct shm_baseline_value *now)
{
    const struct op_caller *c = &op->caller;
    struct shm *shm = op->w->shm;
    bool exact = cas_is_empty(now->etag);

    shm_baseline_recall(shm, k, &the_mount, now, exact);
    if (c->self.tgid)
        shm_baseline_recall(shm, k, &c->self, now, exact);
    for (int i = 0; i < OP_ANCESTORS && c->up[i].tgid; i++)
        shm_baseline_recall(shm, k, &c->up[i], now, exact);
}

static void recall_absence(struct op *op, const struct shm_baseline_key *k)
{
    recall_as(op, k, &absence);
}

/* The key has this version; "": it is not known which. */
static void recall(struct op *op, const struct shm_baseline_key *k, const char *etag)
{
    struct shm_baseline_value now = {0};

    if (!*etag || !op->w->shm->baselines->traces)
        return;
    shm_etag_copy(now.etag, etag);
    now.flags = cas_find_lineage(op->w, k, etag, now.lineage);
    recall_as(op, k, &now);
}

/* The version that the name has, as far as this open was told. */
static const char *version_now(struct op *op, const struct shm_session *s,
                               const struct session_start *how)
{
    if (how->version)
        return how->version;
    return how->truncate ? shm_node_at(op->w->shm, s->node)->etag : s->expect.etag;
}

static void cas_begin_session(struct op *op, struct shm_session *s,
                              const struct shm_baseline_key *k, const struct session_start *how)
{
    if (s->expect.absent)
        recall_absence(op, k);
    else
        recall(op, k, version_now(op, s, how));
    if (s->expect.absent)
        expect_nothing(op, s, k, how->truncate);
    else if (how->truncate)
        expect_known(op, s, k);
    else
        expect_loaded(op, s, k, how->append);
}

void cas_begin(struct op *op, uint32_t session, struct session_start how)
{
    struct worker *w = op->w;
    struct shm_session *s = shm_session_edit(w->shm, session);
    char key[KEY_CAP];
    struct shm_baseline_key k;

    memset(s->lineage, 0, sizeof(s->lineage));
    memset(s->expect.write_id, 0, sizeof(s->expect.write_id));
    memset(s->expect.old_id, 0, sizeof(s->expect.old_id));
    s->expect.spoilt = false;
    if (how.excl)
        expect_absence(s);
    if (key_of_session(w, session, key) < 0)
        return;
    k = name_key(w, key);
    if (!how.excl)
        cas_begin_session(op, s, &k, &how);
    cas_note_family(op, s, &k);
}

/* Expects what the LOOKUP before the rename has found. */
static void expect_seen(struct op *op, struct shm_session *s, const struct shm_baseline_key *k,
                        uint32_t target)
{
    struct shm_baseline_value v;
    char lineage[SHM_LINEAGE_MAX];
    const char *etag;

    if (target == SHM_NIL) {
        expect_absence(s);
        return;
    }
    etag = shm_node_at(op->w->shm, target)->etag;
    fill(&v, cas_find_lineage(op->w, k, etag, lineage), etag, lineage);
    expect(s, &v);
}

static void begin_rename(struct op *op, struct shm_session *s, const struct shm_baseline_key *k,
                         uint32_t target)
{
    if (target == SHM_NIL)
        expect_nothing(op, s, k, true);
    else if (!cas_is_link(op->w, target))
        expect_known(op, s, k);
    if (!s->expect.must)
        expect_seen(op, s, k, target);
}

void cas_begin_rename(struct op *op, uint32_t session, uint32_t target, bool noreplace,
                      const char *lineage)
{
    struct worker *w = op->w;
    struct shm_session *s = shm_session_edit(w->shm, session);
    char key[KEY_CAP];
    struct shm_baseline_key k;

    if (key_of_node(w, s->node, key) < 0)
        return; /* nor can it be published */
    k = name_key(w, key);
    s->changed_from = 0; /* relative to the version that the name has */
    s->expect.must = s->expect.lineage_known = s->expect.ours = false;
    if (target == SHM_NIL)
        recall_absence(op, &k);
    else
        recall(op, &k, shm_node_at(w->shm, target)->etag);
    if (noreplace)
        expect_absence(s);
    else
        begin_rename(op, s, &k, target);
    cas_note_family(op, s, &k);
    if (s->expect.absent && lineage_is_valid(lineage))
        memcpy(s->lineage, lineage, strlen(lineage));
}

/* ---- after a write ---- */

void cas_move(struct worker *w, const struct shm_baseline_key *k,
              const struct shm_baseline_who *who, struct shm_baseline_value *v)
{
    struct shm_baseline_value old;

    v->flags = SHM_BASELINE_LINEAGE;
    if (shm_baseline_get(w->shm, k, who, &old) != SHM_BASELINE_NONE)
        v->flags |= old.flags & SHM_BASELINE_READ;
    shm_baseline_set(w->shm, k, who, v, cas_ticks());
}

static struct shm_baseline_who who_of(const struct shm_session_pid *p)
{
    return (struct shm_baseline_who){.tgid = p->tgid, .start = p->start};
}

void cas_published(struct worker *w, uint32_t session, const char *key, const char *replaced,
                   const char *etag)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    struct shm_baseline_key k = name_key(w, key);
    struct shm_baseline_value v;

    if (!*etag)
        return;
    fill(&v, SHM_BASELINE_LINEAGE, etag, s->lineage);
    shm_baseline_set(w->shm, &k, &nobody, &v, 0);
    cas_move(w, &k, &the_mount, &v);
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        struct shm_baseline_who who = who_of(&s->pids[i]);

        if (who.tgid)
            cas_move(w, &k, &who, &v);
    }
    cas_tell_family(w, s, &k, replaced, &v);
}

/* Only a baseline equal to the session's expectation was wrong: if a process has learned of another
 * version meanwhile, it keeps that one. */
static void after_conflict(struct worker *w, const struct shm_baseline_key *k,
                           const struct shm_baseline_who *who, const char *expected, bool absent)
{
    struct shm_baseline_value v;
    enum shm_baseline_state known = shm_baseline_get(w->shm, k, who, &v);

    if (known == SHM_BASELINE_DROPPED ||
        (known == SHM_BASELINE_KNOWN && strcmp(v.etag, expected) != 0))
        return;
    if (absent) {
        uint32_t read = known == SHM_BASELINE_KNOWN ? v.flags & SHM_BASELINE_READ : 0;

        v = (struct shm_baseline_value){.flags = SHM_BASELINE_ABSENT | read};
        shm_baseline_set(w->shm, k, who, &v, cas_ticks());
    } else if (known == SHM_BASELINE_KNOWN && !(v.flags & SHM_BASELINE_READ)) {
        shm_baseline_forget(w->shm, k, who);
    }
}

/* If the baseline that applied was only ever written by the opener's parent, it is dropped like one
 * of the opener itself; otherwise no child could ever write the key. */
static void parents_after_conflict(struct worker *w, const struct shm_baseline_key *k,
                                   const struct shm_session *s)
{
    struct shm_baseline_value v;

    if (is_blind(w, k, &s->parent, &v) && strcmp(v.etag, s->expect.etag) == 0)
        shm_baseline_forget(w->shm, k, &s->parent);
}

void cas_conflict(struct worker *w, uint32_t session, const char *key, bool absent)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    struct shm_baseline_key k = name_key(w, key);

    after_conflict(w, &k, &the_mount, s->expect.etag, absent);
    parents_after_conflict(w, &k, s);
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        struct shm_baseline_who who = who_of(&s->pids[i]);

        if (who.tgid)
            after_conflict(w, &k, &who, s->expect.etag, absent);
    }
}

void cas_refused(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    struct shm_baseline_value v, own;
    struct shm_baseline_key k;
    char key[KEY_CAP];

    if (key_of_session(w, session, key) < 0)
        return;
    k = name_key(w, key);
    if (!is_blind(w, &k, &s->parent, &v) ||
        shm_baseline_get(w->shm, &k, &the_mount, &v) != SHM_BASELINE_KNOWN)
        return;
    v.flags &= ~(uint32_t)SHM_BASELINE_READ;
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        struct shm_baseline_who who = who_of(&s->pids[i]);

        if (who.tgid && shm_baseline_get(w->shm, &k, &who, &own) == SHM_BASELINE_NONE)
            shm_baseline_set(w->shm, &k, &who, &v, cas_ticks());
    }
}

void cas_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                const char to[SHM_ETAG_MAX])
{
    char key[KEY_CAP];

    if (key_of_node(w, node, key) == 0)
        cas_copied_key(w, key, from, to);
}

void cas_copied_key(struct worker *w, const char *key, const char from[SHM_ETAG_MAX],
                    const char to[SHM_ETAG_MAX])
{
    struct shm_baseline_key k = name_key(w, key);

    shm_baseline_copied(w->shm, &k, from, to);
}

static void is_absent(struct worker *w, const struct shm_baseline_key *k,
                      const struct shm_baseline_who *who, uint32_t flags)
{
    struct shm_baseline_value v = {.flags = SHM_BASELINE_ABSENT | (flags & SHM_BASELINE_READ)};

    shm_baseline_set(w->shm, k, who, &v, cas_ticks());
}

/* If a shell has written or read the key and its child, such as rm(1), removes it, the shell
 * expects absence. */
static void removed_by_child(struct op *op, const struct shm_baseline_key *k, const char *etag)
{
    struct shm_baseline_value v;

    for (int i = 0; i < OP_ANCESTORS; i++) {
        const struct shm_baseline_who *who = &op->caller.up[i];

        if (cas_knows(op->w, k, who, &v) &&
            (!(v.flags & SHM_BASELINE_READ) || strcmp(v.etag, etag) == 0 ||
             cas_child_made(op, i, k, etag)))
            is_absent(op->w, k, who, v.flags);
    }
}

void cas_removed(struct op *op, const char *key, const char *etag)
{
    struct shm_baseline_key k = name_key(op->w, key);

    recall(op, &k, etag);
    shm_baseline_forget(op->w->shm, &k, &the_mount);
    if (op->caller.self.tgid)
        is_absent(op->w, &k, &op->caller.self, 0);
    removed_by_child(op, &k, etag);
}

static void is_leaving(struct worker *w, const struct shm_baseline_key *k,
                       const struct shm_baseline_who *who, const char *etag)
{
    struct shm_baseline_value v;

    if (!cas_knows(w, k, who, &v) || strcmp(v.etag, etag) != 0)
        return;
    v.flags |= SHM_BASELINE_LEAVING;
    shm_baseline_set(w->shm, k, who, &v, cas_ticks());
}

void cas_may_be_removed(struct op *op, const char *key, const char *etag)
{
    struct shm_baseline_key k = name_key(op->w, key);

    recall(op, &k, etag);
    is_leaving(op->w, &k, &op->caller.self, etag);
    for (int i = 0; i < OP_ANCESTORS; i++)
        is_leaving(op->w, &k, &op->caller.up[i], etag);
}

/* An ETag that no version has. */
#define FORGOTTEN "\"forgotten\""

void cas_own_etag(struct op *op, const char *key, char ret[SHM_ETAG_MAX])
{
    struct shm_baseline_key k = name_key(op->w, key);
    struct shm_baseline_value v;

    memset(ret, 0, SHM_ETAG_MAX);
    if (op->caller.self.tgid &&
        shm_baseline_get(op->w->shm, &k, &op->caller.self, &v) == SHM_BASELINE_KNOWN)
        memcpy(ret, v.etag, SHM_ETAG_MAX);
}

void cas_own_etag_of(struct op *op, const char *key, const char *etag, char ret[SHM_ETAG_MAX])
{
    struct shm_baseline_key k = name_key(op->w, key);

    recall(op, &k, etag);
    cas_own_etag(op, key, ret);
    if (*etag && !*ret && op->caller.self.tgid &&
        shm_baseline_evicted(op->w->shm, &k, &op->caller.self))
        shm_etag_copy(ret, FORGOTTEN);
}

void cas_log_refused(const char *key, const char *found)
{
    log_notice("conflict key=\"%s\" expected=unknown found=%s: the file has changed since this "
               "process read it, or what it read has been forgotten: read it again",
               key, *found ? found : "unknown");
}

void cas_note_conflict(struct worker *w, struct shm_conflict *c)
{
    c->wall_ns = clock_wall_ns();
    worker_lock(w);
    shm_conflict_add(w->shm, c);
    worker_unlock(w);
    worker_count(w, SHM_STAT_CONFLICTS, 1);
}

bool cas_is_forgotten(const char *etag)
{
    return strcmp(etag, FORGOTTEN) == 0;
}

void cas_id(struct op *op, const char *key, const char *etag, char ret[LINEAGE_ID_CAP])
{
    struct shm_baseline_key k = name_key(op->w, key);
    bool empty = cas_is_empty(etag);
    char seen[SHM_LINEAGE_MAX], seen_id[LINEAGE_ID_CAP];
    struct shm_baseline_value v;

    ret[0] = '\0';
    (void)cas_find_lineage(op->w, &k, etag, seen);
    (void)lineage_head(seen, seen_id);
    if (op->caller.self.tgid &&
        shm_baseline_get(op->w->shm, &k, &op->caller.self, &v) == SHM_BASELINE_KNOWN &&
        strcmp(v.etag, etag) == 0 && !lineage_head(v.lineage, ret) && empty &&
        (v.flags & SHM_BASELINE_LINEAGE))
        strcpy(ret, CAS_NO_ID);
    if (!*ret || (*seen_id && !empty))
        memcpy(ret, seen_id, sizeof(seen_id));
}
