/* Loads pages of a directory listing into the block pool, and interns their entries.
 *
 * A page is one block with the key (directory node, number of the listing = `content`, page
 * number). It is requested with start-after the last name of the page before, never with a token
 * (but see list.c for servers that ignore start-after): so any worker can load any page, also again
 * after its eviction. One LIST reply with 1,000 entries may fill more than one page. */
#ifndef WORKERS_NAMES_LIST_H
#define WORKERS_NAMES_LIST_H

#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "workers/names/list_page.h"
#include "workers/op/op.h"

/* For this many pages (about 1,000 names each) the entries are kept in the name table, and the
 * pages stay for other readers of the directory. Further pages only stream through: otherwise each
 * name of a directory of 100,000 would become a node, and each of its pages would occupy a
 * block. */
#define LIST_PAGES_KEPT 16

/* The page that a directory handle reads next. */
struct list_want {
    uint32_t node;
    uint32_t content; /* number of the handle's listing */
    uint32_t page;
    uint64_t listing_ns;        /* when the listing began; 0 with page 0: it begins now */
    char start[LIST_START_MAX]; /* "" = from the first name */
};

static inline struct shm_block_key list_key(const struct list_want *want)
{
    return (struct shm_block_key){want->node, want->content, want->page};
}

/* Starts loading; `op` (kept) is woken when it has ended, and then list_failed(op) returns its
 * error. Uses op->state. 0; -EAGAIN: another worker is loading it already, or no block is free:
 * wait for a wake-up; another -errno if the load could not be started. */
must_use int list_load(struct op *op, const struct list_want *want);

/* The error of the load that this op started; 0 if it is still running or has succeeded. Clears the
 * error. */
int list_failed(struct op *op);

/* Under shm->meta. The version of a file or directory according to an entry in the listing of
 * `dir`. */
void list_version(struct worker *w, uint32_t dir, const struct list_entry *e,
                  struct shm_version *ret);

#endif
