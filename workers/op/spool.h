/* Where the bytes of a write session lie: a memfd while small, an unlinked file on disk beyond
 * buffer.memory. */
#ifndef WORKERS_OP_SPOOL_H
#define WORKERS_OP_SPOOL_H

#include "shm/shm_session.h"
#include "workers/op/worker.h"

/* Reads up to len bytes at off (the caller cuts at the session's size; holes read as zeroes).
 * len, or -errno. */
must_use int spool_read(struct worker *w, uint32_t session, void *buf, size_t len, uint64_t off);

/* Under shm->meta: counts the memory that a file of `end` bytes will take. False: it must go to
 * disk first (spool_to_disk). */
must_use bool spool_reserve(struct worker *w, uint32_t session, uint64_t end);

/* Moves the content to disk. Only while the session's load job is RUNNING by this worker: that
 * keeps all writers away.
 * 0, -ENOSPC, -EIO. The content in memory is the one that counts until ON_DISK is set (by the
 * caller, under the lock). */
must_use int spool_to_disk(struct worker *w, uint32_t session);

/* After that: gives the memory back (also that it was counted). */
void spool_drop_memory(struct worker *w, uint32_t session);

/* Writes all bytes, or sets the size. 0, -ENOSPC, -EIO, -EFBIG beyond S3_PUT_MAX. */
must_use int spool_write(struct worker *w, uint32_t session, const void *buf, size_t len,
                         uint64_t off);
must_use int spool_truncate(struct worker *w, uint32_t session, uint64_t size);

/* Gives the slot's memory and disk back. */
void spool_clear(struct worker *w, uint32_t session);

/* The descriptor that has the content now, for a PUT. */
int spool_fd(struct worker *w, uint32_t session);

/* The payload of a WRITE that must wait lies in the worker's parking file at its record's place.
 * 0 or -errno (-ENOSPC). */
must_use int spool_park(struct worker *w, uint32_t record, const void *buf, size_t len);
must_use int spool_unpark(struct worker *w, uint32_t record, uint32_t off, void *buf, size_t len);
void spool_park_clear(struct worker *w, uint32_t record, size_t len);

/* Gives back what a predecessor put aside for a record that it did not come to take. */
void spool_park_tidy(struct worker *w);

#endif
