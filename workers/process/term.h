/* SIGTERM in a child that ends by it. Children are forked with SIGTERM blocked, so that there is no
 * moment in which one from elsewhere would kill them: a service manager sends it to all processes
 * of the service, and only the supervisor is to act on it. */
#ifndef WORKERS_PROCESS_TERM_H
#define WORKERS_PROCESS_TERM_H

#include <stdbool.h>

#include "base/err.h"

/* A descriptor that is readable when SIGTERM has come, or -errno. Wants SIGTERM blocked. */
must_use int term_watch(void);

/* Takes what has come. True if the supervisor sent it, who means it. */
bool term_told(int fd);

#endif
