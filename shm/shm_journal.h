/* The journal: every request that a worker has read from the kernel and not replied to yet.
 *
 * Each worker slot has an arena. The kernel writes a request directly into the arena's read area;
 * the record `current` describes it. A request that must wait is copied into another record, and
 * the read area is free for the next. When a worker dies, its replacement walks the arena
 * (workers/process/recover.c):
 *   READING, non-zero header   delivered by the kernel, nothing done yet: handle it
 *   IN_FLIGHT                  handle it from the start
 *   APPLIED                    the effect is done, the reply is stored, perhaps sent: send it
 * APPLIED is set in the same locked section as the effect, so an effect happens exactly once; for
 * errors it is set before the reply is sent. If the kernel already had the reply, it rejects the
 * second one with ENOENT, which is harmless: both are the same. */
#ifndef SHM_SHM_JOURNAL_H
#define SHM_SHM_JOURNAL_H

#include <stdatomic.h>

#include "shm/shm_baseline.h"
#include "shm/shm_node.h"

#define SHM_READ_HEAD 80 /* before the payload: fuse_in_header and fuse_write_in */
/* A request that can wait. In its record: two names of 255 bytes and their header fit. A longer one
 * is beside the record: two of SHM_NAME_MAX fit. */
#define SHM_RECORD_REQUEST 696
#define SHM_REQUEST_MAX 2112
#define SHM_RECORD_REPLY 168 /* fuse_entry_out and fuse_open_out fit */
#define SHM_REPLY_MAX 65536  /* one READDIRPLUS reply */
#define SHM_LOST_MAX 8       /* DELETEs of the connector whose worker died */
#define SHM_COUNTED_MAX 512  /* nodes whose lookup count one READDIRPLUS reply may raise */

/* Requests of the connector have numbers beyond those of the kernel. They are never handled again:
 * their client lost its connection with the worker. */
enum shm_http_op {
    SHM_OP_HTTP_PUT = 0x10000,
    SHM_OP_HTTP_DELETE,
    SHM_OP_HTTP_META,
};

/* Its name; `other` for a request of the kernel. */
const char *shm_http_op_name(uint32_t opcode, const char *other);

enum shm_record_state {
    SHM_RECORD_FREE,
    SHM_RECORD_READING,
    SHM_RECORD_IN_FLIGHT,
    SHM_RECORD_APPLIED,
};

/* What a request has done to the content of its session (workers/write/session_change.h). */
enum shm_change {
    SHM_CHANGE_NONE,
    SHM_CHANGE_LOADING,   /* it waits for a load, and fails with its error */
    SHM_CHANGE_BEGUN,     /* counted in the session's `writing` */
    SHM_CHANGE_TRUNCATED, /* an open has truncated the file, which must not happen twice */
};

/* A DELETE of a key (workers/write/delete.h): the version that it refers to, because a replacement
 * must not use a version that the caller, or the mount, has learned of since. */
struct shm_deletion {
    uint32_t sent; /* 1: it was sent, and its result is not known */
    uint32_t unused;
    uint64_t sent_ns; /* when the last one was sent */
    char etag[SHM_ETAG_MAX];
    char id[SHM_ID_LEN + 8]; /* write-id of the version, "" = unknown */
};

/* A DELETE of the connector. What a dead worker had sent is kept (shm_arena.lost) for the client
 * that repeats it. `key`: its hash, 0 = none; `who`: the process that asked. */
struct shm_removal {
    struct shm_deletion sent; /* first, as in union shm_progress */
    uint64_t key;
    struct shm_baseline_who who;
};

/* Progress of a rename (workers/handlers/rename.h), in order. */
enum shm_rename_step {
    SHM_RENAME_BEGUN,  /* nothing done that is not safe to repeat */
    SHM_RENAME_MOVING, /* a directory: the target was empty; by now keys may have moved there */
    /* compare-and-set: the session's node has the new name and a new expectation */
    SHM_RENAME_AIMED,
    SHM_RENAME_COPIED, /* the new key has the file, as version `etag` */
    SHM_RENAME_TAKING, /* compare-and-set: the source is gone; open files of it follow */
};

/* Progress of a request with several effects: one member for each kind. */
union shm_progress {
    struct shm_deletion unlink;
    struct shm_removal removal;
    struct {
        /* enum shm_rename_step; last write wins, RENAME_NOREPLACE: copies that were sent, by all
         * workers */
        uint32_t step : 16, copies : 16;
        uint32_t moved;  /* keys of a directory, so far; only for display, and never saved */
        int64_t wall_ns; /* when it began, by the wall clock */
        char etag[SHM_ETAG_MAX];
        struct shm_deletion source; /* `id` is set before it is sent */
    } rename;
    struct {
        uint32_t sent; /* 1: the change of metadata may have been made */
        uint32_t unused;
        int64_t wall_ns; /* when the change was begun, by the wall clock; 0 = not yet */
    } meta;
};

/* struct shm_record: one request.
 * Writer:  the worker of the arena's slot; `interrupted`: any worker (atomic). Fields that change
 *          together with tables are changed under shm->meta and saved.
 * Readers: the same; stateproxyctl (may see a half-written record).
 * If owner dies: its replacement handles the request, as described above.
 * `crashes` counts the workers that crashed while they handled it; at 2 the reply is EIO, except
 * for requests that free something (workers/process/recover.c). */
