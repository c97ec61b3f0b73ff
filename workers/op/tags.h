/* The tags of an object for what replaces it, or is copied from it. An answer tells only how many
 * there are; they are asked for (s3_tags), and go with the new version as a header. */
#ifndef WORKERS_OP_TAGS_H
#define WORKERS_OP_TAGS_H

#include "s3/s3.h"
#include "workers/op/worker.h"

/* True if the object has tags, and they may be read and written, as far as that is known. */
bool tags_wanted(const struct worker *w, const struct s3_object *obj);

/* The result of s3_tags, for the new version of `key`. 0 and *ret_tags (heap, owned by the caller),
 * NULL if there are none, they may not be read, or do not fit (logged); else the error of the
 * request, or -ENOMEM. */
must_use int tags_take(struct worker *w, const char *key, const struct s3_result *res,
                       char **ret_tags);

#endif
