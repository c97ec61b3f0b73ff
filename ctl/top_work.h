/* What takes long: files that are being uploaded, and directories that are being renamed, with how
 * far they are. */
#ifndef CTL_TOP_WORK_H
#define CTL_TOP_WORK_H

#include <stdint.h>

#include "base/buf.h"
#include "shm/shm_segment.h"

/* Appends up to `rows` lines. 0, or the error of buf_append. */
must_use int top_work(struct shm *shm, unsigned rows, struct buf *out);

/* 1234 -> "1.2K": at most five characters and NUL. */
void top_size(uint64_t bytes, char out[8]);

#endif
