/* The sandbox: what a process of the daemon may still do once it begins to read what a network, or
 * another process, sent. All run as the workers' user.
 *
 *   role      capabilities     files (Landlock)     TCP, to ports    system calls
 *   WORKER    none             name resolution      endpoint, proxy  read files, network, accept
 *   KEEPER    none             name resolution      its sources      read files, network
 *   NOTIFIER  none             none                 none             open descriptors
 *   TASK      none             none                 none             open descriptors
 *   OBSERVER  SYS_PTRACE and   any that it may      any              read files, memory of others
 *             DAC_READ_SEARCH
 *
 * All: no new privileges, no core dump, not dumpable. Landlock forbids to inspect processes
 * outside, so the observer has none; it reads nothing that came from a network. The supervisor is
 * outside: it mounts, starts processes, and parses nothing but its configuration. */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sandbox/sandbox_ports.h"
#include "sandbox/sandbox_user.h"

enum sandbox_role {
    SANDBOX_WORKER,
    SANDBOX_KEEPER,
    SANDBOX_NOTIFIER,
    SANDBOX_TASK,
    SANDBOX_OBSERVER,
};

/* Filled in by the supervisor before the first fork, constant afterwards. */
struct sandbox {
    bool on;                  /* false: processes change their user, and nothing else */
    struct sandbox_user user; /* of the workers */
    bool filters;             /* seccomp is there */
    unsigned landlock;        /* version of Landlock, 0 = none */
    struct sandbox_ports worker_ports, keeper_ports;
    uint64_t worker_memory; /* RLIMIT_DATA of a worker in bytes, 0 = none */
};

/* Finds out what this kernel offers: `filters`, `landlock`. Programs built with sanitizers use
 * neither, because the sanitizers' runtime needs more than they permit. */
void sandbox_look(struct sandbox *sb);

/* True if everything in the table above holds. */
bool sandbox_is_whole(const struct sandbox *sb);

/* "seccomp, Landlock": what is missing, "" = nothing. */
void sandbox_lacks(const struct sandbox *sb, char *out, size_t cap);

/* Restricts this process for ever, as its role demands. For a process with one thread, before it
 * reads anything from outside. `on` false: changes the user alone. 0; or -errno with *err: then the
 * process must end. */
must_use int sandbox_enter(const struct sandbox *sb, enum sandbox_role role, struct err *err);

#endif
