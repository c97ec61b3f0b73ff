/* The S3 keys of nodes: "<prefix>/<path>", byte for byte. */
#ifndef WORKERS_OP_KEY_H
#define WORKERS_OP_KEY_H

#include "s3/s3.h"
#include "workers/op/worker.h"

#define KEY_CAP (S3_KEY_MAX + 1)

/* Under shm->meta. The key of a node; for a directory with a slash at the end ("" is the whole
 * bucket). 0 or -ENAMETOOLONG. */
must_use int key_of_node(struct worker *w, uint32_t node, char out[KEY_CAP]);

/* Under shm->meta. The key that a session publishes. 0 or -ENAMETOOLONG. */
must_use int key_of_session(struct worker *w, uint32_t session, char out[KEY_CAP]);

/* Under shm->meta. The key of a name in a directory, without a slash at the end. 0, -ENAMETOOLONG
 * (name or key too long), -EINVAL for "", ".", "..", and names with a slash, -ENOTDIR. */
must_use int key_of_name(struct worker *w, uint32_t dir, const char *name, size_t len,
                         char out[KEY_CAP]);

/* Appends the slash that makes the key a directory's key. 0 or -ENAMETOOLONG. */
must_use int key_add_slash(char key[KEY_CAP]);

#define KEY_URL_MAX (KEY_CAP + 128) /* of key_url(), and NUL */

/* The object's "s3://BUCKET/KEY". */
void key_url(const struct worker *w, const char *key, char ret[KEY_URL_MAX]);

/* Under shm->meta. True if the node is the directory `dir`, or below it. */
must_use bool key_is_below(struct worker *w, uint32_t node, uint32_t dir);

/* Reserved for stateproxy itself below the mount's prefix (for the probe of the server): hidden
 * from the listing of the mount's root. */
#define KEY_RESERVED_DIR ".stateproxy-probe/"

/* True for keys below KEY_RESERVED_DIR, and the directory itself. */
bool key_is_reserved(const struct conf *conf, const char *key, size_t len);

#endif
