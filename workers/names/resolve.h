/* Asks S3 what a name is: a file (which version?), a directory, or nothing. This is the lookup plan
 * of ARCHITECTURE.md, without what the segment already knows (op_lookup.c and op_open.c check that
 * first). */
#ifndef WORKERS_NAMES_RESOLVE_H
#define WORKERS_NAMES_RESOLVE_H

#include "workers/op/worker.h"

enum resolve_kind { RESOLVE_NONE, RESOLVE_FILE, RESOLVE_DIR };

struct resolve_result {
    int error; /* -errno: the result is unknown */
    enum resolve_kind kind;
    bool not_modified; /* a file, still of the version given as `etag` */
    /* FILE: size, mtime, etag; metadata if `has_meta`; NULL if not_modified. DIR: the object that
     * is the folder, if that is not its marker (workers/objmeta/folder.h); usually NULL */
    const struct s3_object *obj;
    bool has_meta;       /* `obj` is from GET or HEAD, not from a listing */
    const uint8_t *data; /* FILE: its first data_len bytes, or NULL if the reply had none */
    size_t data_len;
};

struct resolve;

/* `res` is valid only during the call; afterwards the resolve is gone. */
typedef void resolve_done_fn(void *arg, const struct resolve_result *res);

enum resolve_how {
    RESOLVE_GUESS,      /* by the form of the name: see resolve.c */
    RESOLVE_AS_FILE,    /* it was a file: GET first, LIST only if it is gone */
    RESOLVE_NO_DATA,    /* only its kind, no bytes of it: LIST */
    RESOLVE_STAT,       /* as a file's, its attributes matter, no bytes: HEAD first */
    RESOLVE_GUESS_STAT, /* by the form of the name: HEAD, or LIST */
};

/* Asks S3 about `key` (without a slash at the end). `etag` (may be NULL): the version whose bytes
 * are cached, sent as If-None-Match. 0 and *ret, or -ENOMEM, -EINVAL, -ENAMETOOLONG; `done` is not
 * called before this returns. */
must_use int resolve_start(struct worker *w, const char *key, enum resolve_how how,
                           const char *etag, resolve_done_fn *done, void *arg,
                           struct resolve **ret);
/* Cancels without calling `done`. NULL is allowed. */
void resolve_cancel(struct resolve *r);

/* What the segment knows about a name when S3 is about to be asked. */
struct resolve_known {
    uint64_t asked_ns;       /* monotonic */
    uint64_t since_ns;       /* when S3 was asked first, if earlier replies were outdated */
    uint64_t node_id;        /* of the name's current node; 0 = none */
    char etag[SHM_ETAG_MAX]; /* for If-None-Match; "" = unconditional */
    /* Of a file: what a publish or a change of attributes modifies */
    uint32_t content;
    uint16_t meta; /* SHM_NODE_META_FLAGS; the next ones are valid if META is among them */
    uint32_t mode, uid, gid;
    int64_t mtime_ns, atime_ns, ctime_ns;
};

/* Under shm->meta. `node` may be SHM_NIL. (A caller that asks S3 again restores since_ns
 * afterwards.) */
void resolve_note(struct worker *w, uint32_t node, struct resolve_known *ret);

/* Under shm->meta. Makes (dir, name) refer to what was found. Returns the node index; -ENOENT:
 * nothing is there (the name was detached); -EAGAIN: since S3 was asked the name has been given to
 * another node, or this mount has changed the file, so that the reply may be older than what is
 * known: ask again; -ENOMEM: no room (room.h). */
must_use int64_t resolve_intern(struct worker *w, uint32_t dir, const char *name, size_t len,
                                const struct resolve_known *known,
                                const struct resolve_result *res);

/* Under shm->meta. True if the content of the node's session is what every process sees, whatever
 * S3 returns: something is unpublished, or being published. A session without changes hides
 * nothing. */
bool resolve_is_ours(struct worker *w, const struct shm_node *n);

/* Not under a lock: stores the bytes that came with the reply as block 0 of the node, if the node
 * has that version. */
void resolve_keep_data(struct worker *w, uint32_t node, const struct resolve_result *res);

#endif
