/* An object's user metadata: mode, owner and time as other programs keep them, that it is a
 * symbolic link, and what else is there and must stay. */
#ifndef WORKERS_OBJMETA_META_H
#define WORKERS_OBJMETA_META_H

#include "s3/s3.h"
#include "shm/shm_node.h"

#define META_XATTR "xattr" /* the name under which s3fs keeps all extended attributes (xattr.h) */

/* Sets in *v what the metadata tell and can be understood: mode, uid, gid, mtime (what they do not
 * tell stays), and `meta`, `link`, `more`, `xattr`. v->dir says whether it is the marker of a
 * directory. True: mtime was there. */
bool meta_read(const struct s3_object *obj, struct shm_version *v);

/* Into a node (under shm->meta, saved by the caller) or a copy of one whose metadata were not
 * known. What somebody has set here meanwhile stays. -ESTALE, and nothing done: it is a link and
 * the node is not, or the other way round. `obj` NULL: it has none. */
must_use int meta_fill(struct shm_node *n, const struct s3_object *obj);

/* Mode and owner of `from` where `n` has none of its own. */
void meta_adopt(struct shm_node *n, const struct shm_node *from);

/* What would be written of the two is not the same. */
bool meta_differ(const struct shm_node *a, const struct shm_node *b);

#define META_OWN 4        /* mode, uid, gid, mtime */
#define META_PAIRS_MAX 56 /* of one object; others are left out. (A request has 64 headers.) */
#define META_VALUE_MAX 40
#define META_BYTES_MAX 2048 /* of names, with "x-amz-meta-", and values: any server takes it */

/* Pairs to be sent, and the text that they point to. */
struct meta_out {
    struct s3_meta_pair pair[META_PAIRS_MAX];
    size_t n;
    size_t bytes; /* as S3 counts them */
    size_t n_text;
    char text[META_OWN * META_VALUE_MAX + 2 * S3_META_MAX]; /* ours, new xattrs, what is kept */
    bool more, xattr; /* as SHM_NODE_MORE, _XATTR of who gets them */
    bool no_xattr;    /* there are to be none */
};

/* What is set on the node (under shm->meta, or a copy). */
void meta_write(struct meta_out *out, const struct shm_node *n);

/* Under shm->meta: the node, which the caller has saved, has these now, and this Content-Type
 * (NULL: none was sent). */
void meta_told(struct shm_node *n, const struct meta_out *out, const char *content_type);

enum meta_keep {
    META_KEEP_COPY,  /* for the same content: all but the four above */
    META_KEEP_MOVED, /* for the same content under another name: all but our lineage */
    META_KEEP_NEW,   /* for new content: nor what belongs to the old (other times, our lineage) */
    META_KEEP_ALL,
};

/* Adds what else the object has, but for names that are there already. What does not fit is left
 * out: the number of such pairs is returned. */
unsigned meta_keep(struct meta_out *out, const struct s3_object *obj, enum meta_keep which);

/* Adds extended attributes in their coded form ("" = none), instead of those that meta_keep would
 * keep: before it. */
void meta_write_xattr(struct meta_out *out, const char *coded);

/* The coded extended attributes of an object; "" = none. */
const char *meta_xattr(const struct s3_object *obj);

#endif
