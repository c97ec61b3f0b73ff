/* What a CSI driver says beside the descriptor of a mount: one JSON object.
 *
 *   meta-fuse   {"volumeName": "..."}
 *   gcsfuse     {"bucketName": "...", "options": ["only-dir=...", ...]}
 *   mountpoint  {"bucketName": "...", "args": ["--prefix=...", ...], "env": ["NAME=...", ...]}
 *
 * The daemon's own configuration is the truth: nothing of it is taken over. But a bucket or a
 * prefix that contradicts it is refused, so that no volume shows what it does not name. Other
 * members, and a member that is null or missing, are ignored. */
#ifndef DAEMON_DRIVER_MESSAGE_H
#define DAEMON_DRIVER_MESSAGE_H

#include <stddef.h>

#include "conf/conf.h"

#define DRIVER_WORDS_MAX 256   /* options, or variables, in one message */
#define DRIVER_IGNORED_MAX 400 /* of their names, as text for the log */

/* `text` has `len` bytes, of at most FUSE_FD_MESSAGE_MAX. 0 and `ignored`: the names of the options
 * and variables that are not used ("allow-other,region"; never a value), cut with "..."; or:
 *
 *   -EINVAL  malformed, or a prefix without a value, with *err
 *   -EXDEV   another bucket or prefix than configured, with *err
 *   -ENOMEM */
must_use int driver_message_check(const struct conf *conf, const char *text, size_t len,
                                  char ignored[DRIVER_IGNORED_MAX], struct err *err);

#endif
