/* The parts of a session's multipart upload (shm/shm_upload.h), sent from the spool by whichever
 * workers have been asked to. An upload is opened, completed and, if a publish fails, aborted by
 * the publish (publish_parts.c). */
#ifndef WORKERS_WRITE_UPLOAD_H
#define WORKERS_WRITE_UPLOAD_H

#include "shm/shm_upload.h"
#include "workers/op/worker.h"

/* Sends parts of the session's upload, if it has one: up to upload.concurrency of them at the same
 * time, all workers together; while a publish runs all parts of the file, otherwise only full ones.
 * Each part that has ended continues with the next, and wakes the workers that wait for the
 * session. The first one that fails ends the upload: shm_upload.error. Not under a lock. */
void upload_drive(struct worker *w, uint32_t session);

/* Under shm->meta. What upload_abort() needs. */
struct upload_name {
    char key[SHM_UPLOAD_KEY_MAX]; /* "": there is nothing to abort */
    char id[SHM_UPLOAD_ID_MAX];
};

/* Under shm->meta. The session's upload is given up: forgets it. Parts that are being sent end
 * unnoticed. */
void upload_give_up(struct worker *w, uint32_t session, struct upload_name *ret);

/* Not under a lock. Aborts it on S3. A failure is logged, once for a missing permission: what is
 * left there costs money until a lifecycle rule removes it. */
void upload_abort(struct worker *w, const struct upload_name *name);

#endif
