/* Opens that were told ESTALE, and will come back. The kernel repeats such an open(2) once, from
 * the LOOKUP on. What S3 was asked after the first OPEN came in is new enough for the second one,
 * whoever has asked: without that a file that is replaced all the time, and read by several
 * threads, would fail to open now and then (their LOOKUPs are one in the kernel, and only one OPEN
 * may go by it). */
#ifndef SHM_SHM_REOPEN_H
#define SHM_SHM_REOPEN_H

#include "shm/shm_node.h"

/* Names an OPEN by what the kernel calls it (fuse_in_header.unique): one that is handled once more,
 * since its worker has died, is the same. */
static inline uint32_t shm_reopen_request(uint64_t unique)
{
    return (uint32_t)unique | 1;
}

/* Wants shm->meta held. The OPEN `request` of thread `pid` (0: not known, nothing is noted) of the
 * file with inode number `ino` says ESTALE; it came in at `since_ns`, monotonic. Not noted if it
 * was the repetition itself: that one fails the open(2). Over the oldest note, where the thread's
 * set is full. */
void shm_reopen_note(struct shm *shm, uint32_t pid, uint64_t ino, uint32_t request,
                     uint64_t since_ns);

/* Wants shm->meta held. The same for an OPEN for writing that needs a node of its own
 * (compare-and-set): the LOOKUP before its repetition is to give it one, also where the thread is
 * not known. */
void shm_reopen_note_private(struct shm *shm, uint32_t pid, uint64_t ino, uint32_t request,
                             uint64_t since_ns);

/* Wants shm->meta held. It has one. */
void shm_reopen_has_private(struct shm *shm, uint32_t pid, uint64_t ino);

/* Wants shm->meta held. True if the LOOKUP of this thread and file is to give a node of its own, as
 * shm_reopen_note_private has asked within max_ns. */
bool shm_reopen_wants_private(struct shm *shm, uint32_t pid, uint64_t ino, uint64_t now_ns,
                              uint64_t max_ns);

/* Wants shm->meta held. True if an OPEN of this thread and file is to be repeated: the LOOKUP
 * before it had better ask. */
bool shm_reopen_waits(struct shm *shm, uint32_t pid, uint64_t ino);

/* Wants shm->meta held. At each OPEN, as often as it is looked at: true if it repeats one that came
 * in before `checked_ns`, and not longer ago than `max_ns`. */
bool shm_reopen_take(struct shm *shm, uint32_t pid, uint64_t ino, uint32_t request,
                     uint64_t checked_ns, uint64_t now_ns, uint64_t max_ns);

/* Wants shm->meta held. True if an OPEN of the file, by whichever thread, came in after
 * `checked_ns`, not longer ago than `max_ns`, and is to be repeated. (The kernel lets LOOKUPs of
 * several threads be one: the one that was sent before may be answered to that thread, too.) */
bool shm_reopen_since(struct shm *shm, uint64_t ino, uint64_t checked_ns, uint64_t now_ns,
                      uint64_t max_ns);

#endif
