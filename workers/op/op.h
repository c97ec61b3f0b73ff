/* One request, from reading it to replying, whichever front end it came through (the kernel's:
 * workers/handlers/fuse_op.h). Details that only its front end understands are not here.
 *
 * A handler (dispatch.c has the table) gets an op and either replies, or keeps it: op_keep() moves
 * the request from the read area into a journal record, and the handler returns while S3 requests
 * are running or `resume` is set. In both cases each op gets exactly one reply, through one of
 *   op_fail, op_answer, op_answer_iov   no change, or only changes that a second run of the handler
 *                                       would make again
 *   op_applied + op_finish              a change: op_applied stores the reply in the section that
 *                                       makes the change, so that a replacement only sends it
 *
 * When this worker dies, its replacement runs the handler again, from the start, for every op that
 * was not APPLIED, with what the handler had recorded in op->rec (change, session, node, target,
 * progress). Handlers must be written for that. */
#ifndef WORKERS_OP_OP_H
#define WORKERS_OP_OP_H

#include <sys/uio.h>

#include "shm/shm_session.h"
#include "workers/op/worker.h"

#define OP_ANCESTORS SHM_SESSION_FOLLOWERS

/* The process that made the request. */
struct op_caller {
    uint32_t pid; /* of the thread; 0: unknown, as for a RELEASE */
    uint32_t uid;
    uint32_t gid;
    uint32_t open_flags; /* O_… flags of a request that opens an existing file; else 0 */

    /* Filled in by variant->identify() and identify_family(), all zero if unknown. */
    struct shm_baseline_who self;
    int32_t parent; /* its process id */
    /* its parent, the parent's parent, ...; without init */
    struct shm_baseline_who up[OP_ANCESTORS];
    bool waits[OP_ANCESTORS]; /* up[i] waits for its child, and so do all before it */
    bool reaps[OP_ANCESTORS]; /* up[i]'s children stay until it has waited for them */
};

struct op;

/* What the front end that a request came through does for its op. */
struct op_front {
    /* The name of the request, for the log. */
    const char *(*name)(const struct op *op);
    /* Copies the request to `dst` (the op's record); `load` reads it from there after the move, or
     * after the worker's death. Returns its size, or 0: it does not fit. */
    size_t (*save)(const struct op *op, void *dst, size_t cap);
    void (*load)(struct op *op, const void *from, size_t len);
    /* Sends the reply: `error` (0 or -errno); if it is 0, the pieces in `iov`. Logs failures. */
    void (*send)(const struct op *op, int error, const struct iovec *iov, unsigned n);
    /* The reply for a request that takes too long: 0 or -errno. */
    int (*late_error)(const struct op *op);
    /* Under shm->meta. The client got the late_error() instead of this reply: takes back what the
     * reply would have given to it. */
    void (*not_told)(struct op *op, const void *reply, size_t len);
};

#define OP_REPLY_IOV 64 /* maximum number of pieces of one reply */

struct op {
    const struct op_front *front;
    struct worker *w; /* NULL = free */
    struct shm_record *rec;
    uint32_t rec_idx; /* index of the record; shm sizes.records = arena->current */
    bool waiting;     /* `resume` is called at each wake-up */
    bool stays;       /* an interrupt does not end it: it must be completed */
    bool told;        /* late_error() was sent, see op_limits(); rec->told outlives the worker */
    bool ends_late;   /* ... but the time limit does: what it started no longer needs the op */
    bool logged;      /* that it failed is in the log */
    bool queues;      /* many such ops may queue up in the kernel, unseen by us: op_limits() */
    bool untimed;     /* the kernel does not wait for it: op_limits() does not apply */
    bool waited;      /* for the handler: it has waited for others once, and does so no more */
    bool reserved;    /* may take the last records, as no client repeats it */
    struct op_caller caller;
    void *client;      /* for the front end */
    struct s3_req *s3; /* running S3 request: cancelled when the op is interrupted */

    /* Called when something that the op waits for may have happened: checks again, then replies,
     * continues, or goes on waiting. */
    void (*resume)(struct op *op);
    /* Data of the handler while the op is kept; freed with state_free (NULL: nothing to free) when
     * the op gets its reply or is interrupted. state_free cancels everything that `state` still has
     * running. */
    void *state;
    void (*state_free)(void *state);
    /* the operation of several steps, and the index of its current step */
    const struct op_sequence *sequence;
    unsigned at;
    /* Ends the op with this error, when it is interrupted or exceeds its time limit, and releases
     * what op->rec holds (a session ref, a busy mark). NULL: op_fail, nothing to release. */
    void (*abandon)(struct op *op, int error);
};

