/* Files and TCP ports of this process, through Landlock. */
#ifndef SANDBOX_SANDBOX_PATHS_H
#define SANDBOX_SANDBOX_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SANDBOX_ABI_PORTS 4 /* since this one TCP ports can be restricted */

struct sandbox_paths {
    const char *const *read; /* files and directories whose content may be read; NULL-terminated */
    const uint16_t *ports;   /* TCP ports that may be connected to */
    size_t n_ports;
};

/* The version of Landlock that this kernel offers, 0 = none. */
unsigned sandbox_paths_abi(void);

/* Restricts the calling thread and what it starts, for ever: opens nothing but `read` (what is not
 * there is left out), and that for reading; executes nothing; connects over TCP to nothing but the
 * ports, and listens on none; signals nobody and inspects nobody outside. What is open stays open.
 * Needs no_new_privs. 0 or -errno. */
must_use int sandbox_paths_restrict(const struct sandbox_paths *paths, unsigned abi);

#endif
