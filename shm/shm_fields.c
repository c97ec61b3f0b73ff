/* The lists of fields, table by table, in the order of shm_layout.c. What the kinds mean is in
 * base/form.h; where the arrays are, in shm_form.c.
 *
 * A field that changes its meaning (its unit, what a bit or a value of its enum says, what it
 * counts from) needs another name here and in its struct: segments of other versions are carried
 * over by these names. */
#include "shm/shm_fields.h"

#include "shm/shm_abort.h"
#include "shm/shm_baseline.h"
#include "shm/shm_conflict.h"
#include "shm/shm_cred.h"
#include "shm/shm_flock.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_notify.h"
#include "shm/shm_patch.h"
#include "shm/shm_session.h"
#include "shm/shm_trace.h"
#include "shm/shm_upload.h"
#include "shm/shm_version_id.h"
#include "shm/shm_win.h"

#define FIELDS(name, rows)                                                                         \
    const struct shm_fields shm_fields_##name = {rows, sizeof(rows) / sizeof((rows)[0])}

/* A hole, or what is written nowhere: `len` bytes behind a member. */
#define PAD_AFTER(type, member, len)                                                               \
    {                                                                                              \
        "pad", offsetof(type, member) + sizeof(FORM_OF(type, member)), len, 1, 0, FORM_PAD         \
    }
#define UNUSED(type, member) FORM_FIELD_AS(type, member, FORM_PAD)
/* A union of which `first` is one member, and `len` bytes. */
#define UNION(name, type, first, len)                                                              \
    {                                                                                              \
        name, offsetof(type, first), len, 1, 0, FORM_UNION                                         \
    }
/* The same in each of an array. */
#define EACH_UNION(name, type, array, first, len)                                                  \
    {                                                                                              \
        name, offsetof(type, array[0].first), len,                                                 \
            sizeof(FORM_OF(type, array)) / sizeof(FORM_OF(type, array[0])),                        \
            sizeof(FORM_OF(type, array[0])), FORM_UNION                                            \
    }
#define EACH_ALT(type, array, member) FORM_EACH_AS(type, array, member, FORM_ALT)
#define EACH_UNUSED(type, array, member) FORM_EACH_AS(type, array, member, FORM_PAD)
#define EACH_HINT(type, array, member)                                                             \
    FORM_EACH_AS(type, array, member, FORM_KIND_OF(FORM_OF(type, array[0].member)) | FORM_HINT)

/* ---- header, locks ---- */

#define T struct shm_header
static const struct form_field header[] = {
    FORM_FIELD_AS(T, magic, FORM_OWN),
    FORM_FIELD_AS(T, version, FORM_OWN),
    FORM_FIELD_AS(T, form_off, FORM_OWN),
    FORM_FIELD_AS(T, form_len, FORM_OWN),
    FORM_FIELD(T, draining),
    FORM_FIELD(T, list_tokens),
    FORM_FIELD(T, folders),
    FORM_FIELD(T, habits),
    FORM_FIELD(T, retry_spent),
    FORM_FIELD(T, refused),
    FORM_FIELD(T, abort_refused),
    FORM_FIELD(T, no_uploads),
    FORM_FIELD(T, no_part_copy),
    FORM_FIELD(T, conditions),
    FORM_FIELD(T, probe),
    FORM_FIELD(T, gave_up),
    FORM_FIELD(T, in_vain_s),
    FORM_FIELD_AS(T, size, FORM_OWN),
    FORM_FIELD_AS(T, sizes.workers, FORM_OWN),
    FORM_FIELD_AS(T, sizes.nodes, FORM_OWN),
    FORM_FIELD_AS(T, sizes.long_names, FORM_OWN),
    FORM_FIELD_AS(T, sizes.longest_names, FORM_OWN),
    FORM_FIELD_AS(T, sizes.handles, FORM_OWN),
    FORM_FIELD_AS(T, sizes.sessions, FORM_OWN),
    FORM_FIELD_AS(T, sizes.records, FORM_OWN),
    FORM_FIELD_AS(T, sizes.blocks, FORM_OWN),
    FORM_FIELD_AS(T, sizes.baselines, FORM_OWN),
    FORM_FIELD_AS(T, sizes.payload, FORM_OWN),
    FORM_FIELD_AS(T, sizes.page, FORM_OWN),
    FORM_FIELD(T, hash_key),
    PAD_AFTER(T, hash_key, 4),
    FORM_FIELD_AS(T, table_off, FORM_OWN),
    FORM_FIELD_AS(T, table_len, FORM_OWN),
    FORM_FIELD(T, mount_path),
    FORM_FIELD(T, started_ns),
};
#undef T
FIELDS(header, header);

