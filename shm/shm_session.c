/* The table of write sessions. What a session means is decided in workers/ (publish.c, op_write.c). */
#include "shm/shm_session.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

size_t shm_session_size(const struct shm_sizes *s)
{
    return sizeof(struct shm_session_table) +
           (size_t)s->sessions * sizeof(struct shm_session);
}

void shm_session_init(struct shm *shm)
{
    for (uint32_t i = 0; i < shm->header->sizes.sessions; i++)
        shm->sessions->slot[i].node = SHM_NIL;
}

struct shm_session *shm_session_at(struct shm *shm, uint32_t idx)
{
    assert(idx < shm->header->sizes.sessions);
    return &shm->sessions->slot[idx];
}

struct shm_session *shm_session_edit(struct shm *shm, uint32_t idx)
{
    struct shm_session *s = shm_session_at(shm, idx);

    shm_save(shm, shm->meta, s, sizeof(*s));
    return s;
}

int64_t shm_session_new(struct shm *shm, uint32_t node)
{
    for (uint32_t i = 0; i < shm->header->sizes.sessions; i++) {
        struct shm_session *s = shm_session_at(shm, i);
        uint32_t generation;

        if (s->state != SHM_SESSION_FREE)
            continue;
        s = shm_session_edit(shm, i);
        generation = s->generation + 1;
        *s = (struct shm_session){.state = SHM_SESSION_LIVE,
                                  .generation = generation,
                                  .node = node,
                                  .refs = 1,
                                  .flags = SHM_SESSION_LOADED};
        shm_set(shm, shm->meta, shm->sessions->live, shm->sessions->live + 1);
        shm_node_set_session(shm, node, i);
        return i;
    }
    return -ENFILE;
}

void shm_session_close(struct shm *shm, uint32_t idx, uint32_t owner)
{
    struct shm_session *s = shm_session_edit(shm, idx);

    if (s->state != SHM_SESSION_LIVE)
        return;
    shm_node_set_session(shm, s->node, SHM_NIL);
    s->state = SHM_SESSION_CLOSING;
    s->publish.owner = owner;
    s->node = SHM_NIL;
}

void shm_session_free(struct shm *shm, uint32_t idx)
{
    struct shm_session *s = shm_session_edit(shm, idx);

    if (s->state != SHM_SESSION_CLOSING)
        return;
    s->state = SHM_SESSION_FREE;
    shm_set(shm, shm->meta, shm->sessions->live, shm->sessions->live - 1);
}

bool shm_session_dirty(const struct shm_session *s)
{
    return s->write_seq != s->published_seq ||
           (s->flags & SHM_SESSION_UNPUBLISHED);
}

const struct shm_session_pid *shm_session_pid_by_tid(const struct shm_session *s,
                                                     int32_t tid)
{
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        if (s->pids[i].tgid && s->pids[i].tid == tid)
            return &s->pids[i];
    }
    return NULL;
}

struct shm_session_pid *shm_session_pid(struct shm *shm, uint32_t idx, int32_t tid,
                                        int32_t tgid, uint64_t start)
{
    struct shm_session *s = shm_session_edit(shm, idx);
    struct shm_session_pid *free_slot = NULL;

    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        struct shm_session_pid *p = &s->pids[i];

        if (p->tgid == tgid && p->start == start) {
            p->tid = tid;
            return p;
        }
        if (!p->tgid && !free_slot)
            free_slot = p;
    }
    if (!free_slot) {
        s->flags |= SHM_SESSION_MANY_PIDS;
        return NULL;
    }
    *free_slot =
        (struct shm_session_pid){.tid = tid, .tgid = tgid, .start = start};
    return free_slot;
}

static int check_slot(struct shm *shm, uint32_t i, struct err *err)
{
    struct shm_session *s = shm_session_at(shm, i);

    if (s->state != SHM_SESSION_LIVE)
        return 0;
    if (s->node >= shm->header->sizes.nodes ||
        shm_node_at(shm, s->node)->session != i)
        return err_set(err, EUCLEAN, "session %u: its node %u has another", i,
                       s->node);
    if (s->published_seq > s->write_seq)
        return err_set(err, EUCLEAN, "session %u: published the future", i);
    if (s->refs == 0 && s->publish.state == SHM_JOB_IDLE &&
        s->load.state == SHM_JOB_IDLE)
        return err_set(err, EUCLEAN, "session %u: nobody uses it", i);
    return 0;
}

int shm_session_check(struct shm *shm, struct err *err)
{
    uint32_t live = 0;
    int r = 0;

    shm_lock(shm, shm->meta);
    for (uint32_t i = 0; r == 0 && i < shm->header->sizes.sessions; i++) {
        live += shm_session_at(shm, i)->state != SHM_SESSION_FREE;
        r = check_slot(shm, i, err);
    }
    if (r == 0 && live != shm->sessions->live)
        r = err_set(err, EUCLEAN, "%u sessions live, counted %u",
                    shm->sessions->live, live);
    shm_unlock(shm, shm->meta);
    return r;
}
