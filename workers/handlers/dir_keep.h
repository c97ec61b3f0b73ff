/* A directory without a marker exists as long as something is below it. When its last entry is
 * removed here, it gets a marker, so that it stays as it would on a local disk. */
#ifndef WORKERS_HANDLERS_DIR_KEEP_H
#define WORKERS_HANDLERS_DIR_KEEP_H

#include "workers/op/op.h"

/* A step of an operation (sequence.h), after the key of this name in the op's directory was
 * deleted, and before its node loses the name: puts the marker of the directory if its listing
 * shows that the name was the last in it, and that there is no marker. A listing older than
 * directories.ttl only says that this may be so: then S3 is asked. A folder that is kept in other
 * forms gets its marker from those (folder_forms.h).
 * Ends with 0, also if nothing was to be done, or with -errno. The op must be kept; its `state` is
 * used. */
void dir_keep(struct op *op, const char *name, size_t len);

#endif
