/* Nodes: what the kernel knows by a node id. A node is one *version* of one key, or a directory.
 *
 * A name (parent, bytes) maps to at most one *current* node. When a lookup finds another ETag, the
 * name gets a new node, and the old one stays, detached, for those who have it open: their page
 * cache and their pinned reads never mix two versions.
 *
 * All functions here require shm->meta to be held. Those that change something save it first
 * (shm_lock.h), so that the section in which they are called is all or nothing. */
#ifndef SHM_SHM_NODE_H
#define SHM_SHM_NODE_H

#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "shm/shm_segment.h"

#define SHM_NAME_MAX 1024  /* as long as a key of S3; no kernel with FUSE takes less */
#define SHM_NAME_INLINE 68 /* longer names are in one of the pools of long names */
#define SHM_ETAG_MAX 72    /* with quotes and NUL, as in S3 answers */
#define SHM_ROOT 0         /* index of the root node; its node id is FUSE_ROOT_ID, 1 */
#define SHM_MODE_UNSET UINT32_C(0xffffffff)
#define SHM_TIME_UNSET INT64_MIN /* as that of the last change of the content: mtime_ns */

enum shm_node_state { SHM_NODE_FREE, SHM_NODE_LIVE };

enum shm_node_flag {
    SHM_NODE_DIR = 1u << 0,
    SHM_NODE_CURRENT = 1u << 1, /* the name (parent, name) maps to it */
    SHM_NODE_LOCAL = 1u << 2,   /* not on S3 (yet): an unpublished file */
    /* compare-and-set: one caller's own node, to write through. It never was in the name table,
     * which holds what is published */
    SHM_NODE_PRIVATE = 1u << 3,

    /* how fresh */
    /* a file: a lookup has just validated it and no open has used that yet */
    SHM_NODE_FRESH = 1u << 4,
    /* a directory: S3 has its marker, as its newest listing has shown, or as it was put here */
    SHM_NODE_MARKER = 1u << 4,
    /* an OPEN or a replacing LOOKUP has just validated it: the next LOOKUP, if it follows at once
     * (the kernel repeats it), needs no request */
    SHM_NODE_LOOKED = 1u << 5,

    /* a directory */
    SHM_NODE_COMPLETE = 1u << 6, /* all its entries are nodes, as of listed_ns */
    /* a listing that began at listed_ns is under way, and no entry was evicted since */
    SHM_NODE_LISTING = 1u << 7,
    /* an entry was looked up since its newest listing began */
    SHM_NODE_WANTED = 1u << 8,
    SHM_NODE_ASK = 1u << 9, /* not META, and known for long enough to be worth a HEAD */

    /* metadata */
    /* mtime_ns was set by the user (or metadata), not by S3 or a write */
    SHM_NODE_MTIME_SET = 1u << 10,
    /* its object's metadata are known: from a GET or HEAD, or because we wrote them */
    SHM_NODE_META = 1u << 11,
    /* META: no regular file: `mode` has its type. A symbolic link, whose target is the content, or
     * a FIFO, socket or device, which is an empty object */
    SHM_NODE_TYPED = 1u << 12,
    /* META: there are others than mode, owner, time: new content keeps them */
    SHM_NODE_MORE = 1u << 13,
    SHM_NODE_XATTR = 1u << 14, /* MORE: extended attributes are among them */
    /* META: as of checked_ns there are no others, but perhaps a lineage (`traced`), and the content
     * type is S3's default */
    SHM_NODE_PLAIN = 1u << 15,
};

/* struct shm_node: 288 bytes, one node.
 * Writer:   any worker, under shm->meta.       Readers: the same.
 * If owner dies: rolled back by the next locker.
 * States:   FREE -> LIVE -> FREE. LIVE while the kernel counts lookups, children, handles or a
 *           session hang on it, or while it is cached in the list of evictable nodes.
 * Invariants: nlookup, children, opens, busy == 0 and session == NIL exactly for nodes on the
 * evictable list (the root never).
 *           CURRENT exactly for nodes in their hash chain. */