#define T struct shm_mutex
static const struct form_field mutex[] = {
    FORM_FIELD_AS(T, mutex, FORM_OWN),     FORM_FIELD_AS(T, rank, FORM_OWN),
    FORM_FIELD_AS(T, log_used, FORM_OWN),  FORM_FIELD_AS(T, owner_deaths, FORM_OWN),
    FORM_FIELD_AS(T, rollbacks, FORM_OWN), FORM_FIELD_AS(T, log, FORM_OWN),
};
#undef T
FIELDS(mutex, mutex);

static const struct form_field link_only[] = {{"link", 0, sizeof(uint32_t), 1, 0, FORM_UINT}};
FIELDS(link, link_only);

/* ---- nodes ---- */

#define T struct shm_node_table
static const struct form_field node_table[] = {
    FORM_FIELD(T, free_node),
    FORM_FIELD(T, fresh_node),
    FORM_EACH(T, names, free),
    FORM_EACH(T, names, fresh),
    FORM_EACH(T, names, hand),
    EACH_UNUSED(T, names, unused),
    FORM_FIELD(T, lru_first),
    FORM_FIELD(T, lru_last),
    FORM_FIELD(T, live),
    FORM_FIELD(T, evictable),
    FORM_FIELD(T, evictions),
    FORM_FIELD(T, lookups),
    FORM_FIELD(T, next_content),
    UNUSED(T, unused),
    FORM_FIELD(T, names_changed_ns),
    FORM_FIELD(T, reopened_ns),
    FORM_EACH(T, reopens, name),
    FORM_EACH(T, reopens, since_ns),
    FORM_EACH(T, reopens, pid),
    FORM_EACH(T, reopens, noted_by),
    FORM_EACH(T, reopens, repeated_by),
    FORM_EACH(T, reopens, wants_private),
    EACH_HINT(T, listers, dir),
    EACH_HINT(T, listers, fh),
    EACH_HINT(T, listers, last_ns),
    EACH_HINT(T, listers, pid),
    EACH_HINT(T, listers, open),
    PAD_AFTER(T, listers, sizeof(T) - offsetof(T, listers) - sizeof(FORM_OF(T, listers))),
};
#undef T
FIELDS(node_table, node_table);

#define T struct shm_node
static const struct form_field node[] = {
    FORM_FIELD(T, state),
    FORM_FIELD(T, no_name),
    FORM_FIELD(T, traced),
    FORM_FIELD(T, generation),
    FORM_FIELD(T, parent),
    FORM_FIELD(T, children),
    FORM_FIELD(T, hash_next),
    FORM_FIELD(T, lru_prev),
    FORM_FIELD(T, lru_next),
    FORM_FIELD(T, session),
    FORM_FIELD(T, opens),
    FORM_FIELD(T, name_len),
    FORM_FIELD(T, flags),
    FORM_FIELD(T, long_name),
    FORM_FIELD(T, content),
    FORM_FIELD(T, nlookup),
    FORM_FIELD(T, ino),
    UNION("size_or_moved", T, size, 8),
    FORM_IN_UNION(T, size),
    FORM_IN_UNION(T, moved_ns),
    FORM_FIELD(T, mtime_ns),
    FORM_FIELD(T, checked_ns),
    UNION("listed_or_looked", T, listed_ns, 8),
    FORM_IN_UNION(T, listed_ns),
    FORM_IN_UNION(T, looked_by),
    FORM_IN_UNION(T, told),
    FORM_IN_UNION(T, maker),
    FORM_FIELD(T, mode),
    FORM_FIELD(T, uid),
    FORM_FIELD(T, gid),
    FORM_FIELD(T, busy),
    UNION("bytes_or_entries", T, bytes_node, 4),
    FORM_IN_UNION(T, bytes_node),
    FORM_IN_UNION(T, entries),
    FORM_FIELD(T, rdev),
    FORM_FIELD(T, atime_ns),
    FORM_FIELD(T, ctime_ns),
    FORM_FIELD(T, etag),
    FORM_FIELD(T, name),
    FORM_FIELD(T, ino_next),
    FORM_FIELD(T, witness),
    PAD_AFTER(T, witness, 4),
};
#undef T
FIELDS(node, node);

