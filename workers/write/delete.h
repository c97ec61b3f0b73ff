/* The DELETE of a file's key, for unlink and rename. In all variants it is conditional on the
 * expected version (If-Match): a DELETE whose worker or connection was lost may take effect late,
 * and must not delete what was written since. */
#ifndef WORKERS_WRITE_DELETE_H
#define WORKERS_WRITE_DELETE_H

#include "workers/objmeta/lineage.h"
#include "workers/op/op.h"

/* What to do if another version is there. */
enum delete_how {
    /* compare-and-set: -EEXIST. If the probe found that the server ignores the condition: HEAD,
     * compare, DELETE (a write between HEAD and DELETE is lost) */
    DELETE_SEEN,
    DELETE_LAST,  /* last write wins: it is deleted too */
    DELETE_MOVED, /* it was written after this one was copied: it stays */
};

struct delete_args {
    const char *key;
    const char *etag; /* the version, "" = whichever is there */
    const char *id;   /* DELETE_SEEN: its write-id (cas_id); NULL or "": unknown */
    enum delete_how how;
    /* -ENOENT if nothing is there, and no DELETE of this op can have taken it away. (A server may
     * say so, as AWS does, or answer as if it had deleted it: MinIO, versitygw.) */
    bool must_find;
    /* In op->rec->progress: what has been sent, for the worker that replays this op. If it says
     * that a DELETE was sent, etag and id are taken from it. */
    struct shm_deletion *note;
};

/* Deletes the key's version. Then calls `then`, perhaps at once:
 * 0, also if nothing is there (but see must_find); -EEXIST as above; -ENOMEM; the error of S3. If a
 * server does not support the condition (501), it is not sent again. The op must be kept; its
 * `state` is used.
 *
 * With DELETE_SEEN an empty file is identified by its write-id; this needs a HEAD first.
 *
 * If the reply to a DELETE is lost, a HEAD precedes the retry: another file with the same ETag may
 * have the name by then.
 *
 *   nothing is there, also with must_find                            0
 *   the same version, also after a while (settle.h)                  the DELETE again
 *   another version: DELETE_LAST, DELETE_MOVED                       0
 *   DELETE_SEEN      not built on the expected version               0
 *                    built on the expected version                   -EEXIST
 *                    unknown whether it was                          -EIO
 */
void delete_key(struct op *op, const struct delete_args *args,
                void (*then)(struct op *op, int error));

/* True if conditional DELETEs are sent to this server. */
bool delete_asks(const struct worker *w);

#endif
