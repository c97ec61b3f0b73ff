/* What the connector has done to a key becomes known to the mount: its next lookup, listing or
 * stat(2) shows it, whatever was cached. */
#ifndef WORKERS_WRITE_NAMES_TELL_H
#define WORKERS_WRITE_NAMES_TELL_H

#include "workers/op/worker.h"

/* Under shm->meta; call worker_notify_kernel() after unlocking. The key (with the prefix of the
 * mount) has this version since `sent_ns` (monotonic; 0: another may have replaced it by now). Does
 * nothing for a key that is no name below the mount. */
void names_tell_put(struct worker *w, const char *key, uint64_t size, const char *etag,
                    uint64_t sent_ns);

/* The same: the key is gone. */
void names_tell_delete(struct worker *w, const char *key);

/* Under shm->meta. The version of this key that the table of names has; "" if it has none. */
void names_known_etag(struct worker *w, const char *key, char ret[SHM_ETAG_MAX]);

#endif
