/* The parts of a session's multipart upload (shm/shm_upload.h), sent from the spool by whichever
 * workers have been asked to. An upload is opened, completed and, if a publish fails, aborted by
 * the publish (publish_parts.c). */
#ifndef WORKERS_WRITE_UPLOAD_H
#define WORKERS_WRITE_UPLOAD_H

#include "workers/op/upload_name.h"

/* Sends parts of the session's upload, if it has one: up to upload.concurrency of them at the same
 * time, all workers together; while a publish runs all parts of the file, otherwise only full ones.
 * Each part that has ended continues with the next, and wakes the workers that wait for the
 * session. The first one that fails ends the upload: shm_upload.error. Not under a lock. */
void upload_drive(struct worker *w, uint32_t session);

/* Under shm->meta. The session's upload is given up: forgets it. Parts that are being sent end
 * unnoticed. */
void upload_give_up(struct worker *w, uint32_t session, struct upload_name *ret);

#endif