struct shm_node {
    uint16_t state;
    uint8_t no_name;     /* 1: its name was removed here, or given to another file */
    uint8_t traced;      /* PLAIN: 1: its metadata have a lineage (compare-and-set) */
    uint32_t generation; /* +1 at each reuse, so that old node ids do not match */
    uint32_t parent;
    uint32_t children;           /* number of LIVE nodes with this parent */
    uint32_t hash_next;          /* index + 1; chain of the name table, or of free nodes */
    uint32_t lru_prev, lru_next; /* indexes + 1; evictable list, 0 = end */
    uint32_t session;            /* open write session, SHM_NIL = none */
    uint32_t opens;              /* handles open on it */
    uint16_t name_len;
    uint16_t flags;
    uint32_t long_name; /* index into the pool for names of this length, SHM_NIL = inline */
    /* content generation: part of the block-cache key, changed whenever the bytes change;
     * directory: that of its newest listing */
    uint32_t content;
    uint64_t nlookup; /* references that the kernel holds */
    uint64_t ino;     /* st_ino: shm_node_ino_of() when it was new; kept when it is renamed */
    union {
        uint64_t size;     /* file */
        uint64_t moved_ns; /* directory: monotonic time of its last rename's end, 0 = none */
    };
    int64_t mtime_ns;
    uint64_t checked_ns; /* monotonic: when S3 last confirmed that this is current */
    union {
        /* directory: monotonic time at which its newest complete listing began; to be read with
         * shm_node_listed_ns */
        uint64_t listed_ns;
        struct {
            /* file: with LOOKED the thread that may repeat its LOOKUP; PRIVATE: the thread that it
             * was made for */
            uint32_t looked_by;
            union {
                /* file: the PRIVATE node (index + 1) that the kernel last got for this name, 0 =
                 * none */
                uint32_t told;
                uint32_t maker; /* PRIVATE: the process that it was made for, 0 = unknown */
            };
        };
    };
    /* permission bits, SHM_MODE_UNSET = the configured ones; TYPED: with the type */
    uint32_t mode;
    uint32_t uid, gid; /* SHM_MODE_UNSET = the configured ones */
    uint32_t busy;     /* an unlink or rename holds it: shm_record_tag(), 0 = none */
    union {
        /* file: with `content` the key of its blocks; a copy of a node uses those of the
         * original */
        uint32_t bytes_node;
        uint32_t entries; /* directory: CURRENT nodes in it */
    };
    uint32_t rdev;           /* of a device, in the kernel's form; else 0 */
    int64_t atime_ns;        /* set by the user (or metadata), or SHM_TIME_UNSET */
    int64_t ctime_ns;        /* of a change of attributes since mtime_ns, or SHM_TIME_UNSET */
    char etag[SHM_ETAG_MAX]; /* "" for directories and files not on S3 */
    char name[SHM_NAME_INLINE];
    uint32_t ino_next; /* index + 1; chain of the nodes with such numbers */
    uint32_t witness;  /* directory: a name that is in it, as workers/op/dir_witness.h has it */
};

/* Names that do not fit into a node are in one of two pools, by their length. The second one is a
 * hole in memory as long as there are no such names. */
enum shm_name_pool_no {
    SHM_NAMES_LONG,    /* up to SHM_NAME_LONG bytes: as long as those of other file systems */
    SHM_NAMES_LONGEST, /* up to SHM_NAME_MAX */
    SHM_NAME_POOLS
};

#define SHM_NAME_LONG 255

struct shm_long_name {
    uint32_t link; /* in use: the node that has it; free: the next free one, index + 1 */
    char bytes[];  /* SHM_NAME_LONG + 1, or SHM_NAME_MAX */
};

struct shm_name_pool {
    uint32_t free, fresh; /* free chain (index + 1); first entry never used */
    uint32_t hand;        /* where the search for one to evict continues; never saved */
    uint32_t unused;
};

#define SHM_REOPEN_SETS 256 /* a thread's notes are all in one of them; a power of two */
#define SHM_REOPEN_WAYS 4
#define SHM_REOPENS (SHM_REOPEN_SETS * SHM_REOPEN_WAYS)
#define SHM_REOPEN_ANYBODY UINT32_MAX

