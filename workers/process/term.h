/* SIGTERM in a child that it ends. Children are forked with SIGTERM blocked, so that a SIGTERM from
 * another sender cannot kill them at any moment: a service manager sends it to all processes of the
 * service, but only the supervisor must act on it. */
#ifndef WORKERS_PROCESS_TERM_H
#define WORKERS_PROCESS_TERM_H

#include <stdbool.h>

#include "base/err.h"

/* A descriptor that becomes readable when SIGTERM arrives, or -errno. Requires SIGTERM to be
 * blocked. */
must_use int term_watch(void);

/* Reads the signal. True if the supervisor sent it: then the child must end. */
bool term_told(int fd);

#endif
