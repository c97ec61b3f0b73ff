/* Notes in sets, chosen by the thread id: a full set loses its oldest note. */
#include "shm/shm_reopen.h"

static const struct shm_reopen *set_of(const struct shm *shm, uint32_t pid)
{
    return &shm->nodes->reopens[pid % SHM_REOPEN_SETS * SHM_REOPEN_WAYS];
}

/* NULL if nothing is noted. */
static const struct shm_reopen *reopen_find(const struct shm *shm, uint32_t pid, uint64_t name)
{
    const struct shm_reopen *set = set_of(shm, pid);

    for (int i = 0; pid && i < SHM_REOPEN_WAYS; i++) {
        if (set[i].pid == pid && set[i].name == name)
            return &set[i];
    }
    return NULL;
}

/* The note of the set to overwrite. (A free slot is the oldest.) */
static const struct shm_reopen *oldest(const struct shm_reopen *set)
{
    const struct shm_reopen *r = set;

    for (int i = 1; i < SHM_REOPEN_WAYS; i++) {
        if (set[i].since_ns < r->since_ns)
            r = &set[i];
    }
    return r;
}

static struct shm_reopen *reopen_edit(struct shm *shm, const struct shm_reopen *r)
{
    struct shm_reopen *w = &shm->nodes->reopens[r - shm->nodes->reopens];

    shm_save(shm, shm->meta, w, sizeof(*w));
    return w;
}

static void reopen_put(struct shm *shm, const struct shm_reopen *note)
{
    const struct shm_reopen *at = reopen_find(shm, note->pid, note->name);

    *reopen_edit(shm, at ? at : oldest(set_of(shm, note->pid))) = *note;
    if (note->since_ns > shm->nodes->reopened_ns)
        shm_set(shm, shm->meta, shm->nodes->reopened_ns, note->since_ns);
}

static void reopen_drop(struct shm *shm, const struct shm_reopen *r)
{
    *reopen_edit(shm, r) = (struct shm_reopen){0};
}

void shm_reopen_note(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request,
                     uint64_t since_ns)
{
    const struct shm_reopen *r = reopen_find(shm, pid, name);

    if (pid && !(r && r->repeated_by == request))
        reopen_put(shm, &(struct shm_reopen){
                            .pid = pid, .name = name, .noted_by = request, .since_ns = since_ns});
}

static uint32_t who_is(uint32_t pid)
{
    return pid ? pid : SHM_REOPEN_ANYBODY;
}

void shm_reopen_note_private(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request,
                             uint64_t since_ns)
{
    reopen_put(shm, &(struct shm_reopen){.pid = who_is(pid),
                                         .name = name,
                                         .noted_by = request,
                                         .since_ns = since_ns,
                                         .wants_private = 1});
}

void shm_reopen_has_private(struct shm *shm, uint32_t pid, uint64_t name)
{
    const struct shm_reopen *r = reopen_find(shm, who_is(pid), name);

    if (r && r->wants_private)
        reopen_drop(shm, r);
}

bool shm_reopen_wants_private(struct shm *shm, uint32_t pid, uint64_t name, uint64_t now_ns,
                              uint64_t max_ns)
{
    const struct shm_reopen *r = reopen_find(shm, who_is(pid), name);

    return r && r->wants_private && now_ns - r->since_ns <= max_ns;
}

bool shm_reopen_waits(struct shm *shm, uint32_t pid, uint64_t name)
{
    const struct shm_reopen *r = reopen_find(shm, pid, name);

    return r && !r->repeated_by;
}

bool shm_reopen_take(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request,
                     uint64_t checked_ns, uint64_t now_ns, uint64_t max_ns)
{
    const struct shm_reopen *r = reopen_find(shm, pid, name);

    if (!r || r->noted_by == request)
        return false;
    if ((r->repeated_by && r->repeated_by != request) || now_ns - r->since_ns > max_ns) {
        reopen_drop(shm, r);
        return false;
    }
    if (!r->repeated_by)
        reopen_edit(shm, r)->repeated_by = request;
    return checked_ns >= r->since_ns;
}

bool shm_reopen_is_again(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request)
{
    const struct shm_reopen *r = reopen_find(shm, pid, name);

    return r && r->repeated_by == request;
}

bool shm_reopen_since(struct shm *shm, uint64_t name, uint64_t checked_ns, uint64_t now_ns,
                      uint64_t max_ns)
{
    const struct shm_node_table *t = shm->nodes;

    if (t->reopened_ns <= checked_ns)
        return false;
    for (uint32_t i = 0; i < SHM_REOPENS; i++) {
        const struct shm_reopen *r = &t->reopens[i];

        if (r->pid && r->name == name && r->since_ns > checked_ns && !r->repeated_by &&
            now_ns - r->since_ns <= max_ns)
            return true;
    }
    return false;
}
