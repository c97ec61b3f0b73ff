/* The differences between the variants of stateproxy (s3-buffered-lww, s3-buffered-cas,
 * s3-passthrough). Each variant is one struct variant, which workers/variant/ fills with functions
 * of the rooms below; a worker has one (w->variant), chosen at its start. No code asks which
 * variant runs: every decision that differs is a member here. Each variant has all functions, also
 * those that do nothing. */
#ifndef WORKERS_OP_VARIANT_H
#define WORKERS_OP_VARIANT_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/shm_baseline.h"
#include "shm/shm_node.h"

struct op;
struct worker;
struct s3_object;
struct publish_rules;

/* How a session begins. */
struct session_start {
    bool truncate; /* the old content is dropped */
    bool append;   /* O_APPEND: builds on whatever version is loaded */
    bool excl;     /* O_EXCL: the key must be absent */
    /* the version that the key has, "" = unknown; NULL: that of the session's node */
    const char *version;
};

/* The version that the DELETE of an unlink refers to. */
struct delete_target {
    char etag[SHM_ETAG_MAX]; /* "" = any version */
    char id[SHM_ID_LEN + 1]; /* its write-id, "" = unknown */
    bool strict;             /* do not delete another version: -EEXIST */
};

struct variant {
    /* ---- properties ---- */

    /* Each process that opens a file for writing gets its own node, PRIVATE, beside the node of the
     * name, with a session that no other process joins (workers/cas/cas.h, "Isolation"). Otherwise
     * all processes that open a name share one node and, for writing, one session. */
    bool isolates;
    /* A write must replace the version that its process knows: there are baselines, versions carry
     * write-ids, and a refused PUT is -EEXIST. Otherwise last write wins. */
    bool expects;
    /* Files are written from the beginning to the end, and their parts go to S3 meanwhile
     * (workers/write/stream.h). */
    bool streams;
    /* copy_file_range(2) of a whole file is a copy on the server. */
    bool copies_on_server;
    /* The connector answers queries. */
    bool queries;
    /* A directory is renamed key by key; otherwise -EXDEV, and mv(1) copies file by file. */
    bool renames_dirs;
    /* A rename of a file needs its bytes in the spool (unless the server keeps conditions on the
     * target of a copy). */
    bool rename_loads;

    /* ---- the caller ---- */

    /* Fill in the parts of op->caller that the variant needs. Not under a lock, once for each op:
     * `identify` for any caller; `identify_family` (with its ancestors) for a caller that writes or
     * removes; `identify_reader` for a caller that reads through this handle. */
    void (*identify)(struct op *op);
    void (*identify_family)(struct op *op);
    void (*identify_reader)(struct op *op, uint64_t fh);

    /* ---- sessions; all under shm->meta ---- */

    /* The node of a session with unpublished bytes that the caller has open under this name, other
     * than the name's own node; SHM_NIL if there is none. */
    uint32_t (*own_session)(struct op *op, uint32_t dir, const char *name, size_t len);
    /* True if the caller may use this session of a node, however the caller got to it. */
    bool (*may_join)(const struct op *op, uint32_t session);
    /* Sets what a new session expects. */
    void (*session_begins)(struct op *op, uint32_t session, struct session_start how);
    /* True if the caller sees the session's new file `node`, which is not on S3 yet, in a listing
     * of its directory. */
    bool (*is_listed)(const struct op *op, uint32_t session, uint32_t node);

    /* ---- versions; all under shm->meta ---- */

    /* S3 returned this object for the key. */
    void (*has_seen)(struct worker *w, const char *key, const struct s3_object *obj);
    /* The caller has read version `etag` of the node's key. */
    void (*has_read)(struct op *op, uint32_t node, const char *etag);
    /* The same for a caller of the connector, by key: it has read this version; it has deleted
     * it. */
    void (*has_read_key)(struct op *op, const char *key, const char *etag);
    void (*has_removed_key)(struct op *op, const char *key);
    /* True if the caller may replace version `etag` of the key without asking S3 for it first. */
    bool (*may_replace)(struct op *op, const char *key, const char *etag);
    /* A change of metadata copied version `from` of the node onto itself: the version is `to`
     * now. */
    void (*was_copied)(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                       const char to[SHM_ETAG_MAX]);

    /* The same by key. */
    void (*was_copied_key)(struct worker *w, const char *key, const char from[SHM_ETAG_MAX],
                           const char to[SHM_ETAG_MAX]);

    /* ---- operations ---- */

    /* Under shm->meta. The version that an unlink of the key deletes. `node`: the node that the
     * LOOKUP found, SHM_NIL if it is no longer known. */
    void (*unlink_target)(struct op *op, uint32_t node, const char *key, struct delete_target *ret);
    /* Not under a lock. The caller's unlink of this name in op_node() has succeeded; `from_s3`: by
     * a DELETE on S3. */
    void (*unlinked)(struct op *op, const char *name, size_t len, bool from_s3);
    /* Renames op->rec->node, which the op has locked (workers/op/hold.h,
     * workers/handlers/rename.h). The op is kept. */
    void (*rename)(struct op *op, bool dir);
    /* The rules of a publish (workers/write/publish_rules.h). */
    const struct publish_rules *publish;
};

#endif
