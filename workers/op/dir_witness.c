/* See dir_witness.h. */
#include "workers/op/dir_witness.h"

#include "shm/shm_node.h"

#define WITNESS_NONE 0u
#define WITNESS_LOST 1u
#define WITNESS_KNOWN (1u << 31) /* with the hash in the other bits */

/* FNV-1a. */
static uint32_t witness_of(const char *name, size_t len)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return h | WITNESS_KNOWN;
}

static void set_witness(struct worker *w, uint32_t dir, uint32_t witness)
{
    if (shm_node_at(w->shm, dir)->witness != witness)
        shm_node_edit(w->shm, dir)->witness = witness;
}

bool dir_witness_is_lost(struct worker *w, uint32_t dir)
{
    return dir != SHM_NIL && shm_node_at(w->shm, dir)->witness == WITNESS_LOST;
}

void dir_witness_is(struct worker *w, uint32_t dir, const char *name, size_t len)
{
    if (dir != SHM_NIL)
        set_witness(w, dir, len ? witness_of(name, len) : WITNESS_LOST);
}

void dir_witness_gone(struct worker *w, uint32_t dir, const char *name, size_t len)
{
    if (dir != SHM_NIL && shm_node_at(w->shm, dir)->witness == witness_of(name, len))
        set_witness(w, dir, WITNESS_LOST);
}

void dir_witness_unsure(struct worker *w, uint32_t dir)
{
    if (dir != SHM_NIL && shm_node_at(w->shm, dir)->witness == WITNESS_NONE)
        set_witness(w, dir, WITNESS_LOST);
}
