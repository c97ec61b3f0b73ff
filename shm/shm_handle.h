/* Open files and directories: what a file handle (fh) of the kernel refers to. All functions
 * require shm->meta to be held and save what they change. */
#ifndef SHM_SHM_HANDLE_H
#define SHM_SHM_HANDLE_H

#include "shm/shm_node.h"

enum shm_handle_kind { SHM_HANDLE_FREE, SHM_HANDLE_FILE, SHM_HANDLE_DIR };

/* Writer, readers: any worker, under shm->meta; `seq_*` without it (a lost update only costs a
 * smaller read-ahead window). If the owner dies: rolled back. States: FREE -> FILE or DIR ->
 * FREE. */
struct shm_handle {
    uint32_t kind;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
    uint32_t node;
    uint32_t session;  /* open for writing: its session, else SHM_NIL */
    uint32_t flags;    /* O_ACCMODE, O_APPEND, ... of the open */
    uint32_t pid;      /* directory: the thread that opened it, 0 = unknown */
    uint32_t content;  /* directory: the listing it reads (struct shm_node.content) */
    uint64_t seq_next; /* file: offset after the last read (directory: when its listing began); */
    /* ... first offset not asked of S3 yet (directory: the one upon which `page` was turned to) */
    uint64_t seq_ahead;
    uint32_t seq_window; /* ... bytes to ask for at once */
    uint32_t page;       /* directory: page that `start` begins */
    uint16_t start_len;
    /* directory: name after which that page starts; room for a U+10FFFF after it */
    char start[SHM_NAME_MAX + 5];
};

struct shm_handle_table {
    uint32_t free_handle, fresh_handle; /* free chain (index + 1); first entry never used */
    uint32_t live;
    uint32_t unused;
    struct shm_handle slot[];
};

size_t shm_handle_size(const struct shm_sizes *sizes);
void shm_handle_init(struct shm *shm);
must_use int shm_handle_check(struct shm *shm, struct err *err);

const struct shm_handle *shm_handle_at(struct shm *shm, uint32_t idx);

/* Saves the handle and returns it. */
struct shm_handle *shm_handle_edit(struct shm *shm, uint32_t idx);

/* Not saved: only for `seq_*`, which plan the read-ahead (read_plan.h). They need not be correct:
 * what a dying process leaves there costs one request too many, or a smaller window. */
struct shm_handle *shm_handle_hints(struct shm *shm, uint32_t idx);

/* A handle on the node (increments its opens). Its index, or -ENFILE. */
must_use int64_t shm_handle_new(struct shm *shm, enum shm_handle_kind kind, uint32_t node,
                                uint32_t flags);
/* Frees it and decrements the node's opens. */
void shm_handle_free(struct shm *shm, uint32_t idx);

/* The fh that the kernel sees, and back: SHM_NIL if none of this kind is open. */
uint64_t shm_handle_fh(struct shm *shm, uint32_t idx);
uint32_t shm_handle_of_fh(struct shm *shm, uint64_t fh, enum shm_handle_kind kind);

/* The write session of an open file; SHM_NIL if fh is invalid, or not open for writing. */
uint32_t shm_handle_session(struct shm *shm, uint64_t fh);

#endif
