/* One request, from being read to being answered, whichever front end it came through (the
 * kernel's: workers/handlers/fuse_op.h). What only its front end understands is not here.
 *
 * A handler (dispatch.c has the table) gets an op and either answers it, or keeps it: op_keep()
 * moves the request from the read area into a journal record, and the handler returns with S3
 * requests running or with `resume` set. Whatever way: each op is answered exactly once, by one of
 *   op_fail, op_answer, op_answer_iov   nothing was changed that a second run of the handler would
 *                                       not do again
 *   op_applied + op_finish              something was: op_applied stores the answer in the section
 *                                       that makes the change, so that a replacement only sends it
 *
 * When this worker dies, its replacement runs the handler of every op that was not APPLIED again,
 * from the start, with what the handler had recorded in op->rec (change, session, node, target,
 * progress).
 * Handlers are written for that.
 */
#ifndef WORKERS_OP_OP_H
#define WORKERS_OP_OP_H

#include <sys/uio.h>

#include "shm/shm_session.h"
#include "workers/op/worker.h"

#define OP_ANCESTORS SHM_SESSION_FOLLOWERS

/* Who asks. */
struct op_caller {
    uint32_t pid; /* of the thread; 0: not known, as of a RELEASE */
    uint32_t uid;
    uint32_t gid;
    uint32_t open_flags; /* O_…, of what opens a file that is there; else 0 */

    /* Filled by variant->identify() and identify_family(), all zero where it is not known. */
    struct shm_baseline_who self;
    int32_t parent;                           /* its process id */
    struct shm_baseline_who up[OP_ANCESTORS]; /* its parent, that one's parent, ...; not init */
    bool waits[OP_ANCESTORS];                 /* each of them, up to there, waits for its child */
};

struct op;

/* What an op asks of the front end that it came through. */
struct op_front {
    /* Of the request, for the log. */
    const char *(*name)(const struct op *op);
    /* Copies the request to `dst` (the op's record), from where `load` takes it after the move, or
     * after the worker's death. Its size, or 0: it does not fit. */
    size_t (*save)(const struct op *op, void *dst, size_t cap);
    void (*load)(struct op *op, const void *from, size_t len);
    /* Sends the reply: `error` (0 or -errno), or with 0 the pieces. Logs what goes wrong. */
    void (*send)(const struct op *op, int error, const struct iovec *iov, unsigned n);
    /* What a request is told that takes too long: 0 or -errno. */
    int (*late_error)(const struct op *op);
    /* Under shm->meta. The client was told that instead of this reply: what it would have had by
     * the reply is taken back. */
    void (*not_told)(struct op *op, const void *reply, size_t len);
};

#define OP_REPLY_IOV 64 /* pieces of one reply, at most */

struct op {
    const struct op_front *front;
    struct worker *w; /* NULL = free */
    struct shm_record *rec;
    uint32_t rec_idx; /* index of the record; shm sizes.records = arena->current */
    bool waiting;     /* `resume` is called at each wake */
    bool stays;       /* an interrupt does not end it: what it does must come to its end */
    bool told;        /* ETIMEDOUT was sent, see op_limits(); rec->told outlives the worker */
    bool ends_late;   /* ... but past the limit it does, as what it began needs it no more */
    bool queues;      /* one of many that may wait behind each other, unseen: op_limits() */
    bool reserved;    /* may take the last records: nobody repeats it */
    struct op_caller caller;
    struct s3_req *s3; /* running request: cancelled when the op is interrupted */

    /* Called when something that the op waits for may have happened: looks again, and answers, goes
     * on, or stays waiting. */
    void (*resume)(struct op *op);
    /* What the handler needs while the op is kept; `state` is freed with state_free (NULL: nothing)
     * when the op is answered or interrupted. state_free cancels what `state` still has running. */
    void *state;
    void (*state_free)(void *state);
    const struct op_sequence *sequence; /* of an operation of several steps, and the current one */
    unsigned at;
    /* Gives back what op->rec holds (a session ref, a busy mark) when the op is interrupted. NULL:
     * nothing. */
    void (*gives_back)(struct op *op);
};

