/* An object's user metadata: mode, owner and time in the form of other programs, whether it is a
 * symbolic link, and other metadata, which must be preserved. */
#ifndef WORKERS_OBJMETA_META_H
#define WORKERS_OBJMETA_META_H

#include "s3/s3.h"
#include "shm/shm_node.h"

#define META_XATTR "xattr" /* the name under which s3fs stores all extended attributes (xattr.h) */
#define META_CTIME "ctime" /* and the time of the last change of attributes */

/* Sets in *v what the metadata contain in a known form: mode, uid, gid, mtime (those that are
 * missing stay unchanged), and `meta`, `type`, `rdev`, `atime_ns`, `ctime_ns`, `more`, `xattr`,
 * `plain`. v->dir must be set:
 * whether this is the marker of a directory. True: there was an mtime. */
bool meta_read(const struct s3_object *obj, struct shm_version *v);

/* True if the object, a file, has this size and this time of its last change of attributes (ns): so
 * a replacement knows what its predecessor's copy has made, whatever ETag that has. */
bool meta_is_of_change(const struct s3_object *obj, uint64_t size, int64_t ctime_ns);

/* Whether the mode in an object's metadata is that of a directory: not if it has another type, or
 * is none; unsaid without a mode, and with one that has no type. */
enum meta_dir { META_DIR_UNSAID, META_DIR_YES, META_DIR_NO };
enum meta_dir meta_says_dir(const struct s3_object *obj);

/* Fills a node (under shm->meta, saved by the caller), or a copy of one, whose metadata were not
 * known. Attributes that were set here meanwhile stay. 0; -ESTALE, and nothing is changed: the
 * object has another type than the node (a link, a device). `obj` NULL: there are no metadata. */
must_use int meta_fill(struct shm_node *n, const struct s3_object *obj);

/* Copies mode, owner and the times of access and of the last change of attributes of `from` to `n`,
 * except those that `n` has itself. */
void meta_adopt(struct shm_node *n, const struct shm_node *from);

/* True if the two would be stored with different metadata. (A time of the last change of attributes
 * alone is no reason to store them.) */
bool meta_differ(const struct shm_node *a, const struct shm_node *b);

#define META_TYPE_MARKER "application/x-directory" /* Content-Type of the marker of a directory */

#define META_OWN 7        /* mode, uid, gid, rdev, mtime, atime, ctime */
#define META_PAIRS_MAX 56 /* for one object; others are left out. (A request has 64 headers.) */
#define META_VALUE_MAX 40
/* total of names, with "x-amz-meta-", and values: every server accepts it */
#define META_BYTES_MAX 2048

/* Pairs to send, and the text that they point to. */
struct meta_out {
    struct s3_meta_pair pair[META_PAIRS_MAX];
    size_t n;
    size_t bytes; /* as counted by S3 */
    size_t n_text;
    char text[META_OWN * META_VALUE_MAX + 2 * S3_META_MAX]; /* ours, new xattrs, kept pairs */
    bool more, xattr;     /* SHM_NODE_MORE, _XATTR of the target */
    bool tags;            /* the target has some, or may have */
    bool no_xattr;        /* remove all extended attributes */
    struct s3_pairs kept; /* headers of the object (s3_object.kept) */
};

/* Starts *out with the attributes that are set on the node (under shm->meta, or a copy of it). */
void meta_write(struct meta_out *out, const struct shm_node *n);

/* Instead of meta_write: starts nothing; adds the time of the last change of attributes, for a copy
 * of other metadata (meta_keep). *out must be empty. */
void meta_write_ctime(struct meta_out *out, int64_t ns);

/* Under shm->meta: the object of the node, which the caller has saved, has these metadata now, and
 * this Content-Type (NULL: none was sent). */
void meta_told(struct shm_node *n, const struct meta_out *out, const char *content_type);

/* What is told of an object by the name "etag", "version", "storage_class" or "content_type": its
 * own, or S3's default if it has none. */
const char *meta_attribute(const char *name, const struct s3_object *obj);

/* True if S3 takes this text of `len` bytes as a Content-Type: printable ASCII, not empty, and
 * shorter than S3_TYPE_MAX. */
bool meta_is_type(const char *text, size_t len);

enum meta_keep {
    META_KEEP_COPY,  /* for the same content: all but the META_OWN ones */
    META_KEEP_MOVED, /* for the same content under another name: all but our lineage */
    /* for changed content: without what belongs to the old (all times, our lineage) */
    META_KEEP_CHANGED,
    META_KEEP_NEW, /* for wholly new content: also without Content-Encoding */
    META_KEEP_ALL,
};

/* Adds the other metadata of the object, except for names that *out already has, and its headers
 * that are kept. Pairs that do not fit are left out; returns their number. */
unsigned meta_keep(struct meta_out *out, const struct s3_object *obj, enum meta_keep which);

/* The PUT of a directory's marker with these metadata. `key` and `out` are borrowed. */
struct s3_put meta_marker(const char *key, const struct meta_out *out);

/* Adds extended attributes in their coded form ("" = none), which replace those that meta_keep
 * would keep: call it before meta_keep. */
void meta_write_xattr(struct meta_out *out, const char *coded);

/* The coded extended attributes of an object; "" = none. */
const char *meta_xattr(const struct s3_object *obj);

#endif
