/* What an operator is told of the limits that hold: of memory, and of the time requests take. */
#ifndef DAEMON_LIMITS_H
#define DAEMON_LIMITS_H

#include <stdio.h>

#include "conf/conf.h"
#include "shm/shm_segment.h"

/* For the `ready` line: how the memory is divided; begins with a space. */
void limits_title(const struct conf *conf, const struct shm_sizes *sizes, char *out, size_t cap);

/* For --check, a line for each. */
void limits_explain(const struct conf *conf, const struct shm_sizes *sizes, FILE *out);

#endif