/* See shm_reopen.h. Writer, readers, lock, death: as struct shm_node. */
struct shm_reopen {
    uint64_t name;     /* as shm_node_name_id() */
    uint64_t since_ns; /* monotonic: when the OPEN that got ESTALE came in */
    /* the thread, SHM_REOPEN_ANYBODY if unknown; 0 = the slot is free */
    uint32_t pid;
    uint32_t noted_by;      /* that OPEN, as shm_reopen_request() */
    uint32_t repeated_by;   /* the OPEN that repeats it; 0 = none has come yet */
    uint32_t wants_private; /* it opens for writing, and needs a private node */
};

#define SHM_LISTERS 256

/* See shm_lister.h. Writer, readers, lock, death: as struct shm_node. */
struct shm_lister {
    uint64_t dir;     /* its node id */
    uint64_t fh;      /* the handle that it has, or had */
    uint64_t last_ns; /* monotonic: when it last read there, or looked at a name */
    uint32_t pid;     /* the thread, 0 = the slot is free */
    uint32_t open;    /* as far as the kernel has told */
};

/* Writer, readers, lock, death: as struct shm_node. Followed in memory by the hash heads (of names,
 * then of numbers), the nodes and the long names. Memory that was never used stays untouched
 * (`fresh`). */
struct shm_node_table {
    uint32_t free_node, fresh_node; /* free chain (index + 1); first entry never used */
    struct shm_name_pool names[SHM_NAME_POOLS];
    uint32_t lru_first, lru_last; /* most and least recently used evictable node; index + 1 */
    uint32_t live;
    uint32_t evictable;
    uint64_t evictions;
    uint64_t lookups; /* sum of all nlookup */
    uint32_t next_content;
    uint32_t unused;
    int64_t names_changed_ns; /* wall clock: when names of a directory were last changed here */
    uint64_t reopened_ns;     /* monotonic: when the newest OPEN in `reopens` came in */
    struct shm_reopen reopens[SHM_REOPENS];
    struct shm_lister listers[SHM_LISTERS];
} __attribute__((aligned(64)));

/* Compares ETags as versions. A version without an ETag equals no other. */
static inline bool shm_etag_same(const char *a, const char *b)
{
    return *a && strcmp(a, b) == 0;
}

/* Copies an ETag and zeroes the rest, since the tables compare and copy all of it. A longer one is
 * cut. `from` may be `to`. */
static inline void shm_etag_copy(char to[SHM_ETAG_MAX], const char *from)
{
    size_t len = strnlen(from, SHM_ETAG_MAX - 1);

    memmove(to, from, len);
    memset(to + len, 0, SHM_ETAG_MAX - len);
}

/* What S3 (or a write session) reports about a name. */
struct shm_version {
    bool dir;
    bool local; /* not on S3 yet */
    uint64_t size;
    int64_t mtime_ns;
    const char *etag;        /* "" or NULL for directories and unpublished files */
    uint32_t mode, uid, gid; /* SHM_MODE_UNSET = configured */
    /* its metadata are known: the three above, and these; else what was known of them stays */
    bool meta;
    uint32_t type; /* S_IFLNK, S_IFIFO, ...; 0 = a regular file, or a directory */
    uint32_t rdev;
    int64_t atime_ns, ctime_ns; /* or SHM_TIME_UNSET */
    bool more;
    bool xattr;
    bool plain;
    bool traced;
};

#define SHM_NODE_META_FLAGS                                                                        \
    (SHM_NODE_META | SHM_NODE_TYPED | SHM_NODE_MORE | SHM_NODE_XATTR | SHM_NODE_PLAIN)

/* True if its object had no metadata but mode, owner and time when it was checked. */
static inline bool shm_node_is_plain(const struct shm_node *n)
{
    return (n->flags & SHM_NODE_PLAIN) && !n->traced;
}

size_t shm_node_size(const struct shm_sizes *sizes);

/* Where the arrays behind the table are, in bytes from its beginning, and the bytes of a long name
 * with its link. */
struct shm_node_places {
    size_t heads, ino_heads, nodes;
    size_t names[SHM_NAME_POOLS], name_len[SHM_NAME_POOLS];
};

struct shm_node_places shm_node_places(const struct shm_sizes *sizes);

void shm_node_init(struct shm *shm);
/* Checks chains, lists, counts and names. 0 or -EUCLEAN. Takes shm->meta itself. */
must_use int shm_node_check(struct shm *shm, struct err *err);

