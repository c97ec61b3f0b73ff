/* The DELETE of a file's key, for unlink and rename. It is conditional on the version that it means
 * (If-Match), in all variants: one that was given up for lost with its worker or its connection,
 * and acts later, must not take away what was written since. */
#ifndef WORKERS_WRITE_DELETE_H
#define WORKERS_WRITE_DELETE_H

#include "workers/objmeta/lineage.h"
#include "workers/op/op.h"

/* What follows where another version is there. */
enum delete_how {
    /* compare-and-set: -EEXIST. Where the probe found that the server does not look at the
     * condition: HEAD, compare, DELETE (what comes in between is lost) */
    DELETE_SEEN,
    DELETE_LAST,  /* the last one wins: it is deleted too */
    DELETE_MOVED, /* it was written after this one was copied: it stays */
};

struct delete_args {
    const char *key;
    const char *etag; /* the version, "" = whichever is there */
    const char *id;   /* DELETE_SEEN: its write-id (cas_id); NULL or "": not known */
    enum delete_how how;
    /* In op->rec->progress: what has been sent, for whoever comes after this worker. Where that
     * says that it was, etag and id are taken from there. */
    struct shm_deletion *note;
};

/* Deletes the key's version. Then calls `then`, perhaps at once:
 * 0, also if nothing is there; -EEXIST as above; -ENOMEM; what S3 says. A server that does not know
 * the condition (501) is not asked for it again. The op is kept, and its `state` is used.
 *
 * With DELETE_SEEN the write-id tells an empty file from all others; that takes a HEAD before.
 *
 * A DELETE whose answer is lost is not repeated before a HEAD has looked: another may have the name
 * by then, with the same ETag.
 *
 *   nothing is there                                                 0
 *   the same one still, also after a while (settle.h)                the DELETE again
 *   another version: DELETE_LAST, DELETE_MOVED                       0
 *   DELETE_SEEN      that was not built on it                        0
 *                    that was built on it                            -EEXIST
 *                    and it cannot be told                           -EIO
 */
void delete_key(struct op *op, const struct delete_args *args,
                void (*then)(struct op *op, int error));

/* Whether this server is asked for conditions of DELETE. */
bool delete_asks(const struct worker *w);

#endif
