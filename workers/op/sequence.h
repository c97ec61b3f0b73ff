/* Operations of several steps. One table lists the steps in order; the handler follows it and,
 * after its worker has died, so does the replacement. A step that is already done according to the
 * record (op->rec) is skipped; every other step is safe to repeat. */
#ifndef WORKERS_OP_SEQUENCE_H
#define WORKERS_OP_SEQUENCE_H

#include "workers/op/op.h"

struct op_step {
    /* Does the step, and calls op_step_done() at its end, immediately or later. The op is kept; the
     * step may use op->state, and must leave it free at its end. */
    void (*run)(struct op *op);
    /* True: nothing (more) to do in this step. NULL: never skipped. */
    bool (*skip)(const struct op *op);
    bool optional; /* the sequence continues even if this step failed */
};

struct op_sequence {
    const struct op_step *steps;
    unsigned n;
    /* Called with 0 after the last step, or with -errno of the step that failed. Ends the op. */
    void (*end)(struct op *op, int error);
};

/* Initialises a struct op_sequence with a table of steps. */
#define OP_SEQUENCE_OF(steps, end)                                                                 \
    {                                                                                              \
        steps, sizeof(steps) / sizeof(*(steps)), end                                               \
    }

/* Starts with the first step. All steps may have ended before it returns. */
void op_sequence_start(struct op *op, const struct op_sequence *seq);

/* Ends the current step. Can be passed as the `then` callback of any service: (op, 0 or -errno). */
void op_step_done(struct op *op, int error);

#endif