#define T struct shm_long_name
static const struct form_field name[] = {
    FORM_FIELD(T, link),
    {"bytes", offsetof(T, bytes), SHM_NAME_LONG + 1, 1, 0, FORM_BYTES},
};
static const struct form_field longest_name[] = {
    FORM_FIELD(T, link),
    {"bytes", offsetof(T, bytes), SHM_NAME_MAX, 1, 0, FORM_BYTES},
};
#undef T
FIELDS(name, name);
FIELDS(longest_name, longest_name);

/* ---- sessions, their uploads and patches ---- */

#define T struct shm_session_table
static const struct form_field session_table[] = {
    FORM_FIELD(T, live),
    FORM_FIELD(T, used),
    FORM_FIELD(T, mem_used),
    /* (who waits looks by itself, too, once a second) */
    FORM_FIELD_AS(T, room_waiters, FORM_UINT | FORM_HINT),
    UNUSED(T, unused),
};
#undef T
FIELDS(session_table, session_table);

#define T struct shm_session
#define JOB(job)                                                                                   \
    FORM_FIELD(T, job.state), FORM_FIELD(T, job.owner), FORM_FIELD(T, job.attempts),               \
        FORM_FIELD(T, job.error)
#define WHO(who) FORM_FIELD(T, who.tgid), UNUSED(T, who.unused), FORM_FIELD(T, who.start)
static const struct form_field session[] = {
    FORM_FIELD(T, state),
    FORM_FIELD(T, generation),
    FORM_FIELD(T, node),
    FORM_FIELD(T, refs),
    FORM_FIELD(T, content),
    FORM_FIELD(T, flags),
    FORM_FIELD(T, waiters),
    PAD_AFTER(T, waiters, 4),
    FORM_FIELD(T, size),
    FORM_FIELD(T, mtime_ns),
    FORM_FIELD(T, write_seq),
    FORM_FIELD(T, published_seq),
    FORM_FIELD(T, publishing_seq),
    FORM_FIELD(T, mem_reserved),
    FORM_FIELD(T, base),
    FORM_FIELD(T, held_from),
    FORM_FIELD(T, ordered_to),
    FORM_FIELD(T, writing),
    FORM_FIELD(T, write_error),
    /* failed_http, failed_how */
    {"failed", offsetof(T, releasing) - 4, 4, 1, 0, FORM_UINT},
    FORM_FIELD(T, releasing),
    JOB(load),
    JOB(publish),
    JOB(opening),
    FORM_FIELD(T, expect.etag),
    FORM_FIELD(T, expect.absent),
    FORM_FIELD(T, expect.must),
    FORM_FIELD(T, expect.refused),
    FORM_FIELD(T, expect.lineage_known),
    FORM_FIELD(T, expect.ours),
    FORM_FIELD(T, expect.tried),
    FORM_FIELD(T, expect.spoilt),
    UNUSED(T, expect.unused),
    FORM_FIELD(T, expect.sent_ns),
    FORM_FIELD(T, expect.write_id),
    FORM_FIELD(T, expect.old_id),
    FORM_FIELD(T, lost_etag),
    FORM_FIELD(T, lineage),
    FORM_FIELD(T, changed_from),
    FORM_FIELD(T, cuts),
    FORM_FIELD(T, at_once),
    WHO(parent),
    FORM_EACH(T, follower, who.tgid),
    EACH_UNUSED(T, follower, who.unused),
    FORM_EACH(T, follower, who.start),
    FORM_EACH(T, follower, child.tgid),
    EACH_UNUSED(T, follower, child.unused),
    FORM_EACH(T, follower, child.start),
    FORM_EACH(T, pids, tid),
    FORM_EACH(T, pids, tgid),
    FORM_EACH(T, pids, start),
    FORM_EACH(T, pids, flags),
    EACH_UNUSED(T, pids, unused),
    FORM_FIELD(T, copy.etag),
    FORM_FIELD(T, copy.key),
    FORM_FIELD(T, xattr),
    PAD_AFTER(T, xattr, sizeof(T) - offsetof(T, xattr) - sizeof(FORM_OF(T, xattr))),
};
#undef T
FIELDS(session, session);

