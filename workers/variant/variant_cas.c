/* s3-buffered-cas: compare-and-set. The rules are in workers/cas/; here they become members of
 * struct variant. */
#include <string.h>

#include "s3/s3.h"
#include "workers/cas/cas.h"
#include "workers/cas/cas_nodes.h"
#include "workers/handlers/rename.h"
#include "workers/variant/variant.h"
#include "workers/write/delete.h"
#include "workers/write/publish_rules.h"
#include "workers/write/session_end.h"

/* An unpublished file is visible only to the processes that write it, and only while the name has
 * no node. */
static bool cas_is_listed(const struct op *op, uint32_t session, uint32_t node)
{
    return cas_is_party(op, session) && shm_node_named(op->w->shm, node) == SHM_NIL;
}

static void cas_has_seen(struct worker *w, const char *key, const struct s3_object *obj)
{
    cas_saw(w, key, obj->etag, s3_object_meta(obj, LINEAGE_META));
}

/* Without a request to S3, a process may only replace a version that it knows itself. Otherwise, if
 * another machine has deleted the file meanwhile, its write would get a conflict over a version
 * that it never knew. */
static bool cas_may_replace(struct op *op, const char *key, const char *etag)
{
    char own[SHM_ETAG_MAX];

    cas_own_etag(op, key, own);
    return *own && strcmp(own, etag) == 0;
}

static void cas_was_copied(struct worker *w, uint32_t node, const char from[SHM_ETAG_MAX],
                           const char to[SHM_ETAG_MAX])
{
    cas_copied(w, node, from, to);
    cas_sessions_copied(w, node, from, to);
}

/* The version that the caller last read or wrote. For a link, or if the caller knows no version:
 * the one that the preceding LOOKUP found. */
static void cas_unlink_target(struct op *op, uint32_t node, const char *key,
                              struct delete_target *ret)
{
    struct worker *w = op->w;
    const char *now = node == SHM_NIL ? "" : shm_node_at(w->shm, node)->etag;

    *ret = (struct delete_target){.strict = true};
    if (!cas_is_link(w, node))
        cas_own_etag_of(op, key, now, ret->etag);
    if (*ret->etag)
        cas_id(op, key, ret->etag, ret->id);
    else if (node != SHM_NIL)
        memcpy(ret->etag, shm_node_at(w->shm, node)->etag, SHM_ETAG_MAX);
}

/* Orphans the sessions that the caller, or an ancestor that waits for it, has open on the name,
 * including those with nothing unpublished yet (a file that is created, unlinked, and then
 * written). Then updates what the caller expects of the key. One session at a time: a process may
 * have more of them than one locked section can change. */
static void forget_own(struct op *op, const char *name, size_t len)
{
    struct worker *w = op->w;
    char key[KEY_CAP];
    uint32_t at = 0, dir;

    while (at != SHM_NIL) {
        worker_lock(w);
        dir = op_node(op);
        at = dir == SHM_NIL ? SHM_NIL : cas_next_of_family(op, at, dir, name, len);
        if (at != SHM_NIL)
            session_orphan(w, at++);
        else if (dir != SHM_NIL && key_of_name(w, dir, name, len, key) == 0)
            cas_removed(op, key, op->rec->progress.unlink.etag); /* "": no DELETE was sent */
        worker_unlock(w);
    }
}

static void cas_unlinked(struct op *op, const char *name, size_t len, bool from_s3)
{
    forget_own(op, name, len);
    if (from_s3)
        cas_replaced(op, op->rec->node_id, name, len, false);
}

const struct variant variant_cas = {
    .isolates = true,
    .expects = true,
    /* Each key that is copied or moved needs a PUT of its own, with a write-id and a condition on
     * what it replaces. */
    .copies_on_server = false,
    .renames_dirs = false,
    .rename_loads = true,
    .identify = cas_identify,
    .identify_family = cas_identify_family,
    .identify_reader = cas_identify_reader,
    .own_session = cas_own_session,
    .may_join = cas_is_party,
    .session_begins = cas_begin,
    .is_listed = cas_is_listed,
    .has_seen = cas_has_seen,
    .has_read = cas_read,
    .has_read_key = cas_read_key,
    .has_removed_key = cas_removed_key,
    .may_replace = cas_may_replace,
    .was_copied = cas_was_copied,
    .was_copied_key = cas_copied_key,
    .unlink_target = cas_unlink_target,
    .unlinked = cas_unlinked,
    .rename = rename_cas,
    .publish = &publish_cas,
};
