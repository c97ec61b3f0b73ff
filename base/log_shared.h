/* Level and form of log lines for a process and all that it forks: a page that it alone can write
 * to, and that they see. */
#ifndef BASE_LOG_SHARED_H
#define BASE_LOG_SHARED_H

#include <stdint.h>

#include "base/err.h"

/* Makes the page, with this value. 0 or -errno: then log_shared_set fails. Once, before a fork. */
must_use int log_shared_new(uint32_t value);

/* Sets the value, from now on for all of them. For the process that made the page; 0, or -EPERM in
 * any other, -ENOENT if there is none. */
must_use int log_shared_set(uint32_t value);

/* The place of the value: read-only, lives as long as the process. NULL if there is none. */
const uint32_t *log_shared_value(void);

#endif
