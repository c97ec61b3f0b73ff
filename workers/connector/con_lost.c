/* See con_lost.h. Each slot keeps the last few of its dead workers. */
#include "workers/connector/con_lost.h"

void con_lost_begin(struct op *op, const char *key)
{
    struct shm_removal *r = &op_progress(op)->removal;

    r->key = op->caller.self.tgid ? shm_hash_text(op->w->shm, key) : 0;
    r->who = op->caller.self;
}

void con_lost_keep(struct worker *w, const struct shm_record *rec)
{
    const struct shm_removal *r = &rec->progress.removal;
    struct shm_arena *a = w->arena;

    if (rec->opcode != SHM_OP_HTTP_DELETE || !r->key || !r->sent.sent)
        return;
    shm_set(w->shm, w->shm->meta, a->lost[a->lost_n % SHM_LOST_MAX], *r);
    shm_set(w->shm, w->shm->meta, a->lost_n, a->lost_n + 1);
}

static bool is_repeated(const struct shm_removal *a, const struct shm_removal *b)
{
    return a->key && a->key == b->key && shm_baseline_same_who(&a->who, &b->who);
}

bool con_lost_take(struct op *op)
{
    struct shm *shm = op->w->shm;
    struct shm_removal *own = &op_progress(op)->removal;
    bool found = false;

    for (uint32_t slot = 0; slot < shm->header->sizes.workers; slot++) {
        for (uint32_t i = 0; i < SHM_LOST_MAX; i++) {
            struct shm_removal *lost = &shm_arena_of(shm, slot)->lost[i];

            if (!is_repeated(lost, own))
                continue;
            own->sent = lost->sent;
            shm_set(shm, shm->meta, lost->key, 0);
            found = true;
        }
    }
    return found;
}
