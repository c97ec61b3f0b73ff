/* Compare-and-set: the process behind a request, its ancestors, and which of them go on from what
 * it writes. */
#include "workers/cas/cas_family.h"

#include <string.h>

#include "shm/shm_handle.h"
#include "shm/shm_step.h"
#include "workers/cas/cas.h"
#include "workers/op/proc.h"

/* ---- steps of children ---- */

/* Under shm->meta. The process has waited for its child. */
static void take_step(struct worker *w, const struct shm_step *s)
{
    struct shm_baseline_value old, v = {0};

    if (!cas_knows(w, &s->key, &s->who, &old) || strcmp(old.etag, s->from) != 0)
        return;
    memcpy(v.etag, s->to, SHM_ETAG_MAX);
    v.flags = cas_find_lineage(w, &s->key, v.etag, v.lineage);
    if (cas_is_empty(v.etag) && memcmp(v.lineage, s->id, SHM_ID_LEN) != 0)
        return; /* somebody else's */
    v.flags |= old.flags & SHM_BASELINE_READ;
    shm_baseline_set(w->shm, &s->key, &s->who, &v, cas_ticks());
}

/* Not under a lock. What this child has written belongs to whoever has waited for it. */
static void child_ended(struct worker *w, const struct shm_baseline_who *child)
{
    struct shm_step s;
    bool more;

    do {
        worker_lock(w);
        more = shm_step_take(w->shm, child, &s);
        if (more)
            take_step(w, &s);
        worker_unlock(w);
    } while (more);
}

enum life { ALIVE, GONE, UNSEEN };

/* Not under a lock. (A zombie, which nobody has waited for, is alive.) `parent`: the one that it
 * must have, 0: unknown; since when it runs cannot be seen while it is in execve(2). */
static enum life family_life_of(const struct shm_baseline_who *who, int32_t parent)
{
    struct proc_info info;

    proc_look((uint32_t)who->tgid, &info);
    if (info.gone)
        return GONE;
    if (info.execs && parent && info.tgid == who->tgid && info.parent == parent)
        return ALIVE;
    if (!info.tgid || !info.start)
        return UNSEEN;
    return info.tgid == who->tgid && info.start == who->start ? ALIVE : GONE;
}

#define LOOKS_MAX 32 /* children that one op looks at */

/* Not under a lock. Takes the steps of the caller and its ancestors whose children have ended. */
static void take_steps(struct op *op)
{
    struct shm_baseline_who child[LOOKS_MAX];
    const struct op_caller *c = &op->caller;
    struct worker *w = op->w;
    unsigned n = 0;

    if (!__atomic_load_n(&w->shm->baselines->steps, __ATOMIC_RELAXED))
        return;
    worker_lock(w);
    shm_step_children(w->shm, &c->self, child, &n, LOOKS_MAX);
    for (int i = 0; i < OP_ANCESTORS; i++)
        shm_step_children(w->shm, &c->up[i], child, &n, LOOKS_MAX);
    worker_unlock(w);
    for (unsigned i = 0; i < n; i++) {
        if (family_life_of(&child[i], 0) == GONE)
            child_ended(w, &child[i]);
    }
}

/* ---- identities ---- */

void cas_identify(struct op *op)
{
    struct op_caller *c = &op->caller;
    struct proc_info info;

    if (c->self.tgid || !op->caller.pid)
        return;
    proc_look(op->caller.pid, &info);
    if (!info.tgid)
        return;
    c->self = (struct shm_baseline_who){.tgid = info.tgid, .start = info.start};
    c->parent = info.parent;
}

static void find_ancestors(struct op_caller *c)
{
    struct proc_info info = {.parent = c->parent};

    for (int i = 0; i < OP_ANCESTORS && info.parent > 1; i++) {
        proc_look_parent(info.parent, &info);
        c->waits[i] = info.waits && (i == 0 || c->waits[i - 1]);
        c->reaps[i] = info.reaps;
        c->up[i] = (struct shm_baseline_who){.tgid = info.tgid, .start = info.start};
    }
}

void cas_identify_family(struct op *op)
{
    cas_identify(op);
    if (op->caller.up[0].tgid)
        return;
    find_ancestors(&op->caller);
    take_steps(op);
}

void cas_identify_reader(struct op *op, uint64_t fh)
{
    struct worker *w = op->w;
    bool wanted;

    worker_lock(w);
    wanted = shm_handle_session(w->shm, fh) != SHM_NIL;
    worker_unlock(w);
    if (wanted)
        cas_identify(op);
}

static bool same(const struct shm_session_pid *p, const struct shm_baseline_who *who)
{
    return p->tgid == who->tgid && p->start == who->start;
}

static bool has_open(const struct op *op, uint32_t session, const struct shm_baseline_who *who)
{
    const struct shm_session *s = shm_session_at(op->w->shm, session);

    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        if (s->pids[i].tgid && same(&s->pids[i], who))
            return true;
    }
    return false;
}

bool cas_is_party(const struct op *op, uint32_t session)
{
    return has_open(op, session, &op->caller.self);
}

