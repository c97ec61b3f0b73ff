/* Write sessions: files that are open for writing (or were truncated by path), and their content
 * that is not on S3 yet.
 *
 * The bytes are in the spool slot with the session's index: a memfd while they are few, an unlinked
 * file beyond that (workers/op/spool.h). All functions except shm_session_size, _init and _check
 * require shm->meta to be held, and save what they change. */
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
    SHM_SESSION_CLOSING, /* detached from its node; publish.owner is emptying the spool slot */
};

/* Where the content is. */
enum shm_content {
    SHM_CONTENT_SPOOL,    /* in the spool */
    SHM_CONTENT_EMPTYING, /* in the spool; an open with O_TRUNC is emptying it, exclusively */
    SHM_CONTENT_S3,       /* on S3: version expect.etag of the key; until it is loaded */
    /* on S3 under another key (`copy`), not yet published under this one; until a write */
    SHM_CONTENT_COPY,
    /* some of it in the spool, the rest on S3: version of the node (shm_patch.h) */
    SHM_CONTENT_PATCH,
};

enum shm_session_flag {
    SHM_SESSION_ON_DISK = 1u << 0, /* the spool is the file, not the memfd */
    /* COPY, PATCH: the server refused the copy: load the content and send it */
    SHM_SESSION_NO_COPY = 1u << 1,
    SHM_SESSION_LOST = 1u << 2,  /* COPY: the content could not be loaded: do not wait for it */
    SHM_SESSION_XATTR = 1u << 3, /* `xattr` has the file's attributes, which S3 does not have yet */
    /* created or truncated: publish even without a written byte */
    SHM_SESSION_UNPUBLISHED = 1u << 4,
    SHM_SESSION_EXCL = 1u << 5,   /* last write wins: the file must be new */
    SHM_SESSION_ORPHAN = 1u << 6, /* unlinked: it is never published any more */
    /* more processes than fit into `pids`: each of the others counts as a living writer */
    SHM_SESSION_MANY_PIDS = 1u << 7,
    /* compare-and-set: another process has removed or replaced the file: its name no longer leads
     * to the session, and the upload will be refused */
    SHM_SESSION_REPLACED = 1u << 8,
    /* REPLACED: the file has another name now, which the session does not follow */
    SHM_SESSION_MOVED = 1u << 9,
    /* it is only appended to, and its parts go to S3 while it is written
     * (workers/write/stream.h) */
    SHM_SESSION_STREAM = 1u << 10,
    /* it was empty at some time since it was published: no byte of that version is left */
    SHM_SESSION_RENEWED = 1u << 11,
    /* of the connector: it has no name in the mount. Its key is in `xattr`, and its node is PRIVATE
     * and stands for nothing */
    SHM_SESSION_KEYED = 1u << 12,
    /* no upload could be opened while it is written: the publish will try */
    SHM_SESSION_LATE = 1u << 13,
    /* a close or fsync, or the exit of a program that did not close it, has got the error of the
     * last publish of this very content, before the daemon was to end
     * (workers/write/session_told.h) */
    SHM_SESSION_TOLD = 1u << 14,
};

#define SHM_SESSION_FLAGS 15

/* What a publish of the session expects to replace, and the state of its attempts so far. */
struct shm_expectation {
    char etag[SHM_ETAG_MAX]; /* the version that the session is built on; "": none, or unknown */
    bool absent;  /* the key was absent on S3 when the session began, and not published since */
    bool must;    /* etag, or absence, must match (compare-and-set); else it is only a hint */
    bool refused; /* the version that was read is outdated or unknown: publish nothing */
    bool lineage_known; /* `lineage` belongs to etag; else S3 is asked for it */
    /* etag is of an empty file that we created: all empty files have it, so write-ids must
     * distinguish them */
    bool ours;
    /* a PUT (compare-and-set: with write_id; else of a new file) was sent, and its result is not
     * known */
    bool tried;
    bool spoilt; /* old_id may be that of an attempt with this content */
    uint8_t unused;
    uint64_t sent_ns; /* tried: when the last PUT was sent (workers/op/settle.h) */
    /* Compare-and-set (workers/objmeta/lineage.h): of the running publish, or of the last one */
    char write_id[SHM_ID_LEN + 4];
    char old_id[SHM_ID_LEN + 4]; /* of an attempt with other content whose result is not known */
};

enum shm_pid_flag {
    SHM_PID_OPENED = 1,
    SHM_PID_WROTE = 2, /* since the last publish */
    SHM_PID_KILLED = 4,
};

#define SHM_COPY_KEY_MAX 1025 /* a key of S3, and NUL */

/* A version of another key, which the content of the session will be a copy of. */
struct shm_copy {
    char etag[SHM_ETAG_MAX];
    char key[SHM_COPY_KEY_MAX];
};

