/* s3-buffered-lww: all processes that open a name share one file, and the last writer wins. */
#include <string.h>

#include "workers/handlers/rename.h"
#include "workers/op/op.h"
#include "workers/variant/variant.h"
#include "workers/variant/variant_last.h"
#include "workers/write/publish_rules.h"

static void lww_identify(struct op *op)
{
    (void)op; /* the caller's identity does not matter */
}

static uint32_t lww_own_session(struct op *op, uint32_t dir, const char *name, size_t len)
{
    (void)op, (void)dir, (void)name, (void)len;
    return SHM_NIL; /* the session belongs to the name's own node */
}

static bool lww_may_join(const struct op *op, uint32_t session)
{
    (void)op, (void)session;
    return true;
}

static void lww_session_begins(struct op *op, uint32_t session, struct session_start how)
{
    if (how.excl)
        shm_session_edit(op->w->shm, session)->flags |= SHM_SESSION_EXCL;
}

static bool lww_is_listed(const struct op *op, uint32_t session, uint32_t node)
{
    (void)session;
    return shm_node_at(op->w->shm, node)->flags & SHM_NODE_CURRENT;
}

static void lww_was_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                           const char to[SHM_ETAG_MAX])
{
    (void)w, (void)node, (void)from, (void)to;
}

static void lww_unlinked(struct op *op, const char *name, size_t len, bool from_s3)
{
    (void)op, (void)name, (void)len, (void)from_s3;
}

const struct variant variant_lww = {
    .isolates = false,
    .expects = false,
    .copies_on_server = true,
    .queries = true,
    .renames_dirs = true,
    .rename_loads = false,
    .identify = lww_identify,
    .identify_family = lww_identify,
    .identify_reader = last_identify_reader,
    .own_session = lww_own_session,
    .may_join = lww_may_join,
    .session_begins = lww_session_begins,
    .is_listed = lww_is_listed,
    .has_seen = last_has_seen,
    .has_read = last_has_read,
    .has_read_key = last_has_read_key,
    .has_removed_key = last_has_removed_key,
    .may_replace = last_may_replace,
    .was_copied = lww_was_copied,
    .was_copied_key = last_was_copied_key,
    .unlink_target = last_unlink_target,
    .unlinked = lww_unlinked,
    .rename = rename_lww,
    .publish = &publish_lww,
};
