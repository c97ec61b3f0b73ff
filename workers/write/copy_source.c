/* See copy_source.h. */
#include "workers/write/copy_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/shm_patch.h"
#include "shm/shm_session.h"
#include "workers/write/orphan.h"
#include "workers/write/session_load.h"

struct settling {
    void (*then)(struct op *op, int error);
    bool below;
    char key[KEY_CAP];
};

static bool is_key(const char *found, const char *key, bool below)
{
    size_t len = strlen(key);

    return strncmp(found, key, len) == 0 && (below || !found[len]);
}

/* A larger one is not loaded so that its source can change: its close reports that. */
#define COPY_LOAD_MAX (UINT64_C(4) << 30)

static bool is_copy_of(const struct shm_session *s, const char *key, bool below)
{
    return s->content == SHM_CONTENT_COPY && !(s->flags & SHM_SESSION_LOST) &&
           s->size <= COPY_LOAD_MAX && is_key(s->copy.key, key, below);
}

/* (One that could not be loaded will not be asked for again.) */
static bool is_patch_of(struct worker *w, uint32_t session, const char *key, bool below)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    char own[KEY_CAP];

    return s->content == SHM_CONTENT_PATCH && s->size <= ORPHAN_LOAD_MAX && !s->load.error &&
           shm_patch_is_short(w->shm, session) && key_of_node(w, s->node, own) == 0 &&
           is_key(own, key, below);
}

uint32_t copy_source_wanted(struct worker *w, const char *key, bool below, uint32_t but)
{
    uint32_t live = w->shm->sessions->live;

    for (uint32_t i = 0; live && i < shm_session_used(w->shm); i++) {
        const struct shm_session *s = shm_session_at(w->shm, i);

        if (s->state == SHM_SESSION_FREE)
            continue;
        live--;
        if (s->state == SHM_SESSION_LIVE && i != but &&
            (is_copy_of(s, key, below) || is_patch_of(w, i, key, below))) {
            worker_awaits_session(w, i);
            return i;
        }
    }
    return SHM_NIL;
}

static void copy_source_attempt(struct op *op)
{
    struct settling *st = op->state;
    struct worker *w = op->w;
    void (*then)(struct op * op, int error) = st->then;
    uint32_t session;

    do {
        worker_lock(w);
        session = copy_source_wanted(w, st->key, st->below, SHM_NIL);
        worker_unlock(w);
        if (session != SHM_NIL && session_load_copy(w, session))
            return;
    } while (session != SHM_NIL);
    op_stop_waiting(op);
    op_set_state(op, NULL, NULL);
    free(st);
    then(op, 0);
}

void copy_source_settle(struct op *op, const char *key, bool below,
                        void (*then)(struct op *op, int error))
{
    struct worker *w = op->w;
    struct settling *st;
    bool wanted;

    worker_lock(w);
    wanted = copy_source_wanted(w, key, below, SHM_NIL) != SHM_NIL;
    worker_unlock(w);
    st = wanted ? calloc(1, sizeof(*st)) : NULL;
    if (!st) { /* without memory they are not loaded; their closes report it */
        then(op, 0);
        return;
    }
    *st = (struct settling){.then = then, .below = below};
    memcpy(st->key, key, strlen(key));
    op_set_state(op, st, free);
    op_wait(op, copy_source_attempt);
    copy_source_attempt(op);
}
