/* Reads the memory of a process that waits for our reply, without the risk of a deadlock with
 * it. */
#ifndef WORKERS_NAMES_PEEK_H
#define WORKERS_NAMES_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEEK_PARTS 3
#define PEEK_MAX 4096 /* bytes of one part */
#define PEEK_WAIT_NS UINT64_C(100000000)

struct peek_part {
    uint64_t at;
    size_t len;
    bool text; /* a string: ends with its first NUL, which must be within `len` */
};

/* Reads `n` parts of the memory of the thread's process. `ret[i]` is valid until the next call.
 * False: no permission, no such memory, or it took longer than PEEK_WAIT_NS. */
bool peek(uint32_t tid, const struct peek_part *parts, unsigned n, const char *ret[PEEK_PARTS]);

/* For tests: true if an earlier peek still waits, so that further ones fail immediately. */
bool peek_is_stuck(void);

/* For tests on a busy machine: replaces PEEK_WAIT_NS. */
void peek_set_wait(uint64_t ns);

#endif
