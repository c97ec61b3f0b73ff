/* A list of permitted system calls as a seccomp filter. Which calls those are is in
 * sandbox_calls.h. */
#ifndef SANDBOX_SANDBOX_FILTER_H
#define SANDBOX_SANDBOX_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* One rule. The first one that applies to a call decides; a call to which none applies is
 * refused. */
struct sandbox_rule {
    int number;     /* SYS_... */
    int arg;        /* -1: applies to each call of this number; else the argument's index ... */
    uint32_t mask;  /* ... whose lower 32 bits, with this mask ... */
    uint32_t value; /* ... have this value */
    int error;      /* 0: permitted; else the errno that the call returns */
};

#define SANDBOX_SELF UINT32_MAX /* `value`: the id of this process */
#define SANDBOX_RULES_MAX 256

/* True if this kernel has seccomp filters, and this program knows them for its architecture. */
bool sandbox_filter_known(void);

/* From now on only the calls that the rules permit; for ever, in all threads, and in what this
 * process starts. A call that is refused is not executed: it returns ENOSYS, as on a kernel without
 * it, so that a C library falls back to an older one. The first refusal of each number is logged as
 * an error. Needs no_new_privs. 0 or -errno. */
must_use int sandbox_filter_install(const struct sandbox_rule *const *lists, size_t n_lists);

#endif
