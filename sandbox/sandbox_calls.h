/* Which system calls each kind of process needs. */
#ifndef SANDBOX_SANDBOX_CALLS_H
#define SANDBOX_SANDBOX_CALLS_H

#include "sandbox/sandbox_filter.h"

/* Lists end with a negative number. */
/* memory, time, descriptors that are open, a log line, the end */
extern const struct sandbox_rule sandbox_calls_base[];
/* start threads */
extern const struct sandbox_rule sandbox_calls_threads[];
/* open files to read them */
extern const struct sandbox_rule sandbox_calls_read[];
/* be a client over IP */
extern const struct sandbox_rule sandbox_calls_network[];
/* a worker: its spool, and those who connect to it */
extern const struct sandbox_rule sandbox_calls_serve[];
/* read the memory of others */
extern const struct sandbox_rule sandbox_calls_observe[];

#endif
