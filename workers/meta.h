/* Mode, owner and time as other programs keep them in an object's user metadata. */
#ifndef WORKERS_META_H
#define WORKERS_META_H

#include "s3/s3.h"
#include "shm/shm_node.h"

/* Sets in *v what the metadata tell and can be understood (mode, uid, gid, mtime); the rest
 * stays. True: mtime was there. */
bool meta_read(const struct s3_object *obj, struct shm_version *v);

#define META_OWN 4         /* mode, uid, gid, mtime */
#define META_PAIRS_MAX 64  /* of one object; others are left out */
#define META_VALUE_MAX 40

/* Pairs to be sent, and the text that they point to. */
struct meta_out {
    struct s3_meta_pair pair[META_PAIRS_MAX];
    size_t n;
    char text[META_OWN][META_VALUE_MAX];
    size_t n_text;
};

/* What is set on the node (under shm->meta). */
void meta_write(struct meta_out *out, const struct shm_node *n);

/* Adds what else the object has: pairs that are not of the four above. They point into *obj. */
void meta_keep(struct meta_out *out, const struct s3_object *obj);
/* Adds all that the object has. */
void meta_keep_all(struct meta_out *out, const struct s3_object *obj);

#endif