/* A process that opened or wrote the file: a FLUSH from any other process publishes nothing. */
struct shm_session_pid {
    int32_t tid;    /* thread that was last seen, as in the request's header */
    int32_t tgid;   /* 0 = free */
    uint64_t start; /* start time in clock ticks, detects a reused pid */
    uint32_t flags;
    uint32_t unused;
};

/* An ancestor of the opener that knows the expected version: what the session publishes counts as
 * its own, if `child` (the opener, or the opener's ancestor below `who`) lives when S3 has it; at
 * once, or when it has waited for the child (shm_step.h). `child` zero: at once, whoever lives, as
 * `who` has only ever written the key. */
struct shm_session_follower {
    struct shm_baseline_who who, child;
};

/* A job of a session (its load, its publish, the opening of an upload before that) and the worker
 * that runs it. If the owner dies, its replacement ends the job, and the ops that need it start it
 * again: workers/process/recover.c. */
enum shm_job_state { SHM_JOB_IDLE, SHM_JOB_RUNNING };
struct shm_job {
    uint32_t state;
    uint32_t owner;    /* worker slot */
    uint32_t attempts; /* finished attempts; a waiter waits for a higher number than it saw */
    int32_t error;     /* of the last finished attempt: 0 or -errno */
};

/* Writer, readers: any worker, under shm->meta. If the owner of the lock dies: rolled back.
 * Lock-free: `size` may be read relaxed, as a hint; nothing else.
 * States: FREE -> LIVE -> CLOSING -> FREE (the spool slot is emptied before it is free; if the
 *         worker that empties it dies, its replacement does it); LIVE while refs > 0, or a job is
 *         RUNNING, or it is dirty, or it is an ORPHAN that readers have open.
 * Dirty means write_seq != published_seq or UNPUBLISHED. */
struct shm_session {
    uint32_t state;
    uint32_t generation;
    uint32_t node;
    uint32_t refs;    /* handles open for writing, and requests that use it without a handle */
    uint32_t content; /* enum shm_content */
    uint32_t flags;   /* enum shm_session_flag */
    uint32_t waiters; /* a bit for each worker to wake when a job ends */
    uint64_t size;
    int64_t mtime_ns;
    uint64_t write_seq;      /* +1 at each change of content */
    uint64_t published_seq;  /* write_seq that S3 has */
    uint64_t publishing_seq; /* write_seq of the content of the running (or last) publish */
    uint64_t mem_reserved;   /* bytes of the memfd that are counted in the table's mem_used */
    /* STREAM: the first `base` bytes are those of the object on S3, version expect.etag, and the
     * spool has the bytes from `held_from` on; between them are parts that S3 has. Both are 0 as
     * long as the spool has everything. */
    uint64_t base;
    uint64_t held_from;
    uint64_t ordered_to; /* the first bytes, written in order since the file was empty */
    /* number of requests that are changing the spool; no publish begins meanwhile */
    uint32_t writing;
    /* -errno of a failed WRITE: nothing is published until the file is truncated and written
     * again */
    int32_t write_error;
    /* of the last failed publish, or of a part that has failed: the status that S3 answered, 0 =
     * none; and enum s3_fail */
    uint32_t failed_http : 16, failed_how : 16;
    uint32_t releasing; /* STREAM: a bit for each worker that frees a range of the spool */
    struct shm_job load;
    struct shm_job publish;
    /* of its upload while the file is written. Its content, its name and what it expects may change
     * meanwhile; but a publish waits */
    struct shm_job opening;
    struct shm_expectation expect;
    /* PATCH: the object that a Complete makes which was sent, and of which it is
     * not known whether it has taken effect; "": none */
    char lost_etag[SHM_ETAG_MAX];
    char lineage[SHM_LINEAGE_MAX]; /* lineage of expect.etag, compare-and-set */
    /* offset from which on the content differs from that of expect.etag; UINT64_MAX: nowhere */
    uint64_t changed_from;
    uint32_t cuts; /* times that the content was shortened: a READ that overlaps one is repeated */
    /* a bit for each follower that waits for its child, at the open and when S3 has it */
    uint32_t at_once;
    /* the opener's parent, if the parent's baseline decides; else zero */
    struct shm_baseline_who parent;
    struct shm_session_follower follower[SHM_SESSION_FOLLOWERS]; /* free entries are zero */
    struct shm_session_pid pids[SHM_SESSION_PIDS];
    /* The rest is saved only by the functions that set it. */
    struct shm_copy copy; /* valid with SHM_CONTENT_COPY */
    /* Valid with SHM_SESSION_XATTR; with SHM_SESSION_KEYED it is the key. */
    char xattr[SHM_SESSION_META_MAX];
};

