/* s3-passthrough: files are streamed to S3 while they are written. Each process that writes has a
 * stream of its own, on a node of its own, beside the published version that all others see; the
 * stream that is completed last wins. */
#include <errno.h>
#include <string.h>

#include "workers/cas/cas.h"
#include "workers/cas/cas_nodes.h"
#include "workers/handlers/rename.h"
#include "workers/op/op.h"
#include "workers/variant/variant.h"
#include "workers/variant/variant_last.h"
#include "workers/write/delete.h"
#include "workers/write/publish_rules.h"
#include "workers/write/session_change.h"
#include "workers/write/session_end.h"

static void stream_session_begins(struct op *op, uint32_t session, struct session_start how)
{
    struct shm_session *s = shm_session_edit(op->w->shm, session);

    s->flags |= SHM_SESSION_STREAM;
    if (how.excl)
        s->flags |= SHM_SESSION_EXCL;
}

/* A file that is not published yet is visible only to the processes that write it. */
static bool stream_is_listed(const struct op *op, uint32_t session, uint32_t node)
{
    return cas_is_party(op, session) && shm_node_named(op->w->shm, node) == SHM_NIL;
}

static void stream_was_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                              const char to[SHM_ETAG_MAX])
{
    cas_sessions_copied(w, node, from, to);
}

/* Calls `change` for each session that the caller, or an ancestor that waits for it, has open on
 * the name. One session at a time: there may be more than one locked section can change. */
static void for_each_own(struct op *op, const char *name, size_t len,
                         void (*change)(struct worker *w, uint32_t session))
{
    struct worker *w = op->w;
    uint32_t at = 0, dir;

    while (at != SHM_NIL) {
        worker_lock(w);
        dir = op_node(op);
        at = dir == SHM_NIL ? SHM_NIL : cas_next_of_family(op, at, dir, name, len);
        if (at != SHM_NIL)
            change(w, at++);
        worker_unlock(w);
    }
}

/* What the caller still writes goes nowhere, as on a local disk. The stream of another process goes
 * on, and its close makes the file anew. */
static void stream_unlinked(struct op *op, const char *name, size_t len, bool from_s3)
{
    (void)from_s3;
    for_each_own(op, name, len, session_orphan);
}

/* Its key is about to be another object's. What was written is published by now. */
static void ends_here(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    if (!shm_session_dirty(s))
        s->write_error = -ESTALE;
}

/* The caller's own streams are published before (op_rename.c), and end with it; those of others go
 * on under the old name. */
static void stream_rename(struct op *op, bool dir)
{
    struct rename_args a = rename_args_of(op);

    if (!dir)
        for_each_own(op, a.name, a.len, ends_here);
    rename_lww(op, dir);
}

const struct variant variant_stream = {
    .isolates = true,
    .expects = false,
    .streams = true,
    .copies_on_server = false, /* its target would be a session that is not streamed */
    .renames_dirs = true,
    .rename_loads = false,
    .identify = cas_identify,
    .identify_family = cas_identify_family,
    .identify_reader = last_identify_reader,
    .own_session = cas_own_session,
    .may_join = cas_is_party,
    .session_begins = stream_session_begins,
    .is_listed = stream_is_listed,
    .has_seen = last_has_seen,
    .has_read = last_has_read,
    .has_read_key = last_has_read_key,
    .has_removed_key = last_has_removed_key,
    .may_replace = last_may_replace,
    .was_copied = stream_was_copied,
    .was_copied_key = last_was_copied_key,
    .unlink_target = last_unlink_target,
    .unlinked = stream_unlinked,
    .rename = stream_rename,
    .publish = &publish_stream,
};
