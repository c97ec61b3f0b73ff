/* Version ids of objects, as reported by a versioned bucket: with them an open file can be read on
 * after its key has got another object, or none.
 *
 * Few files need one: those that are larger than what came with their LOOKUP, and are open. So the
 * ids are not part of a node but in a small table, which first drops ids that no open file needs. A
 * dropped id is learned again from the next GET, as long as its object is there.
 *
 * All functions here require shm->meta to be held, and save what they change. */
#ifndef SHM_SHM_VERSION_ID_H
#define SHM_SHM_VERSION_ID_H

#include "shm/shm_node.h"

#define SHM_VERSION_ID_MAX 100 /* with NUL; longer ones are not stored. (S3's have 32 bytes.) */
#define SHM_VERSION_IDS 1024
#define SHM_VERSION_WAYS 8 /* number of possible places of an id */

/* struct shm_version_id: 128 bytes, one version of one key.
 * Writer:   any worker, under shm->meta.       Readers: the same.
 * If owner dies: rolled back by the next locker. */
struct shm_version_id {
    uint64_t key;        /* its hash; 0 = the place is free */
    uint32_t bytes_node; /* with `content`: the bytes that it is the version of, as in struct
                          * shm_node */
    uint32_t content;
    uint32_t node; /* a node with these bytes: while it is open, the id stays */
    uint32_t told; /* when it was last reported, by the table's `clock` */
    /* the key has another object by now, or none: the next GET uses the version id */
    uint32_t replaced;
    char id[SHM_VERSION_ID_MAX];
};

struct shm_version_table {
    uint32_t clock; /* +1 with each reported id */
    uint32_t unused[15];
    struct shm_version_id slot[SHM_VERSION_IDS]; /* `content` determines the eight places of an
                                                  * id */
};

size_t shm_version_id_size(const struct shm_sizes *sizes);
must_use int shm_version_id_check(struct shm *shm, struct err *err);

/* The object that `key` has now has the bytes of `node`, and this id. An id that is empty, "null"
 * (it is overwritten while versioning is suspended) or too long is not stored. */
void shm_version_id_told(struct shm *shm, uint32_t node, const char *key, const char *id);

/* The entry for these bytes under this key, or NULL. */
const struct shm_version_id *shm_version_id_find(struct shm *shm, uint32_t bytes_node,
                                                 uint32_t content, const char *key);

/* Sets `replaced` in an entry that was found. */
void shm_version_id_replaced(struct shm *shm, const struct shm_version_id *v);

/* Removes an entry that was found: its version no longer exists either. */
void shm_version_id_forget(struct shm *shm, const struct shm_version_id *v);

#endif
