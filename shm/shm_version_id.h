/* The version ids of objects, as a versioned bucket tells them: by them a file that somebody has
 * open is read on after its key has got another object, or none.
 *
 * Few files need one: those that are more than what came with their LOOKUP, and are open. So the
 * ids are no part of a node, but lie in a small table, from which an id that no open file needs
 * goes first. An id that is not kept is learnt again from the next GET, as long as its object is
 * there.
 *
 * All functions here want shm->meta held, and save what they change. */
#ifndef SHM_SHM_VERSION_ID_H
#define SHM_SHM_VERSION_ID_H

#include "shm/shm_node.h"

#define SHM_VERSION_ID_MAX 100 /* with NUL; longer ones are not kept. (S3's have 32 bytes.) */
#define SHM_VERSION_IDS 1024
#define SHM_VERSION_WAYS 8 /* places that an id may have */

/* struct shm_version_id: 128 bytes, one version of one key.
 * Writer:   any worker, under shm->meta.       Readers: the same.
 * If owner dies: rolled back by the next locker. */
struct shm_version_id {
    uint64_t key;        /* its hash; 0 = the place is free */
    uint32_t bytes_node; /* with `content` of which bytes it is, as in struct shm_node */
    uint32_t content;
    uint32_t node; /* a node of these bytes: while it is open, the id stays */
    uint32_t told; /* when it was told last, by the table's `clock` */
    /* the key has another object by now, or none: the next GET names the version */
    uint32_t replaced;
    char id[SHM_VERSION_ID_MAX];
};

struct shm_version_table {
    uint32_t clock; /* +1 with each that is told */
    uint32_t unused[15];
    struct shm_version_id slot[SHM_VERSION_IDS]; /* `content` says which eight an id may be in */
};

size_t shm_version_id_size(const struct shm_sizes *sizes);
must_use int shm_version_id_check(struct shm *shm, struct err *err);

/* The object that `key` has now is of the bytes of `node`, and has this id. One that is empty,
 * "null" (it is overwritten while versioning is suspended) or too long is not kept. */
void shm_version_id_told(struct shm *shm, uint32_t node, const char *key, const char *id);

/* What is known of these bytes under this key, or NULL. */
const struct shm_version_id *shm_version_id_find(struct shm *shm, uint32_t bytes_node,
                                                 uint32_t content, const char *key);

/* Of one that was found: `replaced` is so from now on. */
void shm_version_id_replaced(struct shm *shm, const struct shm_version_id *v);

/* Of one that was found: its version is gone, too. */
void shm_version_id_forget(struct shm *shm, const struct shm_version_id *v);

#endif
