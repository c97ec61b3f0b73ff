/* How much memory a worker has of its own. It has a limit (RLIMIT_DATA, sandbox.h); before a leak
 * reaches that, and requests fail with ENOMEM, the worker ends and is replaced by a new one. */
#ifndef WORKERS_PROCESS_LEAK_H
#define WORKERS_PROCESS_LEAK_H

#include <stdbool.h>
#include <stdint.h>

/* Before the sandbox, which has no /proc: opens what is read later, and gives threads of libraries
 * (name resolution) smaller stacks than 8 MiB. */
void leak_watch(void);

/* What this process has, in bytes. */
struct leak {
    uint64_t resident; /* in memory, with what it shares with others */
    uint64_t anon;     /* in memory, what it alone has */
    uint64_t reserved; /* what counts for RLIMIT_DATA */
};

/* False: leak_watch() was not called, or /proc is not there. */
bool leak_look(struct leak *ret);

/* True if that is nearly as much as `limit` bytes (0 = no limit). */
bool leak_is_large(const struct leak *now, uint64_t limit);

#endif
