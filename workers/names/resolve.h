/* Asking S3 what a name is: a file (which version?), a directory, or nothing. The lookup plan of
 * design and ARCHITECTURE.md, apart from what the segment already knows (op_lookup.c, op_open.c
 * look there first). */
#ifndef WORKERS_NAMES_RESOLVE_H
#define WORKERS_NAMES_RESOLVE_H

#include "workers/op/worker.h"

enum resolve_kind { RESOLVE_NONE, RESOLVE_FILE, RESOLVE_DIR };

struct resolve_result {
    int error; /* -errno: nothing is known */
    enum resolve_kind kind;
    bool not_modified;           /* a file, of the version that was asked about */
    const struct s3_object *obj; /* FILE: size, mtime, etag; metadata where `has_meta` */
    bool has_meta;               /* from GET or HEAD, not from a listing */
    const uint8_t *data;         /* FILE: its first data_len bytes, or NULL when none came */
    size_t data_len;
};

struct resolve;

/* `res` is valid during the call; the resolve is gone when it returns. */
typedef void resolve_done_fn(void *arg, const struct resolve_result *res);

enum resolve_how {
    RESOLVE_GUESS,      /* by the look of the name: see resolve.c */
    RESOLVE_AS_FILE,    /* it was a file: GET first, LIST only if it is gone */
    RESOLVE_NO_DATA,    /* only what it is, no bytes of it: LIST */
    RESOLVE_STAT,       /* it was a file, and no bytes of it are wanted: HEAD first */
    RESOLVE_GUESS_STAT, /* by the look of the name: HEAD, or LIST */
};

/* Asks about `key` (without slash at the end). `etag` (may be NULL): the version whose bytes are
 * cached, asked with If-None-Match. 0 and *ret, or -ENOMEM, -EINVAL, -ENAMETOOLONG; `done` is
 * not called before this returns. */
must_use int resolve_start(struct worker *w, const char *key, enum resolve_how how,
                           const char *etag, resolve_done_fn *done, void *arg,
                           struct resolve **ret);
/* Calls nothing back. NULL is fine. */
void resolve_cancel(struct resolve *r);

/* What the segment says of a name when S3 is about to be asked. */
struct resolve_known {
    uint64_t asked_ns;       /* monotonic */
    uint64_t since_ns;       /* when it was asked first, where answers were overtaken */
    uint64_t node_id;        /* of the current node; 0 = there is none */
    char etag[SHM_ETAG_MAX]; /* to ask with; "" = unconditionally */
    /* Of a file: what a publish, or a change of attributes, makes another */
    uint32_t content;
    uint16_t meta; /* SHM_NODE_META_FLAGS; where META is among them: */
    uint32_t mode, uid, gid;
    int64_t mtime_ns;
};

/* Under shm->meta. `node` may be SHM_NIL. (Who asks again puts since_ns back.) */
void resolve_note(struct worker *w, uint32_t node, struct resolve_known *ret);

/* Under shm->meta. Makes (dir, name) map to what was found. Node index; -ENOENT: nothing is
 * there (the name was detached); -EAGAIN: the name was given to another node since S3 was asked, or
 * this mount has changed the file, so that the answer may be older than what is known: ask again;
 * -ENOMEM: no room (room.h). */
must_use int64_t resolve_intern(struct worker *w, uint32_t dir, const char *name, size_t len,
                                const struct resolve_known *known,
                                const struct resolve_result *res);

/* Under shm->meta. What the node's session holds is what everybody sees, whatever S3 says:
 * something is unpublished, or on its way. A session in which nothing is written hides nothing. */
bool resolve_is_ours(struct worker *w, const struct shm_node *n);

/* Not under a lock: the bytes that came with the answer become block 0 of the node, if it is of
 * that version. */
void resolve_keep_data(struct worker *w, uint32_t node, const struct resolve_result *res);

#endif