struct shm_session_table {
    uint32_t live;
    uint32_t used;     /* slots from this one on never had a session, and are holes */
    uint64_t mem_used; /* bytes of all memfds */
    /* a bit for each worker with ops that wait for a free slot: to wake when there is one */
    uint32_t room_waiters;
    uint32_t unused;
    struct shm_session slot[];
};

size_t shm_session_size(const struct shm_sizes *sizes);
must_use int shm_session_check(struct shm *shm, struct err *err);

/* The number of slots that are, or were, in use: the first ones. Never more than there are, also in
 * a read-only view. */
uint32_t shm_session_used(const struct shm *shm);

const struct shm_session *shm_session_at(struct shm *shm, uint32_t idx);

/* Saves the session (except `copy` and `xattr`) and returns it. */
struct shm_session *shm_session_edit(struct shm *shm, uint32_t idx);

/* The version that it is built on has this ETag now. Saves no more than that: many sessions may be
 * changed in one section. `etag` is padded with zeroes (shm_etag_copy). */
void shm_session_expect(struct shm *shm, uint32_t idx, const char etag[SHM_ETAG_MAX]);

/* Names for the state of the session, for `stateproxyctl sessions`: where the content is, its
 * flags, its expectation. Returns the number of entries in ret[]. */
#define SHM_SESSION_NAMES_MAX (1 + SHM_SESSION_FLAGS + 6)
unsigned shm_session_names(const struct shm_session *s, const char *ret[SHM_SESSION_NAMES_MAX]);

/* True if the content is in the spool. */
static inline bool shm_session_is_loaded(const struct shm_session *s)
{
    return s->content == SHM_CONTENT_SPOOL || s->content == SHM_CONTENT_EMPTYING;
}

/* True if changes of the content go to the spool, and what it has is read from there. */
static inline bool shm_session_has_spool(const struct shm_session *s)
{
    return shm_session_is_loaded(s) || s->content == SHM_CONTENT_PATCH;
}

/* What is missing of a patch is not asked for while a publish replaces the version that has it, nor
 * while a change may cut the file. */
static inline bool shm_session_may_ask(const struct shm_session *s)
{
    return s->content != SHM_CONTENT_PATCH || (s->publish.state == SHM_JOB_IDLE && !s->writing);
}

/* True if a load may begin. */
static inline bool shm_session_may_load(const struct shm_session *s)
{
    return s->load.state == SHM_JOB_IDLE && shm_session_may_ask(s);
}

/* The workers to wake when a job or a change has ended; `s` is saved. They note themselves again if
 * they go on waiting. */
static inline uint32_t shm_session_take_waiters(struct shm_session *s)
{
    uint32_t mask = s->waiters;

    s->waiters = 0;
    return mask;
}

/* A new session on the node, which must have none, with one ref, size 0, in the spool. Its index,
 * or -ENFILE if no slot is free. */
must_use int64_t shm_session_new(struct shm *shm, uint32_t node);

/* LIVE -> CLOSING: detaches the session from its node. `owner` then empties the spool slot (not
 * under the lock) and calls shm_session_free. */
void shm_session_close(struct shm *shm, uint32_t idx, uint32_t owner);
/* CLOSING -> FREE. */
void shm_session_free(struct shm *shm, uint32_t idx);

/* Sets `xattr` and its flag. The text must fit with its NUL; a longer one is cut. */
void shm_session_set_xattr(struct shm *shm, uint32_t idx, const char *text);

/* The content of the session is that of this version of this key (SHM_CONTENT_COPY). False, and
 * nothing is changed: the key does not fit. */
must_use bool shm_session_set_copy(struct shm *shm, uint32_t idx, const char *key,
                                   const char *etag);

/* Makes the session one of this S3 key: sets `xattr` and SHM_SESSION_KEYED. The key must fit. */
void shm_session_set_key(struct shm *shm, uint32_t idx, const char *key);

bool shm_session_dirty(const struct shm_session *s);

/* True if its file has been unlinked, or replaced by another, on this mount: it has no name under
 * which it could be reported. (A session whose file has only moved has one.) */
static inline bool shm_session_is_nameless(const struct shm_session *s)
{
    return (s->flags & SHM_SESSION_ORPHAN) ||
           ((s->flags & SHM_SESSION_REPLACED) && !(s->flags & SHM_SESSION_MOVED));
}

/* The entry of this process (tgid, start), which is created if there is none. NULL (and MANY_PIDS
 * is set) if all entries are taken by other processes, or if the process is unknown (tgid 0). */
struct shm_session_pid *shm_session_pid(struct shm *shm, uint32_t idx, int32_t tid, int32_t tgid,
                                        uint64_t start);

/* The entry with this tid; NULL if this thread has not been seen, or if tid is 0. */
const struct shm_session_pid *shm_session_pid_by_tid(const struct shm_session *s, int32_t tid);

#endif
