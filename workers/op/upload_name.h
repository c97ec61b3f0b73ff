/* A multipart upload on S3, by name, and its end without an object. */
#ifndef WORKERS_OP_UPLOAD_NAME_H
#define WORKERS_OP_UPLOAD_NAME_H

#include "shm/shm_upload.h"
#include "workers/op/worker.h"

/* Both are "" for none. */
struct upload_name {
    char key[SHM_UPLOAD_KEY_MAX];
    char id[SHM_UPLOAD_ID_MAX];
};

/* Not under a lock. Aborts it on S3, if there is one. A failure is logged, once for a missing
 * permission, and counted: what is left there costs money until a lifecycle rule removes it. */
void upload_abort(struct worker *w, const struct upload_name *name);

#endif
