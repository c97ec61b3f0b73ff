/* A large file that is changed in place: its session begins without its content. What a change
 * touches is loaded then, in units of 5 MiB or more (shm_patch.h); readers get the rest from
 * blocks, as of any other file. The publish copies on the server what has not changed
 * (publish_patch.c). */
#ifndef WORKERS_WRITE_SESSION_PATCH_H
#define WORKERS_WRITE_SESSION_PATCH_H

#include "s3/s3.h"
#include "shm/shm_session.h"
#include "workers/op/worker.h"

/* Under shm->meta. True for a session whose content is on S3, if its publish can be such a one: by
 * the size of the file, and by what is known of the server. */
bool session_may_patch(struct worker *w, const struct shm_session *s);

/* Under shm->meta. SHM_CONTENT_S3 -> SHM_CONTENT_PATCH; nothing changes if there is no room for the
 * spool: then the load fails for that. */
void session_patch_begin(struct worker *w, uint32_t session);

/* Under shm->meta. The number of parts in which the session is published by copying what has not
 * changed; 0: all of its content is sent. */
uint32_t session_patch_parts(struct worker *w, uint32_t session);

/* Under shm->meta. The parts of such a publish, of which there are n. */
struct shm_upload_plan session_patch_plan(struct worker *w, uint32_t session, uint32_t n);

/* Not under a lock. The key has this object, found by a HEAD that was sent at `asked_ns`
 * (clock_mono_ns): another one than the session was begun with. True if it is what a Complete of
 * the session has made whose answers were lost. It has the same bytes where nothing is dirty, so it
 * is the version that the session changes from now on. */
must_use bool session_patch_adopt(struct worker *w, uint32_t session, const char *key,
                                  const struct s3_object *obj, uint64_t asked_ns);

/* The server copies parts, and keeps the conditions of Complete that are needed, as far as is
 * known. */
bool session_server_copies(struct worker *w);

/* True if a file of `size` bytes, whose content is a version of another key (SHM_CONTENT_COPY), can
 * be copied by one CopyObject: of compare-and-set only where the server keeps the conditions on its
 * target, and has not contradicted that. */
bool session_copies_whole(struct worker *w, uint64_t size);

/* True if it cannot, but in parts. */
bool session_copies_parts(struct worker *w, uint64_t size);

/* The parts of such a copy, `size` bytes long: all of them are copied. */
struct shm_upload_plan session_copy_plan(struct worker *w, uint64_t size);

/* Under shm->meta. True if content has to be loaded before the session can be published. */
bool session_patch_lacks(struct worker *w, uint32_t session);

#endif
