/* Who reads ahead now: so that the blocks are divided among the readers of a mount. Readers of one
 * file that are at about the same place count as one, since they share what is fetched. */
#ifndef SHM_SHM_READER_H
#define SHM_SHM_READER_H

#include "shm/shm_handle.h"

#define SHM_READER_REST_NS UINT64_C(1000000000)  /* after that a reader no longer counts, */
#define SHM_READER_PAST_NS UINT64_C(60000000000) /* and after that what it read may be forgotten */

/* Under shm->meta. `now` is a reader (seen_ns: now) whose run began at `start` and has come to
 * `off`; readers within `span` bytes are one. Returns how many there are, 1 to SHM_READERS; and in
 * *ret_end where the run of another reader of the same content begins beyond `off`: from there on
 * the kernel has the bytes by now (UINT64_MAX: nowhere). Nothing is saved: a wrong count makes
 * windows smaller or larger for a second. */
uint32_t shm_reader_note(struct shm *shm, const struct shm_reader *now, uint64_t span,
                         uint64_t *ret_end);

#endif
