/* Opens that got ESTALE, and will be repeated. The kernel repeats such an open(2) once, starting
 * with the LOOKUP. An answer of S3 to a request that was sent after the first OPEN came in is new
 * enough for the second one, whoever sent the request. Without that rule, opens of a file that is
 * constantly replaced, and read by several threads, would sometimes fail (the kernel coalesces
 * concurrent LOOKUPs; only one OPEN may use the result). `name` is that of the file, as
 * shm_node_name_id(): the repetition may find another file there, with another inode number. */
#ifndef SHM_SHM_REOPEN_H
#define SHM_SHM_REOPEN_H

#include "shm/shm_node.h"

/* Identifies an OPEN by the kernel's fuse_in_header.unique: one that is replayed because its worker
 * died has the same. */
static inline uint32_t shm_reopen_request(uint64_t unique)
{
    return (uint32_t)unique | 1;
}

/* Requires shm->meta to be held. The OPEN `request` of thread `pid` (0: unknown, nothing is noted)
 * of the file `name` gets ESTALE; it came in at `since_ns`, monotonic. Not noted
 * if it was itself the repetition: then the open(2) fails. Overwrites the oldest note if the
 * thread's set is full. */
void shm_reopen_note(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request,
                     uint64_t since_ns);

/* Requires shm->meta to be held. The same for an OPEN for writing that needs a private node
 * (compare-and-set): the LOOKUP before its repetition is to return one, even if the thread is
 * unknown. */
void shm_reopen_note_private(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request,
                             uint64_t since_ns);

/* Requires shm->meta to be held. The thread has got its private node. */
void shm_reopen_has_private(struct shm *shm, uint32_t pid, uint64_t name);

/* Requires shm->meta to be held. True if the LOOKUP of this thread and file is to return a private
 * node, as shm_reopen_note_private has requested within max_ns. */
bool shm_reopen_wants_private(struct shm *shm, uint32_t pid, uint64_t name, uint64_t now_ns,
                              uint64_t max_ns);

/* Requires shm->meta to be held. True if an OPEN of this thread and file will be repeated: the
 * LOOKUP before it should ask S3. */
bool shm_reopen_waits(struct shm *shm, uint32_t pid, uint64_t name);

/* Requires shm->meta to be held. Called at each OPEN, even repeatedly: true if it repeats one that
 * came in before `checked_ns`, and not longer than `max_ns` ago. */
bool shm_reopen_take(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request,
                     uint64_t checked_ns, uint64_t now_ns, uint64_t max_ns);

/* Requires shm->meta to be held. True if this OPEN repeats one: shm_reopen_take has found its
 * note. */
bool shm_reopen_is_again(struct shm *shm, uint32_t pid, uint64_t name, uint32_t request);

/* Requires shm->meta to be held. True if an OPEN of the file, by any thread, came in after
 * `checked_ns`, not longer than `max_ns` ago, and will be repeated. (The kernel coalesces LOOKUPs
 * of several threads: the reply to an earlier one may be given to that thread, too.) */
bool shm_reopen_since(struct shm *shm, uint64_t name, uint64_t checked_ns, uint64_t now_ns,
                      uint64_t max_ns);

#endif
