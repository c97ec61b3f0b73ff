/* How the record of handover.h is laid out, written into it (base/form.h): so a program of another
 * version can read it. */
#ifndef DAEMON_HANDOVER_FORM_H
#define DAEMON_HANDOVER_FORM_H

#include "base/form.h"
#include "daemon/handover.h"

#define HANDOVER_PARTS 4
#define HANDOVER_TEXT_MAX (1u << 20) /* of `fixed`, of `secrets` */

/* The parts of this record, whose counts are set. */
void handover_form_parts(const struct handover_record *r, struct form_part ret[HANDOVER_PARTS]);

/* The bytes that the parts take: the form may follow. */
size_t handover_form_end(const struct handover_record *r);

/* The longest record: what is longer is none. (SHM_SESSIONS_MAX slots of the spool, two texts, the
 * form, and as much again for what another version may have beside.) */
#define HANDOVER_SIZE_MAX                                                                          \
    (2 * (sizeof(struct handover_record) + SHM_SESSIONS_MAX * sizeof(struct worker_spool) +        \
          2 * (size_t)HANDOVER_TEXT_MAX))

/* Reads a record of another form, of `size` bytes, into a new one of this one: *ret and *ret_size,
 * a mapping, which is no larger than HANDOVER_SIZE_MAX. 0; -EPROTO, -EXDEV with *err: it cannot be
 * read; -ENOMEM. */
must_use int handover_form_carry(uint8_t *data, size_t size, struct handover_record **ret,
                                 size_t *ret_size, struct err *err);

#endif
