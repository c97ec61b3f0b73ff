/* Loading pages of a directory listing into the block pool, and interning what they show.
 *
 * A page is one block with the key (directory node, number of the listing = `content`, page
 * number). It is asked for with start-after the last name of the page before, never with a token:
 * so any worker can load any page, also again after it was evicted. One LIST answer of 1,000
 * entries may fill more than one page. */
#ifndef WORKERS_NAMES_LIST_H
#define WORKERS_NAMES_LIST_H

#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "workers/names/list_page.h"
#include "workers/op/op.h"

/* Of so many pages (about 1,000 names each) what they show is known by name afterwards, and the
 * pages stay for others who read the directory. What comes behind them streams through: each name
 * of a directory of 100,000 would be a node, and each of its pages a block. */
#define LIST_PAGES_KEPT 16

/* The page that a directory handle is about to read. */
struct list_want {
    uint32_t node;
    uint32_t content; /* of the handle */
    uint32_t page;
    uint64_t listing_ns;        /* when the listing began; 0 with page 0: it begins now */
    char start[LIST_START_MAX]; /* "" = from the first */
};

static inline struct shm_block_key list_key(const struct list_want *want)
{
    return (struct shm_block_key){want->node, want->content, want->page};
}

/* Starts loading; `op` (kept) is woken when it is done, and *ret_error of list_failed(op) tells if
 * it failed. Uses op->state. -EAGAIN: somebody else loads it already, or no block is free: wait for
 * a wake. */
must_use int list_load(struct op *op, const struct list_want *want);

/* The error with which the load that this op started ended, 0 if it goes on or went well. Clears
 * it. */
int list_failed(struct op *op);

/* Under shm->meta. What an entry in the listing of `dir` says, as a version. */
void list_version(struct worker *w, uint32_t dir, const struct list_entry *e,
                  struct shm_version *ret);

#endif
