/* A multipart upload on S3, by name, and its end without an object. */
#ifndef WORKERS_OP_UPLOAD_NAME_H
#define WORKERS_OP_UPLOAD_NAME_H

#include "shm/shm_upload.h"
#include "workers/op/worker.h"

/* key and id are "" for none. */
struct upload_name {
    char key[SHM_UPLOAD_KEY_MAX];
    char id[SHM_UPLOAD_ID_MAX];
    uint32_t note; /* by which a replacement finds it (shm_abort.h); 0: none */
};

/* Under shm->meta. Should this worker die, the upload is aborted by its replacement. */
void upload_note(struct worker *w, struct upload_name *name);

/* Not under a lock. It was completed, or is gone: it is not aborted any more. */
void upload_completed(struct worker *w, struct upload_name *name);

/* Not under a lock. Aborts it on S3, if there is one; `name` is none afterwards. A failure is
 * logged, once for a missing permission, and counted: what is left there costs money until a
 * lifecycle rule removes it. */
void upload_abort(struct worker *w, struct upload_name *name);

/* Not under a lock. Aborts what the worker that we replace had noted. */
void upload_abort_noted(struct worker *w);

#endif