bool cas_is_family(const struct op *op, uint32_t session)
{
    for (int i = 0; i < OP_ANCESTORS; i++) {
        if (op->caller.waits[i] && has_open(op, session, &op->caller.up[i]))
            return true;
    }
    return cas_is_party(op, session);
}

/* ---- who follows ---- */

/* The child of ancestor `i` that is the caller or leads to it. */
static const struct shm_baseline_who *child_of(const struct op *op, int i)
{
    return i ? &op->caller.up[i - 1] : &op->caller.self;
}

/* The step (NULL: none) is this child's, and leads to this version. */
static bool leads_to(const struct shm_step *step, const struct shm_baseline_who *child,
                     const char *etag)
{
    return step && shm_baseline_same_who(&step->child, child) && strcmp(step->to, etag) == 0;
}

bool cas_child_made(struct op *op, int i, const struct shm_baseline_key *k, const char *etag)
{
    return leads_to(shm_step_find(op->w->shm, k, &op->caller.up[i]), child_of(op, i), etag);
}

/* Under shm->meta. The version that the session expects is the one that the process knows. */
static bool knows_expected(const struct shm_session *s, const struct shm_baseline_value *known)
{
    return s->expect.absent ? known->flags & SHM_BASELINE_ABSENT
                            : strcmp(known->etag, s->expect.etag) == 0;
}

void cas_note_family(struct op *op, struct shm_session *s, const struct shm_baseline_key *k)
{
    const struct op_caller *c = &op->caller;
    struct shm_baseline_value v;

    memset(s->follower, 0, sizeof(s->follower));
    s->at_once = 0;
    for (int i = 0; i < OP_ANCESTORS; i++) {
        const struct shm_baseline_who *child = child_of(op, i);
        bool step = !s->expect.absent && cas_child_made(op, i, k, s->expect.etag);

        if (!cas_knows(op->w, k, &c->up[i], &v) || !(step || knows_expected(s, &v)))
            continue;
        if (!(v.flags & SHM_BASELINE_READ)) {
            s->follower[i].who = c->up[i];
        } else if ((c->waits[i] || c->reaps[i]) && child->start) {
            s->follower[i] = (struct shm_session_follower){c->up[i], *child};
            s->at_once |= (uint32_t)(!step && c->waits[i]) << i;
        }
    }
}

/* Not under a lock. */
static bool waits_still(const struct shm_baseline_who *who)
{
    struct proc_info info;

    proc_look_parent(who->tgid, &info);
    return info.waits && info.start == who->start;
}

/* (While a session is being published, nobody else changes its followers.) */
void cas_family_lives(struct worker *w, uint32_t session)
{
    struct shm_session_follower f[SHM_SESSION_FOLLOWERS];
    uint32_t at_once;
    bool any = false;
    struct shm_session *s;

    worker_lock(w);
    memcpy(f, shm_session_at(w->shm, session)->follower, sizeof(f));
    at_once = shm_session_at(w->shm, session)->at_once;
    worker_unlock(w);
    for (int i = 0; i < SHM_SESSION_FOLLOWERS; i++) {
        if (!f[i].child.tgid)
            continue;
        any = true;
        if (family_life_of(&f[i].child, f[i].who.tgid) != ALIVE)
            f[i] = (struct shm_session_follower){0};
        else if ((at_once & 1u << i) && !waits_still(&f[i].who))
            at_once &= ~(1u << i);
    }
    if (!any)
        return;
    worker_lock(w);
    s = shm_session_edit(w->shm, session);
    memcpy(s->follower, f, sizeof(f));
    s->at_once = at_once;
    worker_unlock(w);
}

/* Under shm->meta. */
static void note_step(struct worker *w, const struct shm_session_follower *f,
                      const struct shm_baseline_key *k, const char *replaced,
                      const struct shm_baseline_value *now)
{
    const struct shm_step *old = shm_step_find(w->shm, k, &f->who);
    struct shm_step step = {.key = *k, .who = f->who, .child = f->child};
    struct shm_baseline_value v;

    if (!cas_knows(w, k, &f->who, &v))
        return;
    if (leads_to(old, &f->child, replaced))
        replaced = old->from; /* the same child once more */
    if (strcmp(v.etag, replaced) != 0)
        return;
    shm_etag_copy(step.from, replaced);
    shm_etag_copy(step.to, now->etag);
    memcpy(step.id, now->lineage, SHM_ID_LEN);
    shm_step_note(w->shm, &step);
}

void cas_tell_family(struct worker *w, const struct shm_session *s,
                     const struct shm_baseline_key *k, const char *replaced,
                     struct shm_baseline_value *v)
{
    struct shm_baseline_value old;

    for (int i = 0; i < SHM_SESSION_FOLLOWERS; i++) {
        const struct shm_session_follower *f = &s->follower[i];

        if (f->child.tgid && !(s->at_once & 1u << i))
            note_step(w, f, k, replaced, v);
        else if (cas_knows(w, k, &f->who, &old) && strcmp(old.etag, replaced) == 0 &&
                 (f->child.tgid || !(old.flags & SHM_BASELINE_READ))) /* (read meanwhile) */
            cas_move(w, k, &f->who, v);
    }
}
