/* Steps in a ring: few processes have several children that write what they have read. */
#include "shm/shm_step.h"

#include <errno.h>
#include <string.h>

static bool is_of(const struct shm_step *s, const struct shm_baseline_key *key,
                  const struct shm_baseline_who *who)
{
    return shm_baseline_same_who(&s->who, who) && memcmp(&s->key, key, sizeof(*key)) == 0;
}

const struct shm_step *shm_step_find(const struct shm *shm, const struct shm_baseline_key *key,
                                     const struct shm_baseline_who *who)
{
    const struct shm_baseline_table *t = shm->baselines;

    for (uint32_t i = 0; t->steps && i < SHM_STEPS; i++) {
        if (t->step[i].child.tgid && is_of(&t->step[i], key, who))
            return &t->step[i];
    }
    return NULL;
}

static void put(struct shm *shm, uint32_t i, const struct shm_step *step)
{
    struct shm_baseline_table *t = shm->baselines;
    uint32_t n = t->steps - (t->step[i].child.tgid != 0) + (step->child.tgid != 0);

    shm_save(shm, shm->meta, &t->step[i], sizeof(t->step[i]));
    t->step[i] = *step;
    shm_set(shm, shm->meta, t->steps, n);
}

void shm_step_note(struct shm *shm, const struct shm_step *step)
{
    struct shm_baseline_table *t = shm->baselines;
    const struct shm_step *old = shm_step_find(shm, &step->key, &step->who);
    uint32_t at = t->next_step; /* the oldest, if all are taken */

    if (!shm->header->sizes.baselines)
        return;
    if (old) {
        put(shm, (uint32_t)(old - t->step), step);
        return;
    }
    for (uint32_t i = 0; i < SHM_STEPS && t->step[at].child.tgid; i++)
        at = (at + 1) % SHM_STEPS;
    put(shm, at, step);
    shm_set(shm, shm->meta, t->next_step, (at + 1) % SHM_STEPS);
}

static bool has(const struct shm_baseline_who *who, unsigned n, const struct shm_baseline_who *one)
{
    for (unsigned i = 0; i < n; i++) {
        if (shm_baseline_same_who(&who[i], one))
            return true;
    }
    return false;
}

void shm_step_children(const struct shm *shm, const struct shm_baseline_who *who,
                       struct shm_baseline_who *ret, unsigned *ret_n, unsigned max)
{
    const struct shm_baseline_table *t = shm->baselines;

    for (uint32_t i = 0; t->steps && i < SHM_STEPS && *ret_n < max; i++) {
        const struct shm_step *s = &t->step[i];

        if (s->child.tgid && shm_baseline_same_who(&s->who, who) && !has(ret, *ret_n, &s->child))
            ret[(*ret_n)++] = s->child;
    }
}

bool shm_step_take(struct shm *shm, const struct shm_baseline_who *child, struct shm_step *ret)
{
    static const struct shm_step none;
    const struct shm_baseline_table *t = shm->baselines;

    for (uint32_t i = 0; t->steps && i < SHM_STEPS; i++) {
        if (shm_baseline_same_who(&t->step[i].child, child)) {
            *ret = t->step[i];
            put(shm, i, &none);
            return true;
        }
    }
    return false;
}

void shm_step_forget(struct shm *shm, const struct shm_baseline_key *key,
                     const struct shm_baseline_who *who)
{
    static const struct shm_step none;
    const struct shm_step *s = shm_step_find(shm, key, who);

    if (s)
        put(shm, (uint32_t)(s - shm->baselines->step), &none);
}

int shm_step_check(const struct shm *shm, struct err *err)
{
    const struct shm_baseline_table *t = shm->baselines;
    uint32_t n = 0;

    for (uint32_t i = 0; i < SHM_STEPS; i++) {
        if (!memchr(t->step[i].from, '\0', SHM_ETAG_MAX) ||
            !memchr(t->step[i].to, '\0', SHM_ETAG_MAX))
            return err_set(err, EUCLEAN, "step %u makes no sense", i);
        n += t->step[i].child.tgid != 0;
    }
    if (n != t->steps || t->next_step >= SHM_STEPS)
        return err_set(err, EUCLEAN, "%u steps noted, %u counted, the next is %u", n, t->steps,
                       t->next_step);
    return 0;
}