struct shm_record {
    _Atomic uint32_t state;
    _Atomic uint32_t interrupted;
    uint64_t unique; /* of the request; 0 in `current` until decoded */
    uint32_t opcode;
    uint32_t crashes;
    uint64_t started_ns; /* monotonic */
    uint64_t node_id;    /* of the request: its node, or the directory of its name */
    uint32_t change;     /* enum shm_change: what this request has done to the session's content */
    uint32_t target;     /* node that a rename replaces, also marked busy; SHM_NIL */
    uint32_t session;    /* session that it holds a ref on; SHM_NIL */
    uint32_t node;       /* node that it has marked busy; SHM_NIL */
    uint32_t parked_len; /* WRITE: bytes in the parking file, at the place of this record */
    int32_t reply_error; /* APPLIED: 0 or -errno */
    uint32_t reply_len;  /* APPLIED: bytes in `reply`, or SHM_REPLY_IN_ARENA */
    uint32_t request_len;
    uint32_t told; /* it took too long and got the late reply (ETIMEDOUT), but continues: op.c */
    uint32_t batch_done; /* BATCH_FORGET: number of entries done */
    uint32_t aside_len;  /* bytes beside the record that a replacement needs: op_put_aside() */
    uint32_t entered;    /* it creates or removes a key in the directory `node`: hold_enter() */
    uint8_t reply[SHM_RECORD_REPLY];
    uint8_t request[SHM_RECORD_REQUEST]; /* shm_arena_request() */
    union shm_progress progress;         /* of a request that waits; initially zero */
    uint8_t unused[8];
};

/* reply_len: the reply is arena->reply[0 .. arena->reply_len) */
#define SHM_REPLY_IN_ARENA UINT32_C(0xffffffff)

/* struct shm_arena: the requests of one worker slot. Same writer and readers as struct shm_record.
 * `counted` lists the nodes whose lookup count was raised for the reply that is being built: if the
 * worker dies before APPLIED, recovery lowers the counts again, as the request is replayed. The
 * records follow in memory, and, at a page of their own, the requests that do not fit into them:
 * these are a hole as long as there are none. */
struct shm_arena {
    uint32_t pid;         /* of the worker in this slot; 0 = none yet */
    uint32_t incarnation; /* +1 with each worker */
    uint64_t turn_ns;     /* monotonic: when its loop last turned (watchdog) */
    uint32_t busy;        /* thousandths of its time in which it did not wait, lately; a hint */
    uint32_t fetching;    /* blocks that it is fetching; a hint */
    uint32_t counted_n;
    uint32_t reply_len;
    /* atomic: requests of the connector without a whole answer, of those that came before the
     * drain */
    uint32_t http_requests;
    /* crashes of workers in this slot that no request has been blamed for yet. Writer: the
     * supervisor, while there is no worker; then the replacement. */
    uint32_t crashed;
    uint32_t counted[SHM_COUNTED_MAX];
    /* a ring, under shm->meta; any worker takes what is there */
    struct shm_removal lost[SHM_LOST_MAX];
    uint32_t lost_n, unused;
    struct shm_record current;
    uint8_t reply[SHM_REPLY_MAX];
};

size_t shm_arena_size(const struct shm_sizes *sizes);
/* The bytes of one arena that are not a hole. */
size_t shm_arena_filled(const struct shm_sizes *sizes);
void shm_arena_init(struct shm *shm);
must_use int shm_arena_check(struct shm *shm, struct err *err);

/* Every node that is held (busy) is noted by a request in flight: otherwise it would be held for
 * ever. Locks. (Not part of shm_check(): tests of the tables hold nodes without a request.) */
must_use int shm_arena_check_holds(struct shm *shm, struct err *err);

struct shm_arena *shm_arena_of(struct shm *shm, uint32_t worker);
struct shm_record *shm_arena_record(struct shm *shm, uint32_t worker, uint32_t i);

/* Where a request of `len` bytes (up to SHM_REQUEST_MAX) is that belongs to this record. */
uint8_t *shm_arena_request(struct shm *shm, uint32_t worker, uint32_t i, size_t len);

/* SHM_REQUEST_MAX bytes beside this record, where a request is that is longer than
 * SHM_RECORD_REQUEST; else they are free. */
uint8_t *shm_arena_beside(struct shm *shm, uint32_t worker, uint32_t i);

/* Position of a walk through the journal: initially {0}. `worker`: of the record that was returned
 * last. */
struct shm_in_flight {
    uint32_t worker, next;
};

/* The next request without a reply (IN_FLIGHT, or APPLIED); NULL after the last one. Without a
 * lock: it may have got its reply by now. */
const struct shm_record *shm_in_flight_next(struct shm *shm, struct shm_in_flight *at);

/* The read area: SHM_READ_HEAD bytes, then `payload` bytes at a page boundary, contiguous. */
uint8_t *shm_arena_read_area(struct shm *shm, uint32_t worker);

/* Start and length of the memory that the kernel reads and writes in this arena, page-aligned, for
 * madvise(2). */
void *shm_arena_span(struct shm *shm, uint32_t worker, size_t *ret_len);

/* Identifies a record in struct shm_node.busy; never 0. */
static inline uint32_t shm_record_tag(uint32_t worker, uint32_t record)
{
    return (worker + 1) << 16 | (record + 1);
}

/* The record with this tag; NULL if no record has it, as for 0. */
const struct shm_record *shm_record_of_tag(struct shm *shm, uint32_t tag);

#endif
