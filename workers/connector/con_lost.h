/* DELETEs whose worker died after it had sent them. Their client lost its connection, and repeats
 * the request: what it finds may be its own work. Only of processes that are known. */
#ifndef WORKERS_CONNECTOR_CON_LOST_H
#define WORKERS_CONNECTOR_CON_LOST_H

#include "workers/op/op.h"

/* Under shm->meta. Notes whose DELETE this op is; before anything is sent. */
void con_lost_begin(struct op *op, const char *key);

/* Under shm->meta. Keeps what the op of a dead worker has sent, or of one that fails. */
void con_lost_keep(struct worker *w, const struct shm_record *rec);

/* Under shm->meta, after con_lost_begin. True if the op repeats one that was lost: what was sent is
 * in its own record from now on. */
bool con_lost_take(struct op *op);

#endif
