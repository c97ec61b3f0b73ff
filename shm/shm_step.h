/* What children have written: a process that has read a version, and whose child has replaced it,
 * may go on from the child's version once it has waited for the child, and not before. (A child
 * that is waited for is gone; until then it is alive, or a zombie.) So a step is noted when the
 * child's write is published, and taken when the child is found to be gone.
 *
 * All functions require shm->meta to be held, and save what they change. */
#ifndef SHM_SHM_STEP_H
#define SHM_SHM_STEP_H

#include "shm/shm_baseline.h"

/* Notes a step. One of the same key and process is overwritten; if there are SHM_STEPS, the oldest
 * is, and its process will meet a conflict. Nothing is noted in a table without baselines. */
void shm_step_note(struct shm *shm, const struct shm_step *step);

/* The step of `who` on the key; NULL if there is none. */
const struct shm_step *shm_step_find(const struct shm *shm, const struct shm_baseline_key *key,
                                     const struct shm_baseline_who *who);

/* The children that the process is to have waited for: fills ret, up to `max` of them (each once),
 * from *ret_n on. */
void shm_step_children(const struct shm *shm, const struct shm_baseline_who *who,
                       struct shm_baseline_who *ret, unsigned *ret_n, unsigned max);

/* Removes a step that waits for this child, and returns it in *ret; false if there is none. */
must_use bool shm_step_take(struct shm *shm, const struct shm_baseline_who *child,
                            struct shm_step *ret);

/* The process has learned of a version itself, or knows none any more: what its children have made
 * of an earlier one does not count. */
void shm_step_forget(struct shm *shm, const struct shm_baseline_key *key,
                     const struct shm_baseline_who *who);

/* 0 or -EUCLEAN. */
must_use int shm_step_check(const struct shm *shm, struct err *err);

#endif
