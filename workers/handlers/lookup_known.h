/* LOOKUPs that can be answered without asking S3. */
#ifndef WORKERS_HANDLERS_LOOKUP_KNOWN_H
#define WORKERS_HANDLERS_LOOKUP_KNOWN_H

#include "workers/names/intent.h"
#include "workers/names/resolve.h"
#include "workers/op/key.h"
#include "workers/op/op.h"

/* What can be found out about the caller, each at its own cost (intent.h). */
enum lookup_sight {
    LOOKUP_INTENT = 1,
    LOOKUP_MAKES = 2,  /* it is about to create this very name */
    LOOKUP_PASSES = 4, /* the name is a directory on the path to something else */
    LOOKUP_LISTS = 8,  /* it has the directory open */
};

/* The question: the name, and what the caller wants from it, as far as that was looked up. */
struct lookup_asked {
    char key[KEY_CAP];
    unsigned seen, wanted; /* enum lookup_sight */
    struct intent intent;
    bool makes, passes, lists;
    uint64_t dir_ino; /* for LOOKUP_LISTS */
};

enum lookup_known {
    LOOKUP_NODE,     /* reply with ret->node */
    LOOKUP_REPEATED, /* the same: the kernel only repeats its LOOKUP */
    LOOKUP_NOTHING,  /* reply ENOENT */
    LOOKUP_SEE,      /* depends on what the caller wants (a->wanted): lookup_see, then again */
    LOOKUP_ASK,      /* ask S3, with ret->known and ret->how */
};

struct lookup_answer {
    uint32_t node;
    /* id of the node that the kernel last got for this name, 0 = none that is known */
    uint64_t told_id;
    struct resolve_known known;
    enum resolve_how how;
};

/* Under shm->meta. One of enum lookup_known, or -ESTALE, -ENOTDIR, -ENAMETOOLONG, -EINVAL. Fills
 * a->key and *ret. */
must_use int lookup_known(struct op *op, struct lookup_asked *a, struct lookup_answer *ret);

/* Not under a lock. Finds out what a->wanted asks for. */
void lookup_see(struct op *op, struct lookup_asked *a);

/* Under shm->meta, compare-and-set. True if the caller needs a private node, to write through. */
bool lookup_wants_private(struct op *op, const struct lookup_asked *a, uint32_t node);

/* Under shm->meta, compare-and-set. If the caller opens a file that it already has open for
 * writing, with nothing unpublished, and the name still has the version that this is built on: the
 * node that it uses. Else SHM_NIL. */
uint32_t lookup_own(struct op *op, const struct lookup_asked *a, uint32_t node);

/* Under shm->meta. True if an OPEN of the file by any thread got ESTALE after this node was
 * validated. That thread will look the name up again, and the kernel may give it the reply to this
 * LOOKUP. */
bool lookup_is_awaited(struct worker *w, uint32_t node);

#endif
