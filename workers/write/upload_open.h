/* Opening an upload while its file is still being written: of a stream (stream.h), or of a file
 * that is written from its beginning to its end (upload.early). The parts of such a file go to S3
 * as they become full, while the spool keeps all of it. What is changed afterwards is sent again by
 * the publish, so each part is sent twice at most. */
#ifndef WORKERS_WRITE_UPLOAD_OPEN_H
#define WORKERS_WRITE_UPLOAD_OPEN_H

#include "workers/op/worker.h"

/* Under shm->meta. True if upload_go_on may have something to do. */
bool upload_may_go_on(struct worker *w, uint32_t session);

/* Under shm->meta. There is something to send, and no upload is open. Asked again when S3 has
 * created one: the file may have been cut or unlinked meanwhile. */
bool upload_is_wanted(struct worker *w, uint32_t session);

/* Compare-and-set: parts were sent early for nothing, because attributes were set before the close
 * (cp -p, rsync, tar). Who does that does it again, so for a while nothing is sent early. */
void upload_was_in_vain(struct worker *w);

/* Not under a lock, after a write, or while one waits: opens the upload once there is something to
 * send, and sends full parts. A failure to open it is not reported here: a stream's next write and
 * its close fail; for another file the publish tries once more. */
void upload_go_on(struct worker *w, uint32_t session);

#endif
