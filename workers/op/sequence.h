/* Operations of several steps: the steps stand in one table, in order, which the handler follows
 * and, when its worker has died, the replacement too. A step that the record (op->rec) shows to be
 * done is skipped; every other one can be done again. */
#ifndef WORKERS_OP_SEQUENCE_H
#define WORKERS_OP_SEQUENCE_H

#include "workers/op/op.h"

struct op_step {
    /* Does the step, and calls op_step_done() at its end, at once or later. The op is kept; its
     * `state` is the step's to use, and free again at the end. */
    void (*run)(struct op *op);
    /* True: there is nothing (left) to do. NULL: there always is. */
    bool (*skip)(const struct op *op);
    bool optional; /* goes on though it failed */
};

struct op_sequence {
    const struct op_step *steps;
    unsigned n;
    /* After the last step: 0; or after one that failed: its -errno. Ends the op. */
    void (*end)(struct op *op, int error);
};

/* Initialises a struct op_sequence with a table of steps. */
#define OP_SEQUENCE_OF(steps, end)                                                                 \
    {                                                                                              \
        steps, sizeof(steps) / sizeof(*(steps)), end                                               \
    }

/* Begins with the first step, perhaps ending all of them before it returns. */
void op_sequence_start(struct op *op, const struct op_sequence *seq);

/* Ends the current step. May be handed on as any `then` of the services: (op, 0 or -errno). */
void op_step_done(struct op *op, int error);

#endif
