/* Open files and directories: what a file handle (fh) of the kernel refers to. All functions
 * require shm->meta to be held and save what they change. */
#ifndef SHM_SHM_HANDLE_H
#define SHM_SHM_HANDLE_H

#include "shm/shm_node.h"

enum shm_handle_kind { SHM_HANDLE_FREE, SHM_HANDLE_FILE, SHM_HANDLE_DIR };

/* One place at which a file is being read, in order or in steps (workers/read/read_plan.h). A run
 * is what was read without a gap. A hint: it may be stale, or half written by a process that
 * died. */
struct shm_stream {
    uint64_t start; /* where the last run began */
    uint64_t next;  /* offset after the last read */
    uint64_t ahead; /* forwards: first offset not asked of S3 yet; backwards: the last one asked */
    int64_t stride; /* from the start of the run before to the last one's; 0 = unknown */
    uint32_t window;
    uint32_t holes; /* bytes that reads have left out, and may still come for */
    uint32_t run;   /* length of the run before the last one */
    uint32_t turn;  /* struct shm_handle.turn at its last read; 0 = unused */
    uint32_t hits;  /* how often `stride` has repeated */
    uint32_t first; /* 1: it began with the file's first READ of this handle */
};

#define SHM_STREAMS 5

#define SHM_START_MAX (SHM_NAME_MAX + 5) /* a name, a slash, U+10FFFF: after which a page starts */
#define SHM_START_INLINE 260             /* longer ones are beside the handle */

/* Writer, readers: any worker, under shm->meta. The streams are not saved: what a dying process
 * leaves there costs a request too many, or a smaller window. If the owner dies: rolled back.
 * States: FREE -> FILE or DIR -> FREE. */
struct shm_handle {
    uint32_t kind;
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
    uint32_t node;
    uint32_t session; /* open for writing: its session, else SHM_NIL */
    uint32_t flags;   /* O_ACCMODE, O_APPEND, ... of the open */
    uint32_t pid;     /* directory: the thread that opened it, 0 = unknown */
    uint32_t content; /* directory: the listing it reads (struct shm_node.content) */
    union {
        struct {
            uint64_t listing_ns; /* when its listing began */
            uint64_t turned_at;  /* offset of the request upon which `page` was turned to */
            uint32_t page;       /* the page that `start` begins */
            uint16_t start_len;
            char start[SHM_START_INLINE]; /* shm_handle_start() */
        };
        struct {
            uint32_t turn;     /* file: number of its reads */
            uint32_t last_run; /* length of the last run that ended with a jump */
            struct shm_stream stream[SHM_STREAMS];
        };
    };
};

/* A place in a file at which somebody reads ahead (shm_reader.h). */
struct shm_reader {
    uint32_t node, content; /* of its blocks */
    uint64_t start, off;    /* where it began, and has come to */
    uint64_t seen_ns;       /* 0 = unused */
};

#define SHM_READERS 64

/* Followed in memory by the long starts, SHM_START_MAX bytes for each handle: a hole while there
 * are none. */
struct shm_handle_table {
    uint32_t free_handle, fresh_handle; /* free chain (index + 1); first entry never used */
    uint32_t live;
    uint32_t unused;
    struct shm_reader reader[SHM_READERS];
    struct shm_handle slot[];
};

size_t shm_handle_size(const struct shm_sizes *sizes);
/* The bytes of it that are not a hole. */
size_t shm_handle_filled(const struct shm_sizes *sizes);
void shm_handle_init(struct shm *shm);
must_use int shm_handle_check(struct shm *shm, struct err *err);

const struct shm_handle *shm_handle_at(struct shm *shm, uint32_t idx);

/* Saves the handle and returns it. */
struct shm_handle *shm_handle_edit(struct shm *shm, uint32_t idx);

/* Not saved: only for the streams of a file. */
struct shm_handle *shm_handle_hints(struct shm *shm, uint32_t idx);

/* A handle on the node (increments its opens). Its index, or -ENFILE. */
must_use int64_t shm_handle_new(struct shm *shm, enum shm_handle_kind kind, uint32_t node,
                                uint32_t flags);
/* Frees it and decrements the node's opens. */
void shm_handle_free(struct shm *shm, uint32_t idx);

/* A directory: the name after which its page starts, start_len bytes (without a NUL), and how to
 * change it; `len` is at most SHM_START_MAX. */
const char *shm_handle_start(struct shm *shm, uint32_t idx);
void shm_handle_set_start(struct shm *shm, uint32_t idx, const char *start, size_t len);

/* The fh that the kernel sees, and back: SHM_NIL if none of this kind is open. */
uint64_t shm_handle_fh(struct shm *shm, uint32_t idx);
uint32_t shm_handle_of_fh(struct shm *shm, uint64_t fh, enum shm_handle_kind kind);

/* The write session of an open file; SHM_NIL if fh is invalid, or not open for writing. */
uint32_t shm_handle_session(struct shm *shm, uint64_t fh);

#endif
