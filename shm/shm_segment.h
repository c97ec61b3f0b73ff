/* The shared segment: one memfd with all tables, created by the supervisor before the first fork.
 *
 * The header says where each table starts; inside the segment there are only indexes and offsets.
 * `struct shm` is a process's own view: pointers into its mapping. shm_layout.c lists the
 * tables. */
#ifndef SHM_SHM_SEGMENT_H
#define SHM_SHM_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "shm/shm_lock.h"

#define SHM_MAGIC UINT64_C(0x3159584f52505453) /* "STPROXY1" */
#define SHM_VERSION_MAX 24                     /* of PACKAGE_VERSION, with its NUL */
#define SHM_WORKERS_MAX 16
#define SHM_NIL UINT32_C(0xffffffff) /* no index */
#define SHM_BLOCK_SIZE (128u << 10)

/* Maximum of each that shm_create() accepts: indexes, and all sizes in bytes, stay far from
 * overflow. */
#define SHM_COUNT_MAX (1u << 24)
#define SHM_SESSIONS_MAX (1u << 16)
#define SHM_RECORDS_MAX 0xfffeu /* shm_record_tag() has 16 bits for one */
#define SHM_PAYLOAD_MIN 4096u   /* FUSE's least max_write; every payload is a multiple of it */
#define SHM_PAYLOAD_MAX (16u << 20)
#define SHM_PAGE_MIN 4096u /* smallest page of any machine */
#define SHM_PAGE_MAX (1u << 20)

/* Number of entries of each table; from the memory budget (shm_budget.h) and the configuration. */
struct shm_sizes {
    uint32_t workers;       /* 1..SHM_WORKERS_MAX */
    uint32_t nodes;         /* a power of two */
    uint32_t long_names;    /* number of names that do not fit into a node, of up to 255 bytes */
    uint32_t longest_names; /* the same, of up to SHM_NAME_MAX */
    uint32_t handles;
    uint32_t sessions; /* = spool slots */
    uint32_t records;  /* deferred requests of one worker */
    uint32_t blocks;
    uint32_t baselines; /* 0..SHM_BASELINES_MAX; 0 without compare-and-set */
    uint32_t payload;   /* largest WRITE payload: max_write */
    /* bytes of a page, to which tables are aligned: 0 for shm_create = this machine's (pages are
     * not 4 KiB everywhere) */
    uint32_t page;
};

enum shm_table {
    SHM_TABLE_META_LOCK,
    SHM_TABLE_NODE,
    SHM_TABLE_SESSION,
    SHM_TABLE_UPLOAD,
    SHM_TABLE_PATCH,
    SHM_TABLE_HANDLE,
    SHM_TABLE_FLOCK,
    SHM_TABLE_BASELINE,
    SHM_TABLE_CONFLICT,
    SHM_TABLE_WIN,
    SHM_TABLE_ABORT,
    SHM_TABLE_VERSION_ID,
    SHM_TABLE_NOTIFY,
    SHM_TABLE_BLOCK,
    SHM_TABLE_BLOCK_DATA,
    SHM_TABLE_ARENA,
    SHM_TABLE_STATS,
    SHM_TABLE_CRED,
    SHM_TABLE_FORM, /* shm_form.h */
    SHM_TABLES
};

/* The probe of the server, which may go on while the connector serves reads. */
enum shm_probe {
    SHM_PROBE_OVER, /* or there is none */
    SHM_PROBE_RUNS, /* writes wait */
    SHM_PROBE_FAILED,
};

/* Forms of folders that other programs made and that were seen here: where there are none, nobody
 * asks for them (workers/objmeta/folder.h). */
enum shm_folders {
    SHM_FOLDERS_BARE = 1u << 0,   /* an object without a slash */
    SHM_FOLDERS_SUFFIX = 1u << 1, /* name_$folder$ */
};

/* Writer: the supervisor, before the first fork; nobody after it, except `draining` and `probe`
 * (supervisor, atomic), `conditions` (the probe's task, then the supervisor), `habits`, `folders`
 * (workers, bits set atomically, none cleared), `retry_spent` and `refused` (workers: only a hint).
 * Readers: all, without lock. The tables have the layout of one version of the program, and only
 * stateproxyctl of the same version reads them; a daemon of another version carries them over
 * (shm_carry.h). `magic`, `version`, `form_off` and `form_len` never move. */
