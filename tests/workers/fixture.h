/* What the tests of workers/ share: a worker with a small segment, memfds in place of spool files,
 * and a socket pair in place of the FUSE descriptor. It has no S3 client: what is tested here must
 * not send anything.
 *
 * "fx_" functions fail the running test where they meet an error. */
#ifndef TESTS_WORKERS_FIXTURE_H
#define TESTS_WORKERS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fuse/fuse_abi.h"
#include "shm/shm_session.h"
#include "workers/op/op.h"

#define FX_SLOT 1
#define FX_RECORDS 16
#define FX_SESSIONS 3
#define FX_BASELINES 32
#define FX_MEMORY (256u << 10) /* buffer.memory; all sessions together may take twice as much */

struct fx {
    struct worker w;
    struct worker_env env;
    struct conf conf;
    struct fuse_mount mount;
    int kernel; /* the other end of the channel */
};

/* cmocka set-up and tear-down: *state is a struct fx; the segment is checked at the end. */
int fx_setup(void **state);
int fx_teardown(void **state);

/* As a worker of this variant, from now on. */
void fx_set_variant(struct fx *fx, enum conf_variant which);

/* The worker dies, and its replacement comes: all that is its own is made anew, what is in the
 * segment stays. */
void fx_replace(struct fx *fx);

/* An answer that was sent: its error, and its data in `data` (cap bytes at most; NULL: none is
 * expected). False when nothing (more) was sent. */
bool fx_answer(struct fx *fx, uint64_t unique, int *ret_error, void *data, size_t len);

/* Writes a request into the read area, as the kernel does: header, arguments, and a name or data
 * behind. */
void fx_request(struct fx *fx, uint32_t opcode, uint64_t unique, uint64_t nodeid, const void *arg,
                size_t arg_len, const void *more, size_t more_len);

/* The same, taken up as an op that lies in the read area. */
struct op *fx_op(struct fx *fx, uint32_t opcode, uint64_t unique, uint64_t nodeid, const void *arg,
                 size_t arg_len, const void *more, size_t more_len);

struct shm_record *fx_record(struct fx *fx, uint32_t i);
uint32_t fx_state(struct shm_record *rec);

/* A new file in the root with a write session of one ref. */
uint32_t fx_session(struct fx *fx, const char *name, uint32_t *ret_node);

#endif
