/* Streams: sessions of the variant s3-passthrough (SHM_SESSION_STREAM). They are written from the
 * beginning to the end. Once a part is full it goes to S3 while the writer goes on, and the spool
 * drops it; so a file of any size needs the space of a few parts. Complete, at the close, makes it
 * visible.
 *
 * A stream of less than one part is published with a PUT. What is appended after a publish, or to
 * an object that exists, begins with a copy of that object on the server (`base`), unless the spool
 * has it all. */
#ifndef WORKERS_WRITE_STREAM_H
#define WORKERS_WRITE_STREAM_H

#include "workers/op/op.h"
#include "workers/write/upload.h"

/* Bytes from which on an object is copied on the server rather than loaded: S3's least part. */
#define STREAM_BASE_MIN (UINT64_C(5) << 20)

static inline bool stream_is(const struct shm_session *s)
{
    return s->flags & SHM_SESSION_STREAM;
}

/* Under shm->meta. True if what the session continues is to be copied on the server. */
bool stream_may_copy(struct worker *w, const struct shm_session *s);

/* Under shm->meta. The session continues an object of which nothing is loaded. */
void stream_begin_at(struct worker *w, uint32_t session);

/* Under shm->meta. 0: `len` bytes may be written at `off`; 1: not yet, wait for the session;
 * -EINVAL: not at the end of the file; -EFBIG: more than S3 permits; the error of a part that has
 * failed. 0 for other sessions. */
int stream_may_write(struct worker *w, uint32_t session, uint64_t off, uint64_t len);

/* Under shm->meta. True if memory will be free without help: parts are being sent, or can be, now
 * or when the upload is open. */
bool stream_has_work(struct worker *w, uint32_t session);

/* Under shm->meta. The content is dropped: the file is empty. *ret: the upload to abort. */
void stream_empty(struct worker *w, uint32_t session, struct upload_name *ret);

/* Under shm->meta. Parts have been stored. If the spool holds something that S3 has, returns the
 * range to release (spool_release) after unlocking; otherwise leaves *ret_from and *ret_to. */
void stream_advance(struct worker *w, uint32_t session, uint64_t *ret_from, uint64_t *ret_to);

/* Under shm->meta. The publish of `size` bytes has succeeded: what is written next is appended. */
void stream_published(struct worker *w, uint32_t session, uint64_t size);

/* Under shm->meta. The publish has failed, or (`opens`) only the opening of the upload. Its parts
 * are gone, and perhaps the bytes with them: then nothing more is published. */
void stream_failed(struct worker *w, uint32_t session, int error, bool opens);

#endif
