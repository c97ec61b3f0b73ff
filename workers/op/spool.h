/* The bytes of a write session: in a memfd while they are few, in an unlinked file on disk beyond
 * buffer.memory. */
#ifndef WORKERS_OP_SPOOL_H
#define WORKERS_OP_SPOOL_H

#include "shm/shm_session.h"
#include "workers/op/worker.h"

/* All memfds together may use this part of what the block pool has. */
#define SPOOL_SHARE 2u

/* Reads up to len bytes at off (the caller must limit them to the session's size; holes read as
 * zeroes). Returns len, or -errno. */
must_use int spool_read(struct worker *w, uint32_t session, void *buf, size_t len, uint64_t off);

/* Under shm->meta: reserves the memory for a file of `end` bytes. False: the content must move to
 * disk first (spool_to_disk). */
must_use bool spool_reserve(struct worker *w, uint32_t session, uint64_t end);

/* Copies the content to disk. Only while this worker is RUNNING the session's load job, which keeps
 * all writers away. 0, -ENOSPC, -EIO. The content in memory stays the valid one until the caller
 * sets ON_DISK, under the lock. */
must_use int spool_to_disk(struct worker *w, uint32_t session);

/* After that: frees the memory and its reservation. */
void spool_drop_memory(struct worker *w, uint32_t session);

/* Writes all bytes, or sets the size. 0, -ENOSPC, -EIO, -EFBIG beyond S3_OBJECT_MAX. */
must_use int spool_write(struct worker *w, uint32_t session, const void *buf, size_t len,
                         uint64_t off);
must_use int spool_truncate(struct worker *w, uint32_t session, uint64_t size);

/* The bytes of a stream from `from` to `to` are on S3: frees their space. */
void spool_release(struct worker *w, uint32_t session, uint64_t from, uint64_t to);

/* Under shm->meta, after held_from has moved: reserves no more than what the spool holds now. */
void spool_unreserve(struct worker *w, uint32_t session);

/* Frees the slot's memory and disk space. */
void spool_clear(struct worker *w, uint32_t session);

/* The descriptor that currently has the content, for a PUT. */
int spool_fd(struct worker *w, uint32_t session);

/* Store, read and free the payload of a WRITE that must wait: in the worker's parking file, at the
 * place of its record. 0 or -errno (-ENOSPC). */
must_use int spool_park(struct worker *w, uint32_t record, const void *buf, size_t len);
must_use int spool_unpark(struct worker *w, uint32_t record, uint32_t off, void *buf, size_t len);
void spool_park_clear(struct worker *w, uint32_t record, size_t len);

/* Frees payloads that the previous worker of this slot parked for records that are free now. */
void spool_park_tidy(struct worker *w);

#endif
