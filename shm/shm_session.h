/* Write sessions: files that are open for writing (or were truncated by path) and what of them is
 * not on S3 yet.
 *
 * The bytes lie in the spool slot with the session's index: a memfd while small, an unlinked file
 * beyond (workers/op/spool.h). All functions want shm->meta held and save what they change.
 */
#ifndef SHM_SHM_SESSION_H
#define SHM_SHM_SESSION_H

#include "shm/shm_baseline.h"
#include "shm/shm_node.h"

#define SHM_SESSION_PIDS 8
#define SHM_SESSION_FOLLOWERS 4
#define SHM_SESSION_META_MAX 1472 /* coded extended attributes, with NUL */

enum shm_session_state {
    SHM_SESSION_FREE,
    SHM_SESSION_LIVE,
    SHM_SESSION_CLOSING, /* unhooked from its node; publish.owner is emptying the spool slot */
};

/* Where the content is. */
enum shm_content {
    SHM_CONTENT_SPOOL,    /* in the spool */
    SHM_CONTENT_EMPTYING, /* in the spool; an open with O_TRUNC empties it, and is alone */
    SHM_CONTENT_S3,       /* on S3: version expect.etag of the key; until it has been loaded */
    SHM_CONTENT_COPY,     /* on S3, and unpublished here: that of `copy`; until somebody writes */
};

enum shm_session_flag {
    SHM_SESSION_ON_DISK = 1u << 0, /* the spool is the file, not the memfd */
    SHM_SESSION_NO_COPY = 1u << 1, /* COPY: the server would not copy: it is to be loaded and put */
    SHM_SESSION_LOST = 1u << 2,    /* COPY: it could not be loaded: nobody waits until it is */
    SHM_SESSION_XATTR = 1u << 3,   /* `xattr` is what the file has, to be told to S3 */
    /* created or truncated: publish even without a written byte */
    SHM_SESSION_UNPUBLISHED = 1u << 4,
    SHM_SESSION_EXCL = 1u << 5,   /* last write wins: it is to be a new file */
    SHM_SESSION_ORPHAN = 1u << 6, /* unlinked: nothing is published any more */
    /* more processes than fit `pids`: each counts as a living writer */
    SHM_SESSION_MANY_PIDS = 1u << 7,
    /* compare-and-set: another process has removed or replaced the file: it is not found by name
     * any more, and its upload will be refused */
    SHM_SESSION_REPLACED = 1u << 8,
    /* REPLACED: it has another name now, which the session does not follow */
    SHM_SESSION_MOVED = 1u << 9,
};

#define SHM_SESSION_FLAGS 10

/* What a publish of the session expects to replace, and what is known of the attempts so far. */
struct shm_expectation {
    char etag[SHM_ETAG_MAX]; /* the version that the session is built on; "": none, or not known */
    bool absent;             /* the key was not on S3 when the session began, nor published since */
    bool must;               /* compare-and-set: etag, or absence, must match; else it is a hint */
    bool refused;            /* what was read is outdated, or not known: nothing is published */
    bool lineage_known;      /* `lineage` is that of etag; else S3 is asked */
    /* etag is of an empty file that we made: all of them have it, so write-ids must tell */
    bool ours;
    /* a PUT (compare-and-set: with write_id; else of a new file) has begun, and its end is not
     * known */
    bool tried;
    uint8_t unused[2];
    uint64_t sent_ns; /* tried: when a PUT went out last (workers/op/settle.h) */
    /* Compare-and-set (workers/objmeta/lineage.h): of the publish under way, or of the last one */
    char write_id[SHM_ID_LEN + 4];
    char old_id[SHM_ID_LEN + 4]; /* of an attempt with other content whose end is not known */
};

enum shm_pid_flag {
    SHM_PID_OPENED = 1,
    SHM_PID_WROTE = 2, /* since the last publish */
    SHM_PID_KILLED = 4,
};

/* A version of another key, of which a session's content is to be a copy. */
struct shm_copy {
    char etag[SHM_ETAG_MAX];
    char key[SHM_LINEAGE_MAX - SHM_ETAG_MAX];
};

/* A process that opened or wrote the file: a FLUSH of any other publishes nothing. */
struct shm_session_pid {
    int32_t tid;    /* as the kernel tells it in requests: of the thread that was last seen */
    int32_t tgid;   /* 0 = free */
    uint64_t start; /* start time in clock ticks, tells a reused pid */
    uint32_t flags;
    uint32_t unused;
};

/* A job of a session (its load, its publish) and who does it. When the owner dies its replacement
 * begins the job anew: workers/process/recover.c. */
enum shm_job_state { SHM_JOB_IDLE, SHM_JOB_RUNNING };
struct shm_job {
    uint32_t state;
    uint32_t owner;    /* worker slot */
    uint32_t attempts; /* finished ones; a waiter waits for a later number than it saw */
    int32_t error;     /* of the last finished attempt: 0 or -errno */
};

