/* The control socket in the file system. */
#ifndef DAEMON_CONTROL_PATH_H
#define DAEMON_CONTROL_PATH_H

#include <sys/types.h>
#include <sys/un.h>

#include "base/err.h"

struct control_path {
    struct sockaddr_un addr;
    dev_t dev; /* of the socket that we bound: another one at this path is not ours */
    ino_t ino;
};

/* A listening socket (non-blocking, CLOEXEC), or -errno with *err; see control_open. */
must_use int control_path_listen(const char *path, const char *dir, struct control_path *ret,
                                 struct err *err);

/* Removes the socket if it is still the one that was bound. */
void control_path_remove(const struct control_path *path);

#endif
