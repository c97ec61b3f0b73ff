/* Fetches object data into the block pool, for all workers: the GETs that this worker runs, and the
 * readers in this worker that wait for them. */
#ifndef WORKERS_READ_FETCH_H
#define WORKERS_READ_FETCH_H

#include "shm/shm_block.h"
#include "shm/shm_node.h"
#include "shm/shm_version_id.h"
#include "workers/op/key.h"
#include "workers/op/worker.h"

/* The version of a file to fetch. */
struct fetch_source {
    uint32_t of; /* the node being read */
    /* the node whose number its blocks carry: itself, or the node that it is a copy of */
    uint32_t node;
    uint32_t content;
    uint64_t size;
    char etag[SHM_ETAG_MAX];
    char key[KEY_CAP];
    /* "", or the version id to request, as the key has another object now (version_id.h) */
    char version[SHM_VERSION_ID_MAX];
};

/* Under shm->meta. Where the node's bytes are on S3: usually under its own key. 0 or -ENAMETOOLONG;
 * -ESTALE for a file that is not on S3. */
must_use int fetch_source(struct worker *w, uint32_t node, struct fetch_source *ret);

#define FETCH_RUN_MAX 512u /* blocks of one GET: 64 MiB, the largest read.part_size */

/* Starts GETs, conditional on the version, for those blocks of the bytes [from, to) that are
 * neither present nor being fetched. Bytes beyond `need` are read-ahead, which is skipped while
 * many fetches are running. 0; -EAGAIN: no block was free for the needed bytes (all are pinned or
 * being fetched: try again soon); -ENOMEM. */
must_use int fetch_start(struct worker *w, const struct fetch_source *src, uint64_t from,
                         uint64_t to, uint64_t need);

/* Starts one GET for n consecutive blocks of the file, the first being number `first`: they are
 * FETCHING, and this worker's. 0; or -ENOMEM or -EIO, and the blocks are free again. */
must_use int fetch_blocks(struct worker *w, const struct fetch_source *src, uint32_t first,
                          const uint32_t *block, uint32_t n);

/* These blocks of this worker will not be fetched: they are free again. */
void fetch_give_up(struct worker *w, const uint32_t *block, uint32_t n);

/* GETs of this worker that are under way, or wait for a connection. */
unsigned fetch_running(void);

/* True if so many blocks are being fetched that read-ahead has to wait: they cannot be evicted, and
 * a reader that needs a block now must find one. A hint. */
bool fetch_is_much(const struct worker *w);

/* A reader of this worker that waits for a block that this worker is fetching (SHM_BLOCK_MINE). */
struct fetch_wait {
    struct fetch_wait *next, **link; /* for fetch.c only; link NULL = not waiting */
    uint32_t no;
    /* Called with 0 when the block is present, or with the error of the fetch: -ESTALE (another
     * version), -ENOENT, what S3 returned. May be called from inside curl. */
    void (*done)(struct fetch_wait *wait, int error);
};

/* False if this worker is not fetching the block (any more): look it up again. */
must_use bool fetch_wait_for(struct shm_block_key key, struct fetch_wait *wait);
void fetch_wait_stop(struct fetch_wait *wait);

/* Stores bytes that came another way (with a LOOKUP) as block 0. When this returns the block is
 * present, unless no block was free. It is valid for the next opener even if another worker that
 * was fetching it dies. */
void fetch_put(struct worker *w, uint32_t bytes_node, uint32_t content, const uint8_t *data,
               uint32_t len);

/* Under shm->meta. True if the first block of the node's content is present (an empty file needs
 * none). */
bool fetch_has_start(struct worker *w, const struct shm_node *n);

/* Under shm->meta. True if the whole content is present and stays so while it is read: it is one
 * block. (Of several blocks some may be evicted meanwhile.) */
bool fetch_is_whole(struct worker *w, const struct shm_node *n);

/* Makes the first len bytes of a pinned block readable without a page fault: a SIGKILL that arrives
 * during such a fault, while the kernel copies a reply, would end the request with EIO. */
void fetch_make_present(struct worker *w, uint32_t block, uint32_t len);

#endif