#define T struct shm_upload
static const struct form_field upload[] = {
    FORM_FIELD(T, open),
    FORM_FIELD(T, serial),
    FORM_FIELD(T, next),
    FORM_FIELD(T, prefix),
    FORM_FIELD(T, sending),
    FORM_FIELD(T, taken),
    FORM_FIELD(T, error),
    FORM_FIELD(T, checksum),
    FORM_FIELD(T, completing),
    FORM_FIELD(T, copy_failed),
    FORM_FIELD(T, plan.part_size),
    FORM_FIELD(T, plan.base),
    FORM_FIELD(T, plan.grows),
    FORM_FIELD(T, plan.copies),
    FORM_FIELD(T, plan.patch),
    UNUSED(T, plan.reserved),
    FORM_FIELD(T, plan.copy_size),
    FORM_FIELD(T, digest),
    FORM_FIELD(T, seq),
    FORM_FIELD(T, opened_ns),
    FORM_FIELD(T, write_id),
    FORM_FIELD(T, base_etag),
    FORM_FIELD(T, key),
    FORM_FIELD(T, id),
    PAD_AFTER(T, id, 4),
    FORM_EACH(T, part, serial),
    FORM_EACH(T, part, state),
    FORM_EACH(T, part, owner),
    FORM_EACH(T, part, changed),
    FORM_EACH(T, part, copied),
    FORM_EACH(T, part, etag),
    FORM_EACH(T, part, crc),
    FORM_EACH(T, part, off),
    FORM_EACH(T, part, len),
};
#undef T
FIELDS(upload, upload);

#define T struct shm_patch
static const struct form_field patch[] = {
    FORM_FIELD(T, base),
    FORM_FIELD(T, unit),
    FORM_ARRAY(T, held),
    FORM_ARRAY(T, dirty),
};
#undef T
FIELDS(patch, patch);

/* ---- open files, locks ---- */

#define T struct shm_handle_table
static const struct form_field handle_table[] = {
    FORM_FIELD(T, free_handle),  FORM_FIELD(T, fresh_handle), FORM_FIELD(T, live),
    UNUSED(T, unused),           EACH_HINT(T, reader, node),  EACH_HINT(T, reader, content),
    EACH_HINT(T, reader, start), EACH_HINT(T, reader, off),   EACH_HINT(T, reader, seen_ns),
};
#undef T
FIELDS(handle_table, handle_table);

#define T struct shm_handle
static const struct form_field handle[] = {
    FORM_FIELD(T, kind),
    FORM_FIELD(T, generation),
    FORM_FIELD(T, next_free),
    FORM_FIELD(T, node),
    FORM_FIELD(T, session),
    FORM_FIELD(T, flags),
    FORM_FIELD(T, pid),
    FORM_FIELD(T, content),
    UNION("listing_or_reads", T, listing_ns, sizeof(T) - offsetof(T, listing_ns)),
    FORM_IN_UNION(T, listing_ns),
    FORM_IN_UNION(T, turned_at),
    FORM_IN_UNION(T, page),
    FORM_IN_UNION(T, start_len),
    FORM_IN_UNION(T, start),
    FORM_IN_UNION(T, turn),
    FORM_IN_UNION(T, last_run),
    EACH_ALT(T, stream, start),
    EACH_ALT(T, stream, next),
    EACH_ALT(T, stream, ahead),
    EACH_ALT(T, stream, stride),
    EACH_ALT(T, stream, window),
    EACH_ALT(T, stream, holes),
    EACH_ALT(T, stream, run),
    EACH_ALT(T, stream, turn),
    EACH_ALT(T, stream, hits),
    EACH_ALT(T, stream, first),
};
#undef T
FIELDS(handle, handle);

