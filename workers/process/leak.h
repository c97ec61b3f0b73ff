/* How much memory a worker has of its own. It has a limit (RLIMIT_DATA, sandbox.h); before a leak
 * reaches that, and requests fail with ENOMEM, the worker ends and is replaced by a new one. */
#ifndef WORKERS_PROCESS_LEAK_H
#define WORKERS_PROCESS_LEAK_H

#include <stdbool.h>
#include <stdint.h>

/* Before the sandbox, which has no /proc: opens what is read later, and gives threads of libraries
 * (name resolution) smaller stacks than 8 MiB. */
void leak_watch(void);

/* True if this process has nearly as much as `limit` bytes (0 = no limit) of data. */
bool leak_is_large(uint64_t limit);

#endif
