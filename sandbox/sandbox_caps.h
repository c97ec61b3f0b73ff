/* Capabilities of this process. */
#ifndef SANDBOX_SANDBOX_CAPS_H
#define SANDBOX_SANDBOX_CAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* True if the capability (CAP_... of linux/capability.h) is in the permitted set. */
bool sandbox_caps_have(unsigned cap);

/* Keeps capabilities over a change of the user, until sandbox_caps_set. 0 or -errno. */
must_use int sandbox_caps_survive(void);

/* No program that is executed later may gain any of them: empties the bounding set. Without
 * CAP_SETPCAP it stays as it is, which no_new_privs makes harmless. */
void sandbox_caps_bound(void);

/* From now on those in the mask (bit n: capability n) and no others, as far as they are permitted;
 * the ambient and inheritable sets are emptied. 0 or -errno. */
must_use int sandbox_caps_set(uint64_t mask);

#endif
