/* The Content-Type that the suffix of a name stands for: from /etc/mime.types, or from a table of
 * the common ones, for suffixes that it does not have. */
#ifndef WORKERS_OBJMETA_SUFFIX_H
#define WORKERS_OBJMETA_SUFFIX_H

#include "base/err.h"

#define SUFFIX_FILE "/etc/mime.types"

struct suffix_types;

/* Reads the file, which may be missing (then only the table counts); lines that cannot be used are
 * left out, as is what is beyond 1 MiB. 0 and *ret (suffix_types_free), or -ENOMEM. */
must_use int suffix_types_load(const char *path, struct suffix_types **ret);
void suffix_types_free(struct suffix_types *types);

/* The type of a key (or name), NULL if it has no suffix, or an unknown one. `types` NULL: only the
 * table. Suffixes are compared without regard to case. Valid as long as `types`. */
const char *suffix_type(const struct suffix_types *types, const char *key);

#endif
