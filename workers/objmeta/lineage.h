/* Lineages: how a conditional write whose answer was lost is told from one that was refused.
 *
 * Every conditional PUT carries a random write-id of its own, followed by those of the versions
 * that it was built on, newest first, in the metadata `stateproxy-lineage`. After a 412 that may be
 * the answer to a repetition, what is there now tells: our id in its lineage means that we have
 * written, even if others have written on top since.
 *
 * Text form: ids of SHM_ID_LEN base64url digits, one after the other, then LINEAGE_ROOT if the last
 * of them was built on nothing known; without it the lineage was cut, at LINEAGE_IDS_MAX or at what
 * metadata have room for.
 *
 * An id is short so that many fit: a PUT that is held up is recognised as long as fewer versions
 * than that are written on top. (That another one of a key has the same is found once in 10^12
 * judgements.)
 */
#ifndef WORKERS_OBJMETA_LINEAGE_H
#define WORKERS_OBJMETA_LINEAGE_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "shm/shm_session.h"

#define LINEAGE_META "stateproxy-lineage" /* the name, without "x-amz-meta-" */
#define LINEAGE_IDS_MAX 96
#define LINEAGE_ROOT '.'
#define LINEAGE_CAP (LINEAGE_IDS_MAX * SHM_ID_LEN + 2) /* with the root's mark and NUL */
#define LINEAGE_ID_CAP (SHM_ID_LEN + 1)

/* A new write-id: 48 random bits, and NUL. */
void lineage_new_id(char id[LINEAGE_ID_CAP]);

/* True for a text of the form above with at least one id. */
must_use bool lineage_is_valid(const char *text);

/* The lineage of a write `id` built on a version of lineage `base`. NULL, "" or a text that is no
 * lineage: nothing is known of what it was built on, so the write is a root. */
void lineage_extend(const char *base, const char *id, char ret[LINEAGE_CAP]);

/* Leaves as many of the newest ids as fit `room` bytes, at least one. */
void lineage_cut(char text[LINEAGE_CAP], size_t room);

/* The newest id of a lineage: that of the version itself. False (and "") if `text` is none. */
bool lineage_head(const char *text, char ret_id[LINEAGE_ID_CAP]);

enum lineage_verdict {
    LINEAGE_OURS,     /* we have written; others perhaps on top */
    LINEAGE_CONFLICT, /* what is there was not built on a write of ours */
    LINEAGE_UNKNOWN,  /* neither can be shown: another program wrote, or the lineage was cut */
};

/* Judges a refused write by the lineage of what is there now (`found`; NULL or invalid: none).
 * `ours`: the id that all attempts of the write carried. `expected`: the newest id of the version
 * that the write was conditional on; NULL or "" if that had none, or the key was to be absent.
 *
 *   ours is in it                                        -> OURS
 *   expected is in it, another id follows                -> CONFLICT: only one write is built on a
 *                                                           version, and it was not ours
 *   expected is its newest                               -> CONFLICT: nobody has built on it, and
 *                                                           its ETag is another by now (a copy), so
 *                                                           no attempt of ours can act any more
 *   it shows its root, without either                    -> CONFLICT
 *   else                                                 -> UNKNOWN */
must_use enum lineage_verdict lineage_judge(const char *found, const char *ours,
                                            const char *expected);

#endif
