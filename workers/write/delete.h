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

/* op->rec->step: a DELETE has been sent, and a replacement does not know its end. */
#define DELETE_SENT 20

/* Which version it means, in the op's record: a replacement must not mean what the caller, or the
 * mount, has learned of since. (What lies in front is a rename's.) */
struct delete_note {
    uint64_t sent_ns; /* the last one */
    char etag[SHM_ETAG_MAX];
    char id[LINEAGE_ID_CAP]; /* a rename sets it before it calls delete_key */
};

static_assert((offsetof(struct shm_record, reply) + SHM_ETAG_MAX) % _Alignof(struct delete_note) ==
                  0,
              "the record is aligned for it");
static_assert(SHM_ETAG_MAX + sizeof(struct delete_note) <= SHM_RECORD_REPLY, "the record has room");

static inline struct delete_note *delete_note_of(struct op *op)
{
    return (struct delete_note *)(op->rec->reply + SHM_ETAG_MAX);
}

/* Deletes the key's version `etag` ("" = whichever is there). Then calls `then`, perhaps at once:
 * 0, also if nothing is there; -EEXIST as above; -ENOMEM; what S3 says. A server that does not know
 * the condition (501) is not asked for it again. The op is kept, and its `state` is used.
 *
 * With DELETE_SEEN `id` is the write-id of that version (cas_id; NULL or "": not known), which
 * tells an empty file from all others; that takes a HEAD before.
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
void delete_key(struct op *op, const char *key, const char *etag, enum delete_how how,
                const char *id, void (*then)(struct op *op, int error));

/* Whether this server is asked for conditions of DELETE. */
bool delete_asks(const struct worker *w);

#endif
