/* A slot for each thread, by its number: two that share one lose what was noted first. */
#include "shm/shm_reopen.h"

static struct shm_reopen *slot_of(struct shm *shm, uint32_t pid)
{
    return &shm->nodes->reopens[pid % SHM_REOPENS];
}

static struct shm_reopen *edit(struct shm *shm, uint32_t pid)
{
    struct shm_reopen *r = slot_of(shm, pid);

    shm_save(shm, shm->meta, r, sizeof(*r));
    return r;
}

static bool is_of(const struct shm_reopen *r, uint32_t pid, uint64_t ino)
{
    return r->pid && r->pid == pid && r->ino == ino;
}

void shm_reopen_note(struct shm *shm, uint32_t pid, uint64_t ino, uint64_t since_ns)
{
    const struct shm_reopen *r = slot_of(shm, pid);
    bool again = is_of(r, pid, ino) && r->repeated;

    if (!pid)
        return;
    *edit(shm, pid) = again ? (struct shm_reopen){0}
                            : (struct shm_reopen){.pid = pid, .ino = ino, .since_ns = since_ns};
}

void shm_reopen_note_private(struct shm *shm, uint32_t pid, uint64_t ino, uint64_t since_ns)
{
    uint32_t who = pid ? pid : SHM_REOPEN_ANYBODY;

    *edit(shm, who) = (struct shm_reopen){
        .pid = who, .ino = ino, .since_ns = since_ns, .wants_private = 1};
}

void shm_reopen_has_private(struct shm *shm, uint32_t pid, uint64_t ino)
{
    uint32_t who = pid ? pid : SHM_REOPEN_ANYBODY;

    if (is_of(slot_of(shm, who), who, ino) && slot_of(shm, who)->wants_private)
        *edit(shm, who) = (struct shm_reopen){0};
}

bool shm_reopen_wants_private(struct shm *shm, uint32_t pid, uint64_t ino, uint64_t now_ns,
                              uint64_t max_ns)
{
    uint32_t who = pid ? pid : SHM_REOPEN_ANYBODY;
    const struct shm_reopen *r = slot_of(shm, who);

    return is_of(r, who, ino) && r->wants_private && now_ns - r->since_ns <= max_ns;
}

bool shm_reopen_waits(struct shm *shm, uint32_t pid, uint64_t ino)
{
    const struct shm_reopen *r = slot_of(shm, pid);

    return is_of(r, pid, ino) && !r->repeated;
}

bool shm_reopen_take(struct shm *shm, uint32_t pid, uint64_t ino, uint64_t checked_ns,
                     uint64_t now_ns, uint64_t max_ns)
{
    const struct shm_reopen *r = slot_of(shm, pid);
    bool late, good;

    if (!is_of(r, pid, ino))
        return false;
    late = r->repeated || now_ns - r->since_ns > max_ns;
    good = !late && checked_ns >= r->since_ns;
    if (late || good)
        *edit(shm, pid) = (struct shm_reopen){0};
    else
        edit(shm, pid)->repeated = 1;
    return good;
}
