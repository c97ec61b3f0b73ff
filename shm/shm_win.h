/* Compare-and-set: the last writes whose condition the server took. Two that were under way at
 * once, on the same version of one key, cannot both have been taken by a server that keeps its
 * word. */
#ifndef SHM_SHM_WIN_H
#define SHM_SHM_WIN_H

#include <stdbool.h>

#include "shm/shm_node.h"

#define SHM_WINS 64

struct shm_win {
    uint64_t key;            /* its hash; 0 = none */
    uint64_t at_ns;          /* when its answer came */
    char from[SHM_ETAG_MAX]; /* the version that was replaced, "" = there was none */
};

/* Writer: any worker, under shm->meta. If the owner of the lock dies: rolled back. */
struct shm_win_table {
    uint64_t count; /* of all that there have been: the next goes to slot[count % SHM_WINS] */
    struct shm_win slot[SHM_WINS];
};

size_t shm_win_size(const struct shm_sizes *sizes);

/* Wants shm->meta held. A write that was sent at `sent_ns` on the version `from`, and made `to`
 * of it, was taken. False if another one of the same version was taken since it was sent: the
 * server has told both that they came first. */
must_use bool shm_win_add(struct shm *shm, const char *key, const char *from, const char *to,
                          uint64_t sent_ns, uint64_t now_ns);

/* Wants shm->meta held. The key is deleted by this mount: what was won before says nothing any
 * more. */
void shm_win_forget(struct shm *shm, const char *key);

#endif
