/* What a LOOKUP can be answered without asking S3. */
#ifndef WORKERS_HANDLERS_LOOKUP_KNOWN_H
#define WORKERS_HANDLERS_LOOKUP_KNOWN_H

#include "workers/names/intent.h"
#include "workers/names/resolve.h"
#include "workers/op/key.h"
#include "workers/op/op.h"

/* What can be seen of the caller, each at its price (intent.h). */
enum lookup_sight {
    LOOKUP_INTENT = 1,
    LOOKUP_MAKES = 2,  /* it is about to make this very name */
    LOOKUP_PASSES = 4, /* the name is of a directory on its way to something else */
    LOOKUP_LISTS = 8,  /* it has the directory open */
};

/* The question: the name, and what the caller wants of it, as far as that was looked for. */
struct lookup_asked {
    char key[KEY_CAP];
    unsigned seen, wanted; /* enum lookup_sight */
    struct intent intent;
    bool makes, passes, lists;
    uint64_t dir_ino; /* for LOOKUP_LISTS */
};

enum lookup_known {
    LOOKUP_NODE,     /* answer with ret->node */
    LOOKUP_REPEATED, /* the same: the kernel only asks once more */
    LOOKUP_NOTHING,  /* answer ENOENT */
    LOOKUP_SEE,      /* it depends on what the caller wants (a->wanted): lookup_see, and again */
    LOOKUP_ASK,      /* S3, with ret->known and ret->how */
};

struct lookup_answer {
    uint32_t node;
    /* of the node that the kernel was told last under this name, 0 = of none that is known */
    uint64_t told_id;
    struct resolve_known known;
    enum resolve_how how;
};

/* Under shm->meta. One of enum lookup_known, or -ESTALE, -ENOTDIR, -ENAMETOOLONG, -EINVAL. Fills
 * a->key, and *ret. */
must_use int lookup_known(struct op *op, struct lookup_asked *a, struct lookup_answer *ret);

/* Not under a lock: looks for what is wanted. */
void lookup_see(struct op *op, struct lookup_asked *a);

/* Under shm->meta, compare-and-set: the caller is to get a node of its own, to write through. */
bool lookup_wants_private(struct op *op, const struct lookup_asked *a, uint32_t node);

/* Under shm->meta, compare-and-set. The caller opens a file that it has open for writing already,
 * and nobody has written another version: the node that it has. SHM_NIL if not. */
uint32_t lookup_own(struct op *op, const struct lookup_asked *a, uint32_t node);

/* Under shm->meta. Some thread was told ESTALE when it opened the file, after this node was
 * validated, and will look the name up once more; the kernel may give it the answer to this
 * LOOKUP. */
bool lookup_is_awaited(struct worker *w, uint32_t node);

#endif
