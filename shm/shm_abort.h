/* Multipart uploads that a worker is to abort on S3: noted in the section that gives the upload up,
 * or as soon as a copy in parts has one, until S3 has answered. If the worker dies before, its
 * replacement aborts them; otherwise their parts would cost money for ever. */
#ifndef SHM_SHM_ABORT_H
#define SHM_SHM_ABORT_H

#include "shm/shm_upload.h"

#define SHM_ABORTS 64 /* of all workers; more at once are aborted without a note */

struct shm_abort {
    char key[SHM_UPLOAD_KEY_MAX];
    char id[SHM_UPLOAD_ID_MAX];
};

/* Writer: any worker, under shm->meta, its own entries. If the owner of the lock dies: rolled back.
 * If the owner of an entry dies: see above. */
struct shm_abort_table {
    uint32_t owner[SHM_ABORTS]; /* slot of the worker, + 1; 0: the entry is free, and is not read */
    struct shm_abort slot[SHM_ABORTS];
};

size_t shm_abort_size(const struct shm_sizes *sizes);
must_use int shm_abort_check(struct shm *shm, struct err *err);

/* All under shm->meta. */

/* Notes an upload of worker `owner`. The number of the note, from 1; 0: all are in use. */
uint32_t shm_abort_note(struct shm *shm, uint32_t owner, const char *key, const char *id);

/* S3 no longer has the upload, or it is known that it stays. 0 is allowed. */
void shm_abort_done(struct shm *shm, uint32_t note);

/* The first note after `note` (0: of all) that belongs to this worker; 0: none. */
uint32_t shm_abort_next(struct shm *shm, uint32_t owner, uint32_t note);

/* `note`: from 1. */
const struct shm_abort *shm_abort_at(struct shm *shm, uint32_t note);

#endif
