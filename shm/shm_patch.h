/* Files that are changed in place: which pieces of each session's file are in its spool
 * (SHM_CONTENT_PATCH). The others are on S3, in the version of the session's node.
 *
 * The file is divided into units of equal size. A unit is HELD if the spool has all of it. A unit
 * is DIRTY if it was changed since the last publish; then it is held. Bytes beyond `base`, the part
 * of that version that still counts, are always in the spool (holes are zeroes). A unit that base
 * ends in is held as soon as the file goes on behind it.
 *
 * Slot i belongs to session i. All functions except shm_patch_size and _check require shm->meta to
 * be held, and save what they change. Offsets and lengths are in bytes. */
#ifndef SHM_SHM_PATCH_H
#define SHM_SHM_PATCH_H

#include "shm/shm_node.h"

#define SHM_PATCH_UNITS 10048u                 /* of one file; more than S3 permits parts */
#define SHM_PATCH_UNIT_MIN (UINT64_C(5) << 20) /* S3's least part */

/* Writer, readers: any worker, under shm->meta. If the owner of the lock dies: rolled back. */
struct shm_patch {
    uint64_t base; /* bytes of the version on S3 that still count */
    uint64_t unit; /* bytes; 0: the slot was never used */
    uint64_t held[SHM_PATCH_UNITS / 64];
    uint64_t dirty[SHM_PATCH_UNITS / 64];
};

/* Bytes [off, off + len) of a file. */
struct shm_patch_piece {
    uint64_t off, len;
};

size_t shm_patch_size(const struct shm_sizes *sizes);
must_use int shm_patch_check(struct shm *shm, struct err *err);

/* The session's file is this version on S3, of `size` bytes (more than 0): nothing is held. */
void shm_patch_begin(struct shm *shm, uint32_t session, uint64_t size);

/* True if the spool has all bytes of [from, to). */
bool shm_patch_holds(struct shm *shm, uint32_t session, uint64_t from, uint64_t to);

/* The part of [from, to) that is not in the spool, from its first such byte to its last. (Of a
 * range of up to SHM_PATCH_UNIT_MIN bytes: all of it is missing.) len 0: nothing is missing. */
struct shm_patch_piece shm_patch_lacks(struct shm *shm, uint32_t session, uint64_t from,
                                       uint64_t to);

/* True if the spool has not all bytes of the session's file, whatever its content is. */
bool shm_patch_is_short(struct shm *shm, uint32_t session);

/* What has to be loaded next before [from, to) is changed, or may be sent: whole units. If `to` is
 * beyond the base, that includes the unit in which it ends. Where units before it are held, more
 * units are loaded at once, as many as these, up to SHM_PATCH_AHEAD: a file that is changed from
 * its beginning to its end needs few GETs. len 0: nothing. */
#define SHM_PATCH_AHEAD 12u
struct shm_patch_piece shm_patch_needs(struct shm *shm, uint32_t session, uint64_t from,
                                       uint64_t to);

/* These units are in the spool now. */
void shm_patch_loaded(struct shm *shm, uint32_t session, struct shm_patch_piece piece);

/* Bytes [from, to) have changed; their units are held. */
void shm_patch_changed(struct shm *shm, uint32_t session, uint64_t from, uint64_t to);

/* The file is cut to `size` bytes, or less of it is left. */
void shm_patch_cut(struct shm *shm, uint32_t session, uint64_t size);

/* True if a file of `size` bytes, in units of this session, has no more than SHM_PATCH_UNITS. */
bool shm_patch_fits(struct shm *shm, uint32_t session, uint64_t size);

/* The content, of `size` bytes, is a version on S3 now. False: it has too many units, and only the
 * spool has them all from now on: the session is no longer a PATCH. */
must_use bool shm_patch_published(struct shm *shm, uint32_t session, uint64_t size);

/* The part of an upload that begins at `off`, of a file of `size` bytes: how long it is, and
 * *ret_copied: it is copied on the server. Parts are as long as `send` or `copy` (at least
 * SHM_PATCH_UNIT_MIN), up to twice that, less only at the end of the file. */
uint64_t shm_patch_part(struct shm *shm, uint32_t session, uint64_t off, uint64_t size,
                        uint64_t send, uint64_t copy, bool *ret_copied);

#endif