/* Writer, readers: any worker, under shm->meta. If the owner of the lock dies: rolled back.
 * Lock-free: `size` may be read relaxed for a hint, nothing else.
 * States: FREE -> LIVE -> CLOSING -> FREE (a slot is emptied before it is free; if the worker that
 * does it dies, its
 *         replacement does); LIVE while refs > 0, or a job is RUNNING, or it is dirty, or an ORPHAN
 *         that readers have open.
 * Dirty means write_seq != published_seq or UNPUBLISHED. */
struct shm_session {
    uint32_t state;
    uint32_t generation;
    uint32_t node;
    uint32_t refs;    /* handles open for writing, and requests that use it without one */
    uint32_t content; /* enum shm_content */
    uint32_t flags;   /* enum shm_session_flag */
    uint32_t waiters; /* workers to wake when a job ends, a bit each */
    uint64_t size;
    int64_t mtime_ns;
    uint64_t write_seq;      /* +1 at each change of content */
    uint64_t published_seq;  /* write_seq that S3 has */
    uint64_t publishing_seq; /* that the running (or last) publish carries */
    uint64_t mem_reserved;   /* bytes of the memfd that are counted in the table's mem_used */
    /* requests that are changing the spool right now: no publish begins meanwhile */
    uint32_t writing;
    /* a WRITE failed: nothing is published until the file is emptied and begun anew */
    int32_t write_error;
    uint32_t unused;
    struct shm_job load;
    struct shm_job publish;
    struct shm_expectation expect;
    union {
        char lineage[SHM_LINEAGE_MAX]; /* of expect.etag, compare-and-set */
        struct shm_copy copy;          /* SHM_CONTENT_COPY, which that does not have */
    };
    /* offset from which on the content is not that of expect.etag; UINT64_MAX: it is */
    uint64_t changed_from;
    uint32_t cuts; /* times that the content became shorter: a READ that meets one is made again */
    struct shm_baseline_who parent; /* the opener's, if it is its baseline that rules; else zero */
    /* Its parent, that one's parent, ...: those who know the version that is expected, and have
     * only ever written the key, or wait for their child, know what is published as well. A free
     * place: zero. */
    struct shm_baseline_who follower[SHM_SESSION_FOLLOWERS];
    struct shm_session_pid pids[SHM_SESSION_PIDS];
    /* With SHM_SESSION_XATTR, else of no meaning. Last, and saved by shm_session_set_xattr
     * alone. */
    char xattr[SHM_SESSION_META_MAX];
};

struct shm_session_table {
    uint32_t live;
    uint32_t unused;
    uint64_t mem_used; /* bytes of all memfds */
    struct shm_session slot[];
};

size_t shm_session_size(const struct shm_sizes *sizes);
void shm_session_init(struct shm *shm);
must_use int shm_session_check(struct shm *shm, struct err *err);

const struct shm_session *shm_session_at(struct shm *shm, uint32_t idx);

/* Saves the session (but for `xattr`) and returns it. */
struct shm_session *shm_session_edit(struct shm *shm, uint32_t idx);

/* What describes the session beside its sizes, as `stateproxyctl sessions` shows it: where the
 * content is, its flags, its expectation. Returns how many of ret[]. */
#define SHM_SESSION_NAMES_MAX (1 + SHM_SESSION_FLAGS + 6)
unsigned shm_session_names(const struct shm_session *s, const char *ret[SHM_SESSION_NAMES_MAX]);

/* The spool holds the file. */
static inline bool shm_session_is_loaded(const struct shm_session *s)
{
    return s->content == SHM_CONTENT_SPOOL || s->content == SHM_CONTENT_EMPTYING;
}

/* A new session on the node, with one ref, size 0, in the spool. Its index, or -ENFILE without a
 * free slot. */
must_use int64_t shm_session_new(struct shm *shm, uint32_t node);

/* Unhooks it from its node, for `owner` to empty the spool slot (not under the lock) and then free
 * it. */
void shm_session_close(struct shm *shm, uint32_t idx, uint32_t owner);
/* CLOSING -> FREE. */
void shm_session_free(struct shm *shm, uint32_t idx);

/* Sets `xattr` and its flag. The text, with its NUL, must fit. */
void shm_session_set_xattr(struct shm *shm, uint32_t idx, const char *text);

bool shm_session_dirty(const struct shm_session *s);

/* The entry of this process: found by (tgid, start), or taken anew; NULL (and MANY_PIDS set) when
 * all are taken by others, or when the process is not known (tgid 0). */
struct shm_session_pid *shm_session_pid(struct shm *shm, uint32_t idx, int32_t tid, int32_t tgid,
                                        uint64_t start);

/* The same by tid alone: NULL if this thread has not been seen (or is 0). */
const struct shm_session_pid *shm_session_pid_by_tid(const struct shm_session *s, int32_t tid);

#endif
