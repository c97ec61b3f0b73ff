/* How the segment is laid out, written into it (base/form.h): so a program of another version can
 * carry it over (shm_carry.h). The fields are in shm_fields.c. */
#ifndef SHM_SHM_FORM_H
#define SHM_SHM_FORM_H

#include "base/form.h"
#include "shm/shm_segment.h"

/* Names of parts and fields that shm_carry.c looks for; those of the sizes are in its own list. */
#define SHM_FORM_HEADER "header"
#define SHM_FORM_LOCK "meta_lock"

/* The parts of a segment with these sizes and table_off. Their number, at most FORM_PARTS_MAX.
 * Locks, blocks, counters: left out, they begin anew. */
unsigned shm_form_parts(const struct shm_header *h, struct form_part ret[FORM_PARTS_MAX]);

size_t shm_form_size(const struct shm_sizes *sizes);
void shm_form_init(struct shm *shm);

/* 1: the segment says that it is laid out as this program would; 0: it says something else; or
 * -ENOMEM. `own` is the header that it would have here, and the table is within the segment. */
must_use int shm_form_is_own(const struct shm_header *own, const uint8_t *base);

#endif
