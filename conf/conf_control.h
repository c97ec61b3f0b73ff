/* The default path of the control socket: a name made from the mount path, in a directory that
 * stateproxyctl can search for the daemons of this user. */
#ifndef CONF_CONF_CONTROL_H
#define CONF_CONF_CONTROL_H

#include <stddef.h>

#include "base/err.h"

/* The longest path of a Unix socket, with NUL. */
#define CONF_SOCKET_MAX 108

/* The directory: /run/stateproxy for root, else $XDG_RUNTIME_DIR/stateproxy, else
 * /tmp/stateproxy-UID. Whoever creates it uses mode 0700 and checks the owner. 0 or
 * -ENAMETOOLONG. */
must_use int conf_control_dir(char *const *env, char *out, size_t cap);

/* The default path of control.socket for a mount path. 0 or -ENAMETOOLONG. */
must_use int conf_control_default(char *const *env, const char *mount_path, char *out, size_t cap);

#endif
