/* Sessions of whole keys, without a name in the mount: what a PUT of the connector writes to. */
#ifndef WORKERS_WRITE_SESSION_KEY_H
#define WORKERS_WRITE_SESSION_KEY_H

#include "s3/s3.h"
#include "workers/write/session.h"

/* Begins an empty session on this S3 key for a kept op, and notes it in op->rec->session;
 * `exclusive`: the key must be absent. The caller must have been identified. What it expects is
 * fixed now, by the rules of the variant, as for an open with O_TRUNC. Copies the ETag that it
 * expects to `ret_expected` ("" for none). 0; -ENFILE: no slot is free; -ENOMEM. On failure
 * nothing was changed. */
must_use int session_begin_key(struct op *op, const char *key, bool exclusive,
                               char ret_expected[SHM_ETAG_MAX]);

/* Appends bytes at `off`, which is the number of those that were appended before. 0; 1: a stream
 * has no room yet, nothing was appended, and the op is woken when it is worth another attempt;
 * -ENOSPC, -EIO, -EFBIG; the error of a part of a stream that could not be stored
 * (session_failure). Blocks while it writes to disk. */
must_use int session_append(struct op *op, const void *data, size_t len, uint64_t off);

/* Of the part, or of the publish, that has failed: what S3 answered, 0 for nothing, and how it
 * failed. */
void session_failure(struct op *op, int *ret_http_status, enum s3_fail *ret_fail);

/* The content is complete: `size` bytes. It is dirty from now on. */
void session_complete(struct op *op, uint64_t size);

#endif
