/* Read-ahead: parts of a file that its readers will need, fetched by all workers. */
#ifndef WORKERS_READ_AHEAD_H
#define WORKERS_READ_AHEAD_H

#include "workers/op/op.h"
#include "workers/read/read_plan.h"

/* Fetches the next parts of the node's `content` for this stream of the open file `fh`, as far as
 * its window reaches; others get their share of them. Does nothing if the handle has been closed,
 * the stream needs nothing now, or the node has other content by now. */
void ahead_ask(struct worker *w, uint64_t fh, uint32_t node, uint32_t content, uint32_t stream);

/* Fetches what other workers have ordered here. To be called at each wake-up, and first by a
 * replacement, whose predecessor may have left some. */
void ahead_take_orders(struct worker *w);

/* Publishes how busy this worker is, from the time that its loop waited. To be called at least once
 * a second; does nothing when it was called a moment ago. */
void ahead_note_busy(struct worker *w);

#endif
