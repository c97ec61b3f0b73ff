/* What the tests of the segment share: a small segment, and short words for common steps.
 *
 * "fx_" functions fail the running test where they meet an error. Those that change tables take
 * and give back the lock themselves. */
#ifndef TESTS_SHM_FIXTURE_H
#define TESTS_SHM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#include <cmocka.h>

#include "shm/shm_node.h"
#include "shm/shm_segment.h"

/* Workers 4, nodes 64, long names 8 and 8, handles 16, sessions 4, records 4, blocks 8. */
extern const struct shm_sizes fx_small;

struct shm *fx_new(const struct shm_sizes *sizes);

/* cmocka set-up and tear-down: *state is a small segment, checked at the end. */
int fx_setup(void **state);
int fx_teardown(void **state);

void fx_lock(struct shm *shm);
void fx_unlock(struct shm *shm);

/* shm_check() finds nothing. */
void fx_check(struct shm *shm);

struct shm_version fx_file(const char *etag);
struct shm_version fx_dir(void);

/* Interns a file of this ETag / a directory; its index. */
uint32_t fx_put(struct shm *shm, uint32_t parent, const char *name, const char *etag);
uint32_t fx_mkdir(struct shm *shm, uint32_t parent, const char *name);

/* The current node of a name, SHM_NIL if none. */
uint32_t fx_find(struct shm *shm, uint32_t parent, const char *name);

/* Locked: count lookups up and down. */
void fx_ref(struct shm *shm, uint32_t idx, uint64_t n);
void fx_forget(struct shm *shm, uint32_t idx, uint64_t n);

/* Fills `out` with `len` bytes of a name made of `c`s and a number, NUL-terminated. */
void fx_name(char *out, size_t len, char c, unsigned number);

/* Random numbers that can be had again: the seed is STATEPROXY_TEST_SEED or random, and printed. */
uint64_t fx_seed(void);
uint64_t fx_rand(uint64_t *state);
static inline uint32_t fx_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(fx_rand(state) % n);
}

/* Runs fn(shm) in a child and returns its wait status. A core dump is not written. */
int fx_in_child(void (*fn)(struct shm *shm), struct shm *shm);

/* What the tests run under. */
bool fx_under_asan(void);
bool fx_under_valgrind(void);

#endif
