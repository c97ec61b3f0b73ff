/* A model of the node, session and handle tables: plain arrays, counted anew at each question,
 * whole states copied to go back. It says what must come out of each call; what it cannot know
 * (which long name a search meets first) it takes from the segment and checks. */
#ifndef TESTS_SHM_MODEL_H
#define TESTS_SHM_MODEL_H

#include "tests/shm/fixture.h"

#define MODEL_NODES 64
#define MODEL_HANDLES 16
#define MODEL_SESSIONS 4

struct model_node {
    bool live, dir, current;
    uint32_t parent;
    uint32_t opens, session, busy, pins;
    uint64_t nlookup, id;
    size_t len;
    char name[SHM_NAME_MAX + 1];
    char etag[8];
};

struct model {
    struct model_node n[MODEL_NODES]; /* by index in the segment */
    uint32_t lru[MODEL_NODES];        /* evictable nodes, most recently used first */
    uint32_t n_lru;
    struct {
        bool live;
        uint32_t node;
        uint64_t fh;
    } handle[MODEL_HANDLES];
    uint32_t session_node[MODEL_SESSIONS]; /* SHM_NIL = free */
    uint32_t notifications;
};

void model_init(struct model *m);

uint32_t model_find(const struct model *m, uint32_t parent, const char *name, size_t len);
bool model_is_below(const struct model *m, uint32_t idx, uint32_t ancestor);
uint32_t model_children(const struct model *m, uint32_t idx);

/* The same as the calls of shm_node.h. `shm` has made the call already and returned r; fails the
 * test if that cannot be. */
void model_intern(struct model *m, struct shm *shm, uint32_t parent, const char *name, size_t len,
                  const struct shm_version *v, int64_t r);
void model_move(struct model *m, struct shm *shm, uint32_t idx, uint32_t to, const char *name,
                size_t len, int r);
void model_detach(struct model *m, uint32_t idx);

/* After changing a pin of the node. */
void model_update(struct model *m, uint32_t idx);

/* All of the segment is as the model says. Under the lock. */
void model_compare(const struct model *m, struct shm *shm);

#endif