/* The node with this index. */
const struct shm_node *shm_node_at(struct shm *shm, uint32_t idx);

/* The node id that the kernel sees, and back: SHM_NIL for an id that is not (or no longer) known.
 * */
uint64_t shm_node_id(struct shm *shm, uint32_t idx);
uint32_t shm_node_of_id(struct shm *shm, uint64_t id);

/* The current node of a name, SHM_NIL if there is none, which does not mean that the name does not
 * exist. */
uint32_t shm_node_find(struct shm *shm, uint32_t parent, const char *name, size_t len);

/* The current node of this node's name: itself, another one, or SHM_NIL. */
uint32_t shm_node_named(struct shm *shm, uint32_t idx);

/* A number for the node's directory and name, whatever file has them; the root's is 0. */
uint64_t shm_node_name_id(struct shm *shm, uint32_t idx);

/* True if it is, or was, a node of this name. */
bool shm_node_is_named(struct shm *shm, uint32_t idx, uint32_t parent, const char *name,
                       size_t len);

/* The nodes with the name, and the number, of this one, itself among them: after `at`, SHM_NIL for
 * the first; SHM_NIL at the end. With compare-and-set these are all nodes of the name. */
uint32_t shm_node_next_of_name(struct shm *shm, uint32_t at, uint32_t idx);

/* The type of a node that is no regular file and no directory (S_IFLNK, S_IFIFO, ...); else 0. */
static inline uint32_t shm_node_type(const struct shm_node *n)
{
    return n->flags & SHM_NODE_TYPED ? n->mode & S_IFMT : 0;
}

/* Gives `to`, which the caller has saved, the attributes of `from` and what is known of them. */
void shm_node_copy_meta(struct shm_node *to, const struct shm_node *from);

/* The version that the node, a file, stands for, with what is known of its metadata; `etag` points
 * into it. */
struct shm_version shm_node_version(const struct shm_node *n);

/* Makes (parent, name) map to a node of this version and marks it as checked now. It is the current
 * node if its type and ETag are the same (its attributes are updated; the type of a file counts if
 * the metadata are known), else a new one, and the old one is detached; a
 * current node with an open write session is kept as it is. Returns its index, or -ENOMEM if no
 * node (or none with a long name) can be evicted: the caller asks the notifier for help,
 * shm_notify.h; -EINVAL for a name of no or more than SHM_NAME_MAX bytes; on failure nothing was
 * changed. The node may be evictable: use it before unlocking, or pin it. `name` and v->etag may
 * point into a node. */
must_use int64_t shm_node_intern(struct shm *shm, uint32_t parent, const char *name, size_t len,
                                 const struct shm_version *v, uint64_t now_ns);

/* The name no longer maps to the node; handles and kernel references stay valid. Does nothing if it
 * is not current. The name may still exist: its directory is no longer known completely. */
void shm_node_detach(struct shm *shm, uint32_t idx);

/* The same if the name is known to be gone: the rest of the directory stays known. */
void shm_node_gone(struct shm *shm, uint32_t idx);

/* The same; the name was removed here, or given to another file, at this time (wall clock): the
 * node has no link any more (until it regains a name). */
void shm_node_unlinked(struct shm *shm, uint32_t idx, int64_t wall_ns);

/* The name maps again to the node that had lost it; the node that it maps to now is detached. */
void shm_node_regain(struct shm *shm, uint32_t idx);

/* A PRIVATE node of this name and version, beside the one that the name maps to. Its index, or
 * -ENOMEM, -EINVAL, as shm_node_intern. */
must_use int64_t shm_node_private(struct shm *shm, uint32_t parent, const char *name, size_t len,
                                  const struct shm_version *v, uint64_t now_ns);

/* Renames: (to_parent, name) maps to the node from now on; the node it mapped to before is
 * detached. 0, -ENOMEM (no long name can be evicted), -ELOOP if to_parent is idx or lies below it,
 * -EINVAL as above; on failure nothing was changed. A PRIVATE node gets the name in addition to the
 * node that has it. It keeps its `ino`, and so does everything below it; but with compare-and-set a
 * file gets that of its new name. */
must_use int shm_node_move(struct shm *shm, uint32_t idx, uint32_t to_parent, const char *name,
                           size_t len);