#define T struct shm_flock_table
static const struct form_field flock_table[] = {
    FORM_FIELD(T, free_lock),  FORM_FIELD(T, free_file), FORM_FIELD(T, fresh_lock),
    FORM_FIELD(T, fresh_file), FORM_FIELD(T, live),      UNUSED(T, unused),
    FORM_ARRAY(T, by_node),    FORM_ARRAY(T, by_key),
};
#undef T
FIELDS(flock_table, flock_table);

#define T struct shm_flock_cell
static const struct form_field flock_cell[] = {
    FORM_FIELD(T, file.node),        FORM_FIELD(T, file.next_by_node),
    FORM_FIELD(T, file.next_by_key), FORM_FIELD(T, file.first),
    FORM_FIELD(T, file.waiters),     UNUSED(T, file.unused),
    FORM_FIELD(T, file.ino),         FORM_FIELD(T, slot.lock.owner),
    FORM_FIELD(T, slot.lock.start),  FORM_FIELD(T, slot.lock.end),
    FORM_FIELD(T, slot.lock.handle), FORM_FIELD(T, slot.lock.pid),
    FORM_FIELD(T, slot.lock.type),   FORM_FIELD(T, slot.lock.whole),
    UNUSED(T, slot.lock.unused),     FORM_FIELD(T, slot.next),
    UNUSED(T, slot.unused),
};
#undef T
FIELDS(flock_cell, flock_cell);

/* ---- compare-and-set ---- */

#define T struct shm_baseline_table
static const struct form_field baseline_table[] = {
    FORM_FIELD(T, free_entry),
    FORM_FIELD(T, fresh_entry),
    FORM_FIELD(T, lru_first),
    FORM_FIELD(T, lru_last),
    FORM_FIELD(T, live),
    FORM_FIELD(T, steps),
    FORM_FIELD(T, next_step),
    FORM_FIELD(T, next_trace),
    FORM_FIELD(T, traces),
    UNUSED(T, unused),
    FORM_FIELD(T, dropped),
    FORM_EACH(T, step, key),
    FORM_EACH(T, step, who.tgid),
    EACH_UNUSED(T, step, who.unused),
    FORM_EACH(T, step, who.start),
    FORM_EACH(T, step, child.tgid),
    EACH_UNUSED(T, step, child.unused),
    FORM_EACH(T, step, child.start),
    FORM_EACH(T, step, from),
    FORM_EACH(T, step, to),
    FORM_EACH(T, step, id),
    PAD_AFTER(T, step, sizeof(T) - offsetof(T, step) - sizeof(FORM_OF(T, step))),
};
#undef T
FIELDS(baseline_table, baseline_table);

#define T struct shm_baseline
static const struct form_field baseline[] = {
    FORM_FIELD(T, key),           WHO(who),
    FORM_FIELD(T, next),          FORM_FIELD(T, lru_prev),
    FORM_FIELD(T, lru_next),      FORM_FIELD(T, value.flags),
    FORM_FIELD(T, value.etag),    FORM_FIELD(T, value.lineage),
    FORM_FIELD(T, version_ticks), FORM_FIELD(T, first_ticks),
};
#undef T
FIELDS(baseline, baseline);

#define T struct shm_trace
static const struct form_field trace[] = {
    FORM_FIELD(T, key),         FORM_FIELD(T, version), FORM_FIELD(T, tgid),
    FORM_FIELD(T, start),       FORM_FIELD(T, next),    FORM_FIELD(T, version_ticks),
    FORM_FIELD(T, first_ticks), FORM_FIELD(T, flags),
};
#undef T
FIELDS(trace, trace);

#define T struct shm_conflict_ring
static const struct form_field conflict_ring[] = {FORM_FIELD(T, count)};
#undef T
FIELDS(conflict_ring, conflict_ring);

