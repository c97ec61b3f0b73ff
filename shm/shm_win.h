/* Compare-and-set: the last writes whose condition the server accepted. If two were under way at
 * once, on the same version of one key, a server that enforces conditions cannot have accepted
 * both. */
#ifndef SHM_SHM_WIN_H
#define SHM_SHM_WIN_H

#include <stdbool.h>

#include "shm/shm_node.h"

#define SHM_WINS 64

struct shm_win {
    uint64_t key;            /* its hash; 0 = none */
    uint64_t at_ns;          /* when its response came */
    char from[SHM_ETAG_MAX]; /* the version that was replaced, "" = none */
};

/* Writer: any worker, under shm->meta. If the owner of the lock dies: rolled back. */
struct shm_win_table {
    uint64_t count; /* number ever added: the next goes to slot[count % SHM_WINS] */
    struct shm_win slot[SHM_WINS];
};

size_t shm_win_size(const struct shm_sizes *sizes);

/* Requires shm->meta to be held. A write that was sent at `sent_ns` on the version `from`, and made
 * `to` of it, was accepted. False if another one of the same version was accepted since it was
 * sent: the server has confirmed both. */
must_use bool shm_win_add(struct shm *shm, const char *key, const char *from, const char *to,
                          uint64_t sent_ns, uint64_t now_ns);

/* Requires shm->meta to be held. This mount deletes the key: what was accepted before no longer
 * counts. */
void shm_win_forget(struct shm *shm, const char *key);

#endif