struct shm_header {
    uint64_t magic;
    char version[SHM_VERSION_MAX];
    uint64_t form_off; /* how all is laid out: shm_form.h */
    uint32_t form_len;
    uint32_t draining;      /* atomic: no new opens, finish what is open */
    uint32_t list_tokens;   /* atomic: the server ignores start-after (workers/names/list.c) */
    uint32_t folders;       /* atomic, bits set, none cleared: enum shm_folders */
    uint32_t habits;        /* of the S3 server: enum s3_habit */
    uint32_t retry_spent;   /* atomic, workers: tokens taken by retries (s3/s3_retry.h) */
    uint32_t refused;       /* atomic, workers: number of consecutive conditional writes that were
                           * refused */
    uint32_t abort_refused; /* atomic, workers: it has been logged that uploads cannot be aborted */
    uint32_t no_uploads;    /* atomic, workers: the server does not support multipart uploads */
    uint32_t no_part_copy;  /* atomic, workers: it refuses UploadPartCopy */
    uint32_t conditions;    /* atomic: what the server keeps: enum server_condition */
    uint32_t probe;         /* atomic: enum shm_probe */
    uint32_t gave_up; /* atomic, workers: while draining, a file's upload has failed for good */
    /* atomic, workers: second (monotonic) when parts were last sent early for nothing; 0 = never */
    uint32_t in_vain_s;
    uint64_t size;
    struct shm_sizes sizes;
    uint8_t hash_key[16]; /* SipHash key of the name table */
    uint64_t table_off[SHM_TABLES];
    uint64_t table_len[SHM_TABLES];
    char mount_path[512];
    uint64_t started_ns; /* wall clock */
};

struct shm_node_table;
struct shm_session_table;
struct shm_upload;
struct shm_patch;
struct shm_handle_table;
struct shm_flock_table;
struct shm_baseline_table;
struct shm_conflict_ring;
struct shm_win_table;
struct shm_abort_table;
struct shm_version_table;
struct shm_notify_ring;
struct shm_block_table;
struct shm_arena;
struct shm_stats;
struct shm_cred_table;

/* The view of one process. Not in the segment. */
struct shm {
    uint8_t *base;
    size_t size;
    int fd;
    struct shm_header *header;
    struct shm_mutex *meta; /* rank META */
    struct shm_node_table *nodes;
    struct shm_session_table *sessions;
    struct shm_upload *uploads;
    struct shm_patch *patches;
    struct shm_handle_table *handles;
    struct shm_flock_table *flocks;
    struct shm_baseline_table *baselines;
    struct shm_conflict_ring *conflicts;
    struct shm_win_table *wins;
    struct shm_abort_table *aborts;
    struct shm_version_table *version_ids;
    struct shm_notify_ring *notify;
    struct shm_block_table *blocks;
    uint8_t *block_data;
    struct shm_arena *arenas; /* shm_arena_of() */
    struct shm_stats *stats;
    struct shm_cred_table *creds;
};

/* Creates the segment and initialises all tables. 0 and *ret_shm, or -errno with *err (ENOMEM,
 * EINVAL for invalid sizes). The descriptor is CLOEXEC. Called once, before the first fork. */
must_use int shm_create(const struct shm_sizes *sizes, struct shm **ret_shm, struct err *err);

/* Maps a segment that shm_create made in a former image of this process, for writing; processes may
 * be at work in it. The caller trusts who wrote the tables, as every worker does; the header is
 * checked. 0 and *ret_shm; -EPROTO if it is not ours or of
 * another version; -ENOMEM. Takes `fd` on success. */
must_use int shm_attach(int fd, struct shm **ret_shm, struct err *err);

/* Maps a segment that was received as a descriptor, read-only: for stateproxyctl. Its writers may
 * be hostile: shm->header is a checked copy (its `draining` is of this moment), and every index
 * found in a table must be checked before use. 0 and *ret_shm; -EPROTO if it is not ours or of
 * another version. Takes `fd` on success. */
must_use int shm_open_readonly(int fd, struct shm **ret_shm, struct err *err);

/* A hash of a text, keyed by the segment, so that nobody can choose texts that collide; never 0. */
uint64_t shm_hash_text(const struct shm *shm, const char *text);

/* Unmaps and closes. The segment exists while other processes have it. NULL is allowed. */
void shm_close(struct shm *shm);

/* Runs every table's check. 0, or -EUCLEAN with *err describing the first inconsistency. Takes the
 * locks: not for a read-only view. */
must_use int shm_check(struct shm *shm, struct err *err);

#endif