#define T struct shm_conflict
static const struct form_field conflict[] = {
    FORM_FIELD(T, wall_ns), FORM_FIELD(T, tgid),     FORM_FIELD(T, flags), FORM_FIELD(T, expected),
    FORM_FIELD(T, found),   FORM_FIELD(T, write_id), FORM_FIELD(T, key),   PAD_AFTER(T, key, 4),
};
#undef T
FIELDS(conflict, conflict);

#define T struct shm_win_table
static const struct form_field win_table[] = {
    FORM_FIELD(T, count),
    FORM_EACH(T, slot, key),
    FORM_EACH(T, slot, at_ns),
    FORM_EACH(T, slot, from),
};
#undef T
FIELDS(win_table, win_table);

/* ---- the rest ---- */

#define T struct shm_abort_table
static const struct form_field abort_table[] = {
    FORM_ARRAY(T, owner),
    FORM_EACH(T, slot, key),
    FORM_EACH(T, slot, id),
};
#undef T
FIELDS(abort_table, abort_table);

#define T struct shm_version_table
static const struct form_field version_table[] = {
    FORM_FIELD(T, clock),        UNUSED(T, unused),
    FORM_EACH(T, slot, key),     FORM_EACH(T, slot, bytes_node),
    FORM_EACH(T, slot, content), FORM_EACH(T, slot, node),
    FORM_EACH(T, slot, told),    FORM_EACH(T, slot, replaced),
    FORM_EACH(T, slot, id),
};
#undef T
FIELDS(version_table, version_table);

#define T struct shm_notify_ring
static const struct form_field notify_ring[] = {
    FORM_FIELD(T, head),
    FORM_FIELD(T, tail),
    FORM_FIELD(T, dropped),
    FORM_FIELD(T, written),
    FORM_FIELD(T, room_ns),
    FORM_FIELD_AS(T, no_prune, FORM_UINT),
    FORM_FIELD(T, n_pages),
    FORM_FIELD(T, pages_lost),
    UNUSED(T, unused),
    FORM_FIELD(T, dropping),
    FORM_ARRAY(T, pages),
    FORM_EACH(T, slot, kind),
    FORM_EACH(T, slot, n),
    FORM_EACH(T, slot, node_id),
    EACH_UNION("slot.what", T, slot, name,
               sizeof(FORM_OF(T, slot[0])) - offsetof(struct shm_notify, name)),
    EACH_ALT(T, slot, name),
    EACH_ALT(T, slot, nodes),
};
#undef T
FIELDS(notify_ring, notify_ring);

/* ---- requests in flight ---- */

/* Requests and replies have the form of the kernel. */
#define T struct shm_arena
static const struct form_field arena[] = {
    FORM_FIELD(T, pid),
    FORM_FIELD(T, incarnation),
    FORM_FIELD(T, turn_ns),
    FORM_FIELD(T, busy),
    FORM_FIELD(T, fetching),
    FORM_FIELD(T, counted_n),
    FORM_FIELD(T, reply_len),
    FORM_FIELD(T, http_requests),
    FORM_FIELD(T, crashed),
    FORM_ARRAY(T, counted),
    FORM_EACH(T, lost, sent.sent),
    EACH_UNUSED(T, lost, sent.unused),
    FORM_EACH(T, lost, sent.sent_ns),
    FORM_EACH(T, lost, sent.etag),
    FORM_EACH(T, lost, sent.id),
    FORM_EACH(T, lost, key),
    FORM_EACH(T, lost, who.tgid),
    EACH_UNUSED(T, lost, who.unused),
    FORM_EACH(T, lost, who.start),
    FORM_FIELD(T, lost_n),
    UNUSED(T, unused),
    {"current", offsetof(T, current), sizeof(FORM_OF(T, current)), 1, 0, FORM_PAD},
    FORM_FIELD(T, reply),
};
#undef T
FIELDS(arena, arena);

