/* A DELETE of what was seen, for unlink and rename. */
#ifndef WORKERS_CAS_DELETE_H
#define WORKERS_CAS_DELETE_H

#include "workers/op.h"

/* Deletes the key's version `etag` ("" = whichever is there): DELETE with If-Match where the probe
 * found that the server keeps it, else HEAD, compare, DELETE (what comes in between is lost). Then
 * calls `then`, perhaps at once: 0, also if nothing is there; -EEXIST: another version is; -ENOMEM;
 * what S3 says. The op is kept, and its `state` is used. */
void cas_delete_seen(struct op *op, const char *key, const char *etag,
                     void (*then)(struct op *op, int error));

#endif
