/* Requests that change something are ops with a record in the journal, so that what they hold is
 * released when their worker dies. They are not handled again: their client lost its connection,
 * and repeats the request or not. */
#ifndef WORKERS_CONNECTOR_CON_OP_H
#define WORKERS_CONNECTOR_CON_OP_H

#include "workers/http/http_service.h"
#include "workers/op/op.h"

/* A kept op of this client; its process is identified as far as the variant wants. `opcode`: enum
 * shm_http_op. NULL: no record is free. It ends with op_done(), after whatever it holds was
 * released. */
must_use struct op *con_op_new(const struct http_conn *c, uint32_t opcode);

/* Releases what the op of a dead worker's record still holds, without an effect on S3. */
void con_op_give_up(struct worker *w, uint32_t rec_idx);

/* The same for a request that only reads: an op without a record, for functions that want to know
 * the caller. */
void con_op_reader(const struct http_conn *c, struct op *ret);

#endif
