/* Object data into the block pool, for everybody: GETs that this worker runs, and who waits for
 * them here. */
#ifndef WORKERS_READ_FETCH_H
#define WORKERS_READ_FETCH_H

#include "shm/shm_block.h"
#include "shm/shm_node.h"
#include "shm/shm_version_id.h"
#include "workers/op/key.h"
#include "workers/op/worker.h"

/* The version of a file that is to be fetched. */
struct fetch_source {
    uint32_t of; /* the node that is read */
    /* whose number its blocks carry: its own, or that of the one it is a copy of */
    uint32_t node;
    uint32_t content;
    uint64_t size;
    char etag[SHM_ETAG_MAX];
    char key[KEY_CAP];
    /* "", or the key has another object: what to ask for (version_id.h) */
    char version[SHM_VERSION_ID_MAX];
};

/* Under shm->meta. Where the node's bytes are on S3: as a rule under its own key. 0 or
 * -ENAMETOOLONG; -ESTALE for a file that is not there. */
must_use int fetch_source(struct worker *w, uint32_t node, struct fetch_source *ret);

/* Starts GETs, pinned to the version, of those blocks of the bytes [from, to) that nobody has or
 * fetches. What lies beyond `need` is read-ahead, and left out when much is being fetched
 * already. 0; -EAGAIN: no block was free for what is needed (all are pinned or being fetched:
 * try again soon); -ENOMEM. */
must_use int fetch_start(struct worker *w, const struct fetch_source *src, uint64_t from,
                         uint64_t to, uint64_t need);

/* A reader here that waits for a block that this worker fetches (SHM_BLOCK_MINE). */
struct fetch_wait {
    struct fetch_wait *next, **link; /* of fetch.c; link NULL = not waiting */
    uint32_t no;
    /* The block is there (0), or the fetch failed: -ESTALE (another version), -ENOENT, what S3
     * says. May be called from inside curl. */
    void (*done)(struct fetch_wait *wait, int error);
};

/* False if this worker does not fetch it (any more): look again. */
must_use bool fetch_wait_for(struct shm_block_key key, struct fetch_wait *wait);
void fetch_wait_stop(struct fetch_wait *wait);

/* Bytes that came another way (with a look-up) become block 0: it is there when this returns,
 * unless no block can be had. Who opens the file next can rely on it, also if the worker dies that
 * fetches the same. */
void fetch_put(struct worker *w, uint32_t bytes_node, uint32_t content, const uint8_t *data,
               uint32_t len);

/* Under shm->meta. The first block of the node's content is there (of an empty file: nothing need
 * be). */
bool fetch_has_start(struct worker *w, const struct shm_node *n);

/* Under shm->meta. All of it is there, and will be as long as it is read: it is one block. (Of
 * many, some may be evicted meanwhile.) */
bool fetch_is_whole(struct worker *w, const struct shm_node *n);

/* Sees that the first len bytes of a pinned block can be read without a page fault: a SIGKILL
 * that met one while the kernel copies an answer would end the request with EIO. */
void fetch_make_present(struct worker *w, uint32_t block, uint32_t len);

#endif
