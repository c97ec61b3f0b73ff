/* Lineages: they distinguish a conditional write that succeeded but whose reply was lost from one
 * that was refused.
 *
 * Every conditional PUT carries its own random write-id, followed by the ids of the versions that
 * it was built on, newest first, in the metadata `stateproxy-lineage`. After a 412 that may be the
 * reply to a retry, the current version decides: if our id is in its lineage, our write succeeded,
 * even if others have written on top since.
 *
 * Text form: ids of SHM_ID_LEN base64url digits, one after the other; then LINEAGE_ROOT if the last
 * of them was built on no known version. Without LINEAGE_ROOT the lineage was cut, at
 * LINEAGE_IDS_MAX or at the room that metadata have.
 *
 * Ids are short so that many fit: a delayed PUT is recognised as long as fewer versions than that
 * have been written on top. (Another version of a key has the same id in one of 10^12
 * judgements.) */
#ifndef WORKERS_OBJMETA_LINEAGE_H
#define WORKERS_OBJMETA_LINEAGE_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "shm/shm_session.h"

#define LINEAGE_META "stateproxy-lineage" /* the name, without "x-amz-meta-" */
#define LINEAGE_IDS_MAX 96
#define LINEAGE_ROOT '.'
#define LINEAGE_CAP (LINEAGE_IDS_MAX * SHM_ID_LEN + 2) /* with LINEAGE_ROOT and NUL */
#define LINEAGE_ID_CAP (SHM_ID_LEN + 1)

/* A new write-id: 48 random bits, and NUL. */
void lineage_new_id(char id[LINEAGE_ID_CAP]);

/* True for a text in the form above with at least one id. */
must_use bool lineage_is_valid(const char *text);

/* The lineage of a write `id` built on a version with lineage `base`. If `base` is NULL, "" or not
 * a lineage, nothing is known about that version, so the write is a root. */
void lineage_extend(const char *base, const char *id, char ret[LINEAGE_CAP]);

/* Keeps as many of the newest ids as fit into `room` bytes, at least one. */
void lineage_cut(char text[LINEAGE_CAP], size_t room);

/* The newest id of a lineage: that of the version itself. False (and "") if `text` is not a
 * lineage. */
bool lineage_head(const char *text, char ret_id[LINEAGE_ID_CAP]);

enum lineage_verdict {
    LINEAGE_OURS,     /* our write succeeded; others may have written on top */
    LINEAGE_CONFLICT, /* the current version is not built on our write */
    LINEAGE_UNKNOWN,  /* undecidable: another program wrote, or the lineage was cut */
};

/* Judges a refused write by the lineage of the current version (`found`; NULL or invalid: none).
 * `ours`: the id that all attempts of the write carried. `expected`: the newest id of the version
 * that the write was conditional on; NULL or "" if that had none, or if the key had to be absent.
 *
 *   ours is in it                                        -> OURS
 *   expected is in it, another id follows                -> CONFLICT: only one write is built on a
 *                                                           version, and it was not ours
 *   expected is its newest                               -> CONFLICT: no write was built on it, and
 *                                                           its ETag has changed (a copy), so no
 *                                                           attempt of ours can succeed any more
 *   it shows its root, without either                    -> CONFLICT
 *   else                                                 -> UNKNOWN */
must_use enum lineage_verdict lineage_judge(const char *found, const char *ours,
                                            const char *expected);

#endif
