/* What differs between the variants of stateproxy (s3-buffered-lww, s3-buffered-cas). Each is one
 * struct variant, put together in workers/variant/ from functions of the rooms below; a worker has
 * one (w->variant), chosen at its start. Nobody asks which variant runs: what has to be decided is
 * a member here. */
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
    bool truncate; /* nothing of the old content stays */
    bool append;   /* O_APPEND: built on whatever version is loaded */
    bool excl;     /* O_EXCL: the key must be absent */
};

/* The version that a DELETE means: of an unlink. */
struct delete_target {
    char etag[SHM_ETAG_MAX]; /* "" = whichever is there */
    char id[SHM_ID_LEN + 1]; /* its write-id, "" = not known */
    bool strict;             /* another version is not deleted: -EEXIST */
};

struct variant {
    /* ---- what holds ---- */

    /* Who opens a file for writing has a node of his own, PRIVATE, beside the one that the name
     * has, with a session that nobody else joins (workers/cas/cas.h, "Isolation"). Otherwise all
     * who have a name open share one node and, for writing, one session. */
    bool isolates;
    /* A write must replace the version that its process knows: there are baselines, versions carry
     * write-ids, and a refused PUT is -EEXIST. Otherwise the last writer wins. */
    bool expects;
    /* copy_file_range(2) of a whole file is one CopyObject. */
    bool copies_on_server;
    /* A directory is renamed key by key; otherwise -EXDEV, and mv(1) copies file by file. */
    bool renames_dirs;
    /* A rename of a file needs its bytes here. */
    bool rename_loads;

    /* ---- who asks ---- */

    /* Fill op->caller as far as the variant needs it. Not under a lock, once an op: of any caller;
     * with its ancestors, of one that writes or removes; of one that reads through this handle. */
    void (*identify)(struct op *op);
    void (*identify_family)(struct op *op);
    void (*identify_reader)(struct op *op, uint64_t fh);

    /* ---- sessions; all under shm->meta ---- */

    /* The node of a session with unpublished bytes that the caller has open on this name, beside
     * the name's own node; SHM_NIL if there is none. */
    uint32_t (*own_session)(struct op *op, uint32_t dir, const char *name, size_t len);
    /* The caller may use this session of a node, however it came to it. */
    bool (*may_join)(const struct op *op, uint32_t session);
    /* A session begins: what it expects. */
    void (*session_begins)(struct op *op, uint32_t session, struct session_start how);
    /* The caller sees the session's new file `node` in a listing of its directory, of which S3 does
     * not know yet. */
    bool (*is_listed)(const struct op *op, uint32_t session, uint32_t node);

    /* ---- versions; all under shm->meta ---- */

    /* S3 has told this object of the key. */
    void (*has_seen)(struct worker *w, const char *key, const struct s3_object *obj);
    /* The caller has read version `etag` of the node's key. */
    void (*has_read)(struct op *op, uint32_t node, const char *etag);
    /* The caller may replace version `etag` of the key without that S3 is asked for it before. */
    bool (*may_replace)(struct op *op, const char *key, const char *etag);
    /* A change of metadata was a copy of the node's version `from` onto itself: `to` now. */
    void (*was_copied)(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                       const char to[SHM_ETAG_MAX]);

    /* ---- operations ---- */

    /* Under shm->meta. What an unlink of the key deletes; `node`: what the LOOKUP found, SHM_NIL if
     * that is not known any more. */
    void (*unlink_target)(struct op *op, uint32_t node, const char *key, struct delete_target *ret);
    /* Not under a lock. The caller's unlink of this name in op_node() has succeeded; `from_s3`: by
     * a DELETE. */
    void (*unlinked)(struct op *op, const char *name, size_t len, bool from_s3);
    /* Renames op->rec->node, which is held (workers/handlers/rename.h). The op is kept. */
    void (*rename)(struct op *op, bool dir);
    /* The judgements of a publish (workers/write/publish_rules.h). */
    const struct publish_rules *publish;
};

#endif
