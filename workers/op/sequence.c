/* Operations of several steps: see sequence.h. */
#include "workers/op/sequence.h"

static void run_next(struct op *op)
{
    const struct op_sequence *seq = op->sequence;

    while (op->at < seq->n) {
        const struct op_step *step = &seq->steps[op->at];

        if (!step->skip || !step->skip(op)) {
            step->run(op);
            return;
        }
        op->at++;
    }
    seq->end(op, 0);
}

void op_sequence_start(struct op *op, const struct op_sequence *seq)
{
    op->sequence = seq;
    op->at = 0;
    run_next(op);
}

void op_step_done(struct op *op, int error)
{
    const struct op_step *step = &op->sequence->steps[op->at];

    if (error && !step->optional) {
        op->sequence->end(op, error);
        return;
    }
    op->at++;
    run_next(op);
}