typedef void op_handler(struct op *op);

/* Keeps the request beyond this turn. 0; or -ENOMEM: no record is free, and the op has been
 * answered with it. To be called before anything is started for the op; pointers into the request
 * change. Does nothing to a kept op. */
must_use int op_keep(struct op *op);

/* The record that the next op_keep will take (of all but RELEASE); SHM_NIL if none is free. */
uint32_t op_next_record(const struct worker *w);

/* True while the op's request still lies in the read area. */
bool op_is_current(const struct op *op);

/* The handler's state while the op is kept (see above). The op must have none. */
static inline void op_set_state(struct op *op, void *state, void (*state_free)(void *state))
{
    op->state = state;
    op->state_free = state_free;
}

/* Calls op->resume at each wake until the op is answered or op_stop_waiting. The op must be kept.
 * */
void op_wait(struct op *op, void (*resume)(struct op *op));
void op_stop_waiting(struct op *op);

/* Answers. `error` is 0 or -errno. The op is gone after each. Those with data are for requests
 * without effects: a replacement may answer them anew. */
void op_fail(struct op *op, int error);
void op_answer(struct op *op, const void *data, size_t len);
void op_answer_iov(struct op *op, const struct iovec *iov, unsigned n);
/* No answer is wanted (FORGET). */
void op_done(struct op *op);

/* Under shm->meta, last in the section: the effect and this answer become one. len <=
 * SHM_RECORD_REPLY. */
void op_applied(struct op *op, int error, const void *data, size_t len);
/* Under shm->meta: the same with arena->reply[0 .. len) as the answer. */
void op_applied_in_arena(struct op *op, size_t len);
/* After unlocking: sends what op_applied stored. The op is gone. */
void op_finish(struct op *op);

/* Under shm->meta: before changing change, session, node, target of op->rec. */
struct shm_record *op_edit(struct op *op);

/* Under shm->meta, kept ops only: before changing op->rec->progress. */
union shm_progress *op_progress(struct op *op);

/* The tag of this op for shm_node_set_busy(): stays the same through a worker's replacement. Kept
 * ops only. */
uint32_t op_tag(const struct op *op);

/* The node that the request is about (rec->node_id), under shm->meta: SHM_NIL if not known (answer
 * ESTALE). */
uint32_t op_node(const struct op *op);

/* For front ends. An op for this record of our own arena, with `front` set and nothing of the
 * request known; then op_note() when it has been decoded. There is one for each record. */
struct op *op_new(struct worker *w, const struct op_front *front, uint32_t rec_idx);

/* For front ends: the record's facts of a request. Of one that a replacement takes over the effects
 * so far are kept. `opcode`: the front end's, for status displays. */
void op_note(struct op *op, uint64_t unique, uint32_t opcode, uint64_t node_id);

/* For front ends: the op's request in its record; *ret_len: its bytes. */
const void *op_saved(const struct op *op, size_t *ret_len);

/* Runs the handler of the op's opcode. */
void op_dispatch(struct op *op);

/* Ends with EINTR the ops that were interrupted by a signal that their caller dies of. Called at
 * each wake, and once a second. */
void op_interrupts(struct worker *w);

/* Answers what is about to become older than the kernel lets a request be (env->request_limit_ns):
 * it would end the whole connection. ETIMEDOUT, a waiting lock EAGAIN. What `stays` goes on all the
 * same; so does a publish, which is a job of its session. Called once a second. */
void op_limits(struct worker *w);

/* Calls `resume` of all waiting ops. */
void op_resume_all(struct worker *w);

/* An op is under way that comes to its end whatever happens to its caller. */
bool op_any_stays(const struct worker *w);

#endif
