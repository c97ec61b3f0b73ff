/* A directory's witness: one name that it is known to have, from its listing. As long as that is
 * not removed here, the directory is not empty, and nobody need ask, however many names it has, and
 * however few of them are in the name table. Kept in the node as a hash: a collision costs a LIST.
 *
 *   none    never listed: it is gone with its last name
 *   lost    was removed: with the next removal S3 is asked whether there is another (dir_keep.c)
 *   known
 *
 * What another client removes is not seen, unless somebody looks the name up. Functions under
 * shm->meta; they do nothing for SHM_NIL. */
#ifndef WORKERS_OP_DIR_WITNESS_H
#define WORKERS_OP_DIR_WITNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/op/worker.h"

/* True: lost. */
bool dir_witness_is_lost(struct worker *w, uint32_t dir);

/* S3 has this name, and nobody has removed it here since S3 was asked; or it is checked next. A
 * name of length 0: nothing is known to be there, but the directory was listed. */
void dir_witness_is(struct worker *w, uint32_t dir, const char *name, size_t len);

/* The name was removed, or may have been: if it was the witness, that is lost. */
void dir_witness_gone(struct worker *w, uint32_t dir, const char *name, size_t len);

/* The directory was listed, but names may have been removed meanwhile. The witness stays; where
 * there was none, it is lost. */
void dir_witness_unsure(struct worker *w, uint32_t dir);

#endif