/* The kernel has got (or will get) n more references / has dropped n of them. An n that is too
 * large is cut. */
void shm_node_ref(struct shm *shm, uint32_t idx, uint64_t n);
void shm_node_forget(struct shm *shm, uint32_t idx, uint64_t n);

/* Adds or removes a handle. */
void shm_node_open(struct shm *shm, uint32_t idx);
void shm_node_close(struct shm *shm, uint32_t idx);

/* Sets or clears (SHM_NIL) the write session. */
void shm_node_set_session(struct shm *shm, uint32_t idx, uint32_t session);

/* Marks it as held by an unlink or rename (tag from shm_record_tag()), 0 = no longer: it is not
 * evicted meanwhile. */
void shm_node_set_busy(struct shm *shm, uint32_t idx, uint32_t tag);

/* Before changing fields of a node by hand: saves it and returns it. */
struct shm_node *shm_node_edit(struct shm *shm, uint32_t idx);

/* The node's bytes change (a publish; a new listing of a directory): cached blocks no longer
 * match. */
void shm_node_new_content(struct shm *shm, uint32_t idx);

/* Names of the directory came, went, or were given to other files, at wall_ns: its mtime and ctime
 * move, as POSIX has it. Python lists a directory again, and git looks there for untracked files,
 * only if its mtime has moved. In this memory alone: S3 has no time for a prefix, and one in the
 * marker would cost a request for each file. Does nothing for SHM_NIL. */
void shm_node_names_changed(struct shm *shm, uint32_t dir, int64_t wall_ns);

/* The listing of a directory is no longer known to be complete (an entry was added or removed). */
void shm_node_list_stale(struct shm *shm, uint32_t dir);

/* A rename of the directory has ended at this time, monotonic, whether or not it has succeeded: its
 * keys, and those below, were moved one by one. */
void shm_node_dir_moved(struct shm *shm, uint32_t dir, uint64_t now_ns);

/* True if the directory, or one above it, was renamed at this time (monotonic) or since: what S3
 * was asked before may have been about its old name. */
must_use bool shm_node_was_moved(struct shm *shm, uint32_t dir, uint64_t since_ns);

/* When the newest listing of the directory began, monotonic; 0 = there is none, or it may have been
 * made while keys were being moved, and show a part of them: the directory, or one above it, was
 * renamed since. */
must_use uint64_t shm_node_listed_ns(struct shm *shm, uint32_t dir);

/* Writes the path below the root ("a/b", "" for the root; no slash at the end) and NUL.
 * Its length, or -ENAMETOOLONG if it does not fit cap. */
must_use ssize_t shm_node_path(struct shm *shm, uint32_t idx, char *out, size_t cap);

/* The `ino` that a node of this name would have: there is none yet. A hash of the name and of the
 * directory's; or, where another file has that, which was renamed, or is removed and still open,
 * another hash. */
uint64_t shm_node_ino_of(struct shm *shm, uint32_t parent, const char *name, size_t len);

/* The heads of the chains of numbers (shm_node.ino_next), index + 1: as many as there are nodes. */
const uint32_t *shm_node_ino_heads(struct shm *shm);

/* The name in its directory, not NUL-terminated; name_len says how long. */
const char *shm_node_name(struct shm *shm, uint32_t idx);

/* The pool for names of this length, which must be more than SHM_NAME_INLINE. */
static inline enum shm_name_pool_no shm_name_pool_of(size_t len)
{
    return len <= SHM_NAME_LONG ? SHM_NAMES_LONG : SHM_NAMES_LONGEST;
}

/* How many names a pool has room for. */
uint32_t shm_name_pool_size(const struct shm_sizes *sizes, enum shm_name_pool_no no);

/* An entry of a pool: i is less than its size. */
const struct shm_long_name *shm_long_name_at(struct shm *shm, enum shm_name_pool_no no, uint32_t i);

/* A node that only the kernel holds (no child, handle, session): a candidate for
 * NOTIFY_INVAL_ENTRY. Checks up to `scan` nodes from *cursor on. SHM_NIL if there is none among
 * them. */
uint32_t shm_node_kernel_only(struct shm *shm, uint32_t *cursor, uint32_t scan);

#endif