#define T struct shm_record
static const struct form_field record[] = {
    FORM_FIELD_AS(T, state, FORM_UINT),
    FORM_FIELD_AS(T, interrupted, FORM_UINT),
    FORM_FIELD(T, unique),
    FORM_FIELD(T, opcode),
    FORM_FIELD(T, crashes),
    FORM_FIELD(T, started_ns),
    FORM_FIELD(T, node_id),
    FORM_FIELD(T, change),
    FORM_FIELD(T, target),
    FORM_FIELD(T, session),
    FORM_FIELD(T, node),
    FORM_FIELD(T, parked_len),
    FORM_FIELD(T, reply_error),
    FORM_FIELD(T, reply_len),
    FORM_FIELD(T, request_len),
    FORM_FIELD(T, told),
    FORM_FIELD(T, batch_done),
    FORM_FIELD(T, aside_len),
    FORM_FIELD(T, entered),
    FORM_FIELD(T, reply),
    FORM_FIELD(T, request),
    UNION("progress", T, progress, sizeof(union shm_progress)),
    FORM_IN_UNION(T, progress.unlink.sent),
    FORM_IN_UNION(T, progress.unlink.sent_ns),
    FORM_IN_UNION(T, progress.unlink.etag),
    FORM_IN_UNION(T, progress.unlink.id),
    FORM_IN_UNION(T, progress.removal.sent.sent),
    FORM_IN_UNION(T, progress.removal.sent.sent_ns),
    FORM_IN_UNION(T, progress.removal.sent.etag),
    FORM_IN_UNION(T, progress.removal.sent.id),
    FORM_IN_UNION(T, progress.removal.key),
    FORM_IN_UNION(T, progress.removal.who.tgid),
    FORM_IN_UNION(T, progress.removal.who.start),
    /* step, copies */
    {"progress.rename.step_copies", offsetof(T, progress), 4, 1, 0, FORM_ALT},
    FORM_IN_UNION(T, progress.rename.moved),
    FORM_IN_UNION(T, progress.rename.wall_ns),
    FORM_IN_UNION(T, progress.rename.etag),
    FORM_IN_UNION(T, progress.rename.source.sent),
    FORM_IN_UNION(T, progress.rename.source.sent_ns),
    FORM_IN_UNION(T, progress.rename.source.etag),
    FORM_IN_UNION(T, progress.rename.source.id),
    FORM_IN_UNION(T, progress.meta.sent),
    FORM_IN_UNION(T, progress.meta.wall_ns),
    UNUSED(T, unused),
};
#undef T
FIELDS(record, record);

/* ---- credentials ---- */

#define T struct shm_cred_table
static const struct form_field cred_table[] = {
    FORM_FIELD(T, n_creds),  FORM_FIELD(T, n_news),     FORM_FIELD(T, tries),
    FORM_FIELD(T, wanted),   FORM_FIELD(T, wanted_day), PAD_AFTER(T, wanted_day, 4),
    FORM_FIELD(T, n_region), FORM_FIELD(T, region),     UNUSED(T, creds), /* parts of their own */
    UNUSED(T, news),
};
#undef T
FIELDS(cred_table, cred_table);

#define T struct shm_cred
static const struct form_field cred[] = {
    FORM_FIELD(T, generation),
    FORM_FIELD(T, expires_ns),
    FORM_FIELD(T, fetched_ns),
    FORM_FIELD(T, token_len),
    FORM_FIELD(T, fixed),
    FORM_FIELD(T, access_key),
    FORM_FIELD(T, token),
    FORM_FIELD(T, region),
    PAD_AFTER(T, region, offsetof(T, keys) - offsetof(T, region) - sizeof(FORM_OF(T, region))),
    UNUSED(T, keys), /* a part of their own */
};
#undef T
FIELDS(cred, cred);

#define T struct shm_cred_key
static const struct form_field cred_key[] = {FORM_FIELD(T, day), FORM_FIELD(T, key)};
#undef T
FIELDS(cred_key, cred_key);

#define T struct shm_cred_news
static const struct form_field cred_news[] = {
    FORM_FIELD(T, provider),   FORM_FIELD(T, account),   FORM_FIELD(T, expires_ns),
    FORM_FIELD(T, fetched_ns), FORM_FIELD(T, failed_ns), FORM_FIELD(T, refreshes),
    FORM_FIELD(T, failures),   FORM_FIELD(T, error),
};
#undef T
FIELDS(cred_news, cred_news);