typedef void op_handler(struct op *op);

/* Keeps the request beyond this turn of the loop. 0; or -ENOMEM: no record is free, or the request
 * does not fit into one; then the op has already got an error reply. Call it before anything is
 * started for the op; pointers into the request change. Does nothing to an op that is already
 * kept. */
must_use int op_keep(struct op *op);

/* The record that the next op_keep will take (for all requests but RELEASE); SHM_NIL if none is
 * free. */
uint32_t op_next_record(const struct worker *w);

/* True while the op's request is still in the read area. */
bool op_is_current(const struct op *op);

/* Sets the handler's data of a kept op (see above). The op must have none. */
static inline void op_set_state(struct op *op, void *state, void (*state_free)(void *state))
{
    op->state = state;
    op->state_free = state_free;
}

/* Calls op->resume at each wake-up, until the op gets its reply or op_stop_waiting is called. The
 * op must be kept. */
void op_wait(struct op *op, void (*resume)(struct op *op));
void op_stop_waiting(struct op *op);

/* Send the reply. `error` is 0 or -errno. The op is gone afterwards. The two with data are for
 * requests without effects: a replacement may replay those. */
void op_fail(struct op *op, int error);
void op_answer(struct op *op, const void *data, size_t len);
void op_answer_iov(struct op *op, const struct iovec *iov, unsigned n);
/* Ends an op that gets no reply (FORGET). */
void op_done(struct op *op);

/* Under shm->meta, as the last call in the section: the effect and this reply become one unit. len
 * <= SHM_RECORD_REPLY. */
void op_applied(struct op *op, int error, const void *data, size_t len);
/* Under shm->meta: the same, with arena->reply[0 .. len) as the reply. */
void op_applied_in_arena(struct op *op, size_t len);
/* After unlocking: sends the reply that op_applied stored. The op is gone afterwards. */
void op_finish(struct op *op);

/* Under shm->meta: saves op->rec before a change of its change, session, node or target, and
 * returns it. */
struct shm_record *op_edit(struct op *op);

/* Under shm->meta, kept ops only: saves op->rec->progress before a change, and returns it. */
union shm_progress *op_progress(struct op *op);

/* The tag of this op for shm_node_set_busy(): the replacement of a worker has the same. Kept ops
 * only. */
uint32_t op_tag(const struct op *op);

/* Not under a lock. Keeps a copy of up to SHM_REQUEST_MAX bytes where a replacement of this worker
 * finds them, in place of what was put there before: what is nowhere else for a while. `len` 0:
 * nothing is kept any more. False: there is no room for it. Requires a kept op. */
bool op_put_aside(struct op *op, const void *data, size_t len);

/* What was put aside; NULL: nothing. */
const void *op_aside(const struct op *op, size_t *ret_len);

/* Under shm->meta. The node of the request (rec->node_id): SHM_NIL if unknown (reply ESTALE). */
uint32_t op_node(const struct op *op);

/* For front ends. A new op for this record of our own arena, with `front` set and nothing known
 * about the request yet; call op_note() once it has been decoded. There is one op for each
 * record. */
struct op *op_new(struct worker *w, const struct op_front *front, uint32_t rec_idx);

/* For front ends that read no request into the arena: a new op of this opcode in a record of its
 * own, kept from the start and without a time limit. NULL if no record is free. */
must_use struct op *op_new_kept(struct worker *w, const struct op_front *front, uint32_t opcode);

/* For front ends: writes the request's header into the record. If a replacement takes the request
 * over, the recorded effects are kept. `opcode`: the front end's, for status displays. */
void op_note(struct op *op, uint64_t unique, uint32_t opcode, uint64_t node_id);

/* Runs the handler of the op's opcode. */
void op_dispatch(struct op *op);

/* Ends with EINTR the ops that were interrupted by a signal that kills their caller. Called at each
 * wake-up, and once a second. */
void op_interrupts(struct worker *w);

/* Replies to requests that are about to exceed the age limit of the kernel (env->request_limit_ns),
 * which would abort the whole connection: with ETIMEDOUT, a waiting lock with EAGAIN. An op that
 * `stays` continues all the same; so does a publish, which is a job of its session. Called once a
 * second. */
void op_limits(struct worker *w);

/* Calls `resume` of all waiting ops. */
void op_resume_all(struct worker *w);

/* True if an op is under way that will be completed whatever happens to its caller. */
bool op_any_stays(const struct worker *w);

#endif
