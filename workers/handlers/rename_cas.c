/* A rename with compare-and-set (rename.h). The table at the end has the steps. The bytes are
 * loaded into a session on a twin of the source's node; the session gets the source's metadata and
 * lineage, the new name, and what to expect there; then comes the PUT (by publish.c, which judges
 * and repeats it like any other), and the DELETE of the version that was read; last, the files that
 * the caller has open on both names follow.
 *
 * Where the server keeps conditions on the target of CopyObject, or (for a large file) on Complete,
 * nothing is loaded: the session only names the version of the source (SHM_CONTENT_COPY), and a
 * copy takes the place of the PUT (publish_cas_copy.c). Nor is there a HEAD of the source if a
 * lookup has just told all about it.
 *
 * Between PUT and DELETE both names exist. If the DELETE is refused, because the source has been
 * written meanwhile, both stay. If it is not there any more, another client has renamed or removed
 * it: only one of two that claim a file by renaming it may be told that it has it. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_patch.h"
#include "shm/shm_session.h"
#include "workers/attr/meta_ask.h"
#include "workers/cas/cas.h"
#include "workers/cas/cas_nodes.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/rename.h"
#include "workers/objmeta/lineage.h"
#include "workers/op/sequence.h"
#include "workers/op/validity.h"
#include "workers/server/server.h"
#include "workers/write/delete.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_end.h"
#include "workers/write/session_patch.h"
#include "workers/write/session_pids.h"

/* ---- the old name ---- */

/* Under shm->meta. The caller's sessions on the name that was replaced are not published any more.
 * Handles the first such session from *at on. False: none is left. */
static bool orphan_replaced(struct op *op, const struct rename_args *a, uint32_t to_dir,
                            uint32_t *at)
{
    *at = cas_next_of_family(op, *at, to_dir, a->new_name, a->new_len);
    if (*at == SHM_NIL)
        return false;
    if (*at != op->rec->session)
        session_orphan(op->w, *at);
    ++*at;
    return true;
}

/* Under shm->meta. The caller's sessions on the file that has moved move with it; other processes
 * will find their file deleted. *at and the result as above. */
static bool take_along(struct op *op, const struct rename_args *a, uint32_t from_dir,
                       uint32_t to_dir, uint32_t *at)
{
    struct shm *shm = op->w->shm;
    const char *was = shm_node_at(shm, op->rec->node)->etag, *now = op->rec->progress.rename.etag;
    struct shm_session *s;
    char to[KEY_CAP];

    *at = cas_next_of_family(op, *at, from_dir, a->name, a->len);
    if (*at == SHM_NIL)
        return false;
    s = shm_session_edit(shm, (*at)++);
    if (strcmp(s->expect.etag, was) != 0 || s->publish.state == SHM_JOB_RUNNING ||
        shm_node_move(shm, s->node, to_dir, a->new_name, a->new_len) < 0)
        return true;
    shm_etag_copy(s->expect.etag, now);
    if (s->content == SHM_CONTENT_PATCH) /* what it lacks is there now */
        shm_etag_copy(shm_node_edit(shm, s->node)->etag, now);
    if (key_of_node(op->w, s->node, to) == 0)
        cas_lineage(op->w, to, s->expect.etag, s->lineage);
    return true;
}

/* Handles one session at a time: a process may have more of them than one locked section can
 * change. SHM_RENAME_TAKING is noted so that a replacement does not take sessions that have moved
 * for sessions on the replaced file. */
static bool move_next(struct op *op, uint32_t *at)
{
    struct rename_args a = rename_args_of(op);
    struct worker *w = op->w;
    uint32_t from_dir, to_dir;
    char from[KEY_CAP];
    bool more;

    worker_lock(w);
    from_dir = op_node(op);
    to_dir = shm_node_of_id(w->shm, a.new_dir_id);
    if (from_dir == SHM_NIL || to_dir == SHM_NIL) {
        more = false;
    } else if (op->rec->progress.rename.step != SHM_RENAME_TAKING) {
        more = true;
        if (!orphan_replaced(op, &a, to_dir, at)) {
            rename_came_to(op, SHM_RENAME_TAKING);
            *at = 0;
        }
    } else {
        more = take_along(op, &a, from_dir, to_dir, at);
        if (!more && key_of_name(w, from_dir, a.name, a.len, from) == 0)
            cas_removed(op, from, shm_node_at(w->shm, op->rec->node)->etag);
    }
    worker_unlock(w);
    return more;
}

static void rename_cas_follow(struct op *op)
{
    struct rename_args a = rename_args_of(op);
    uint32_t at = 0;

    while (move_next(op, &at))
        ;
    cas_replaced(op, op->rec->node_id, a.name, a.len, true);
    cas_replaced(op, a.new_dir_id, a.new_name, a.new_len, false);
    op_step_done(op, 0);
}

static void then_deleted(struct op *op, int error)
{
    struct rename_args a = rename_args_of(op);

    if (error == -EEXIST)
        log_notice(
            "renamed, but the old name remains name=\"%.*s\": it has another version than the "
            "one that was read",
            (int)a.len, a.name);
    if (error == -ENOENT)
        log_notice("copied, but the old name was taken meanwhile name=\"%.*s\" new=\"%.*s\": "
                   "another client has removed or renamed it, and the copy stays",
                   (int)a.len, a.name, (int)a.new_len, a.new_name);
    op_step_done(op, error == -ENOENT ? -EEXIST : error);
}

static void rename_cas_delete_source(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP], etag[SHM_ETAG_MAX], id[LINEAGE_ID_CAP];
    struct shm_deletion *note = &op->rec->progress.rename.source;
    struct delete_args args = {
        .key = from, .etag = etag, .id = id, .how = DELETE_SEEN, .must_find = true, .note = note};
    int r = rename_keys_of(op, false, from, to);

    worker_lock(op->w);
    memcpy(etag, shm_node_at(op->w->shm, op->rec->node)->etag, sizeof(etag));
    memcpy(id, note->id, sizeof(id));
    worker_unlock(op->w);
    if (r < 0)
        op_step_done(op, r);
    else
        delete_key(op, &args, then_deleted);
}

static bool source_is_gone(const struct op *op)
{
    return op->rec->progress.rename.step == SHM_RENAME_TAKING;
}

/* ---- a copy on the server ---- */

/* Under shm->meta. The server can copy the source under the conditions of the PUT, in one piece or
 * in parts. (An empty file is known by its write-id alone, which is no condition. A server that has
 * contradicted the probe is not trusted with a copy.) */
static bool may_copy(const struct op *op)
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, op->rec->node);

    return n->size && *n->etag &&
           (session_copies_whole(w, n->size) || session_copies_parts(w, n->size));
}

/* Under shm->meta. Nothing of the session is loaded, or about to be. (Another thread of the
 * caller's process may have begun that.) */
static bool is_untouched(const struct shm_session *s)
{
    return s->content == SHM_CONTENT_S3 && s->load.state == SHM_JOB_IDLE && !s->writing;
}

/* Under shm->meta. If nothing of the session is loaded, its content is the source's version. 0, or
 * -ESTALE: a load of it is under way. */
static int note_copy(struct op *op)
{
    struct shm *shm = op->w->shm;
    const struct shm_node *source = shm_node_at(shm, op->rec->node);
    const struct shm_session *s = shm_session_at(shm, op->rec->session);
    char from[KEY_CAP];
    int r;

    if (shm_session_is_loaded(s))
        return 0;
    if (s->content == SHM_CONTENT_PATCH)
        return shm_patch_is_short(shm, op->rec->session) ? -ESTALE : 0;
    r = key_of_node(op->w, op->rec->node, from);
    if (r < 0)
        return r;
    return is_untouched(s) && shm_session_set_copy(shm, op->rec->session, from, source->etag)
               ? 0
               : -ESTALE;
}

/* ---- the new name ---- */

static void then_put(struct op *op, int error)
{
    const struct shm_session *s;
    char etag[SHM_ETAG_MAX];

    worker_lock(op->w);
    s = shm_session_at(op->w->shm, op->rec->session);
    if (s->flags & SHM_SESSION_ORPHAN && !error)
        error = -ESTALE; /* the new name is gone, or another file's: nothing was put */
    memcpy(etag, s->expect.etag, sizeof(etag));
    worker_unlock(op->w);
    if (!error)
        rename_note_copied(op, etag);
    op_step_done(op, error);
}

/* Under shm->meta. Gives the session's node the attributes of the source, which the HEAD has
 * returned. */
static void inherit(struct shm *shm, const struct shm_node *source, struct shm_session *s,
                    int64_t wall_ns)
{
    struct shm_node *n = shm_node_edit(shm, s->node);

    shm_node_copy_meta(n, source);
    s->mtime_ns = source->mtime_ns;
    n->ctime_ns = wall_ns;
}

/* Under shm->meta. From now on the session's content belongs to the new name. */
static int aim(struct op *op, const char *lineage)
{
    struct rename_args a = rename_args_of(op);
    struct shm *shm = op->w->shm;
    uint32_t to = shm_node_of_id(shm, a.new_dir_id);
    struct shm_session *s = shm_session_edit(shm, op->rec->session);
    int r;

    if (to == SHM_NIL)
        return -ESTALE;
    r = note_copy(op);
    if (r == 0)
        r = shm_node_move(shm, s->node, to, a.new_name, a.new_len);
    if (r < 0)
        return r;
    inherit(shm, shm_node_at(shm, op->rec->node), s, op->rec->progress.rename.wall_ns);
    cas_begin_rename(op, op->rec->session, op->rec->target, a.flags & RENAME_NOREPLACE, lineage);
    s->flags |= SHM_SESSION_UNPUBLISHED;
    rename_came_to(op, SHM_RENAME_AIMED);
    return 0;
}

/* Under shm->meta. Notes the source's write-id, if it was not known before. -EEXIST: the source is
 * another empty file than the intended one. */
static int check_id(struct op *op, const char *etag, const char *lineage)
{
    struct shm_deletion *note = &op_progress(op)->rename.source;
    char id[LINEAGE_ID_CAP];

    if (!lineage_head(lineage, id))
        strcpy(id, CAS_NO_ID);
    if (*note->id && cas_is_empty(etag))
        return strcmp(note->id, id) == 0 ? 0 : -EEXIST;
    memcpy(note->id, id, sizeof(id));
    return 0;
}

static bool is_aimed(const struct op *op)
{
    return op->rec->progress.rename.step >= SHM_RENAME_AIMED;
}

/* Under shm->meta. The source is this version, with this lineage (NULL: none). Its content gets the
 * new name. 0; else the caller must roll back. */
static int aim_at(struct op *op, const char *etag, const char *lineage)
{
    int r = check_id(op, etag, lineage);

    return r < 0 ? r : aim(op, lineage);
}

/* Under shm->meta. A copy was sent, by a worker that died. */
static bool was_copied(const struct op *op)
{
    const struct shm_session *s;

    if (!is_aimed(op))
        return false;
    s = shm_session_at(op->w->shm, op->rec->session);
    return s->content == SHM_CONTENT_COPY && s->expect.tried;
}

static void rename_cas_on_head(void *arg, const struct s3_result *res)
{
    struct op *op = arg;
    struct worker *w = op->w;
    struct publish_like like = {.is_plain = false};
    char to[KEY_CAP];
    int r = res->error;

    op->s3 = NULL;
    worker_lock(w);
    if (r == 0)
        r = meta_learn(w, op->rec->node, &res->obj);
    if (r == 0 && !is_aimed(op)) {
        r = aim_at(op, res->obj.etag, s3_object_meta(&res->obj, LINEAGE_META));
        if (r < 0)
            shm_rollback(w->shm, w->shm->meta);
    }
    /* The source went on after it was copied: the new name tells what came of it. */
    if ((r == -ENOENT || r == -ESTALE) && was_copied(op))
        r = 0;
    worker_unlock(w);
    like.obj = res->obj;
    if (r == 0)
        r = rename_keys_of(op, false, like.key, to);
    if (r == 0)
        session_publish_like(op, op->rec->session, &like, then_put);
    else
        op_step_done(op, r == -ENOENT ? -ESTALE : r);
}

/* Under shm->meta. All about the source was told a moment ago: there are no metadata but the
 * node's, and a lineage. */
static bool is_all_known(struct op *op, const char *key, char ret_lineage[SHM_LINEAGE_MAX])
{
    struct worker *w = op->w;
    const struct shm_node *n = shm_node_at(w->shm, op->rec->node);

    if (w->conf->metadata != CONF_METADATA_FULL || !(n->flags & SHM_NODE_PLAIN) ||
        !validity_holds(n->checked_ns, VALIDITY_NEXT_NS, clock_mono_ns()))
        return false;
    cas_lineage(w, key, n->etag, ret_lineage);
    if (!n->traced)
        ret_lineage[0] = '\0';
    return !n->traced || *ret_lineage;
}

/* Under shm->meta. 1: nothing has to be asked, the session has the new name; 0: the source must be
 * asked for; -errno: the caller must roll back. */
static int aim_as_known(struct op *op, const char *from)
{
    const struct shm_session *s = shm_session_at(op->w->shm, op->rec->session);
    char lineage[SHM_LINEAGE_MAX];
    int r;

    if (is_aimed(op) || s->content != SHM_CONTENT_S3 || !is_all_known(op, from, lineage))
        return 0;
    r = aim_at(op, shm_node_at(op->w->shm, op->rec->node)->etag, lineage);
    return r < 0 ? r : 1;
}

static void rename_cas_put(struct op *op)
{
    char from[KEY_CAP], to[KEY_CAP];
    int r = rename_keys_of(op, false, from, to);

    if (r == 0) {
        worker_lock(op->w);
        r = aim_as_known(op, from);
        if (r < 0)
            shm_rollback(op->w->shm, op->w->shm->meta);
        worker_unlock(op->w);
    }
    if (r == 1) {
        static const struct publish_like known = {.is_plain = true};

        session_publish_like(op, op->rec->session, &known, then_put);
        return;
    }
    if (r == 0)
        r = s3_head(op->w->s3, from, rename_cas_on_head, op, &op->s3);
    if (r < 0)
        op_step_done(op, r);
}

/* ---- the source ---- */

/* Under shm->meta. Fills `key`. -EEXIST: the source on S3 has another version than the one that the
 * caller has read; what session_begin returns: the caller must roll back. */
static int rename_cas_begin(struct op *op, char key[KEY_CAP])
{
    struct worker *w = op->w;
    int64_t r = key_of_node(w, op->rec->node, key);

    if (r < 0)
        return (int)r;
    cas_id(op, key, shm_node_at(w->shm, op->rec->node)->etag, op_progress(op)->rename.source.id);
    r = cas_private(op, op->rec->node);
    if (r >= 0)
        r = session_begin(op, (uint32_t)r, false);
    if (r < 0)
        return (int)r;
    return shm_session_at(w->shm, (uint32_t)r)->expect.refused ? -EEXIST : 0;
}

static void rename_cas_load(struct op *op)
{
    struct worker *w = op->w;
    uint32_t node = SHM_NIL;
    bool ready = false;
    char key[KEY_CAP];
    int r = 0;

    worker_lock(w);
    if (op->rec->session == SHM_NIL) /* (what was aimed is gone only with the op) */
        r = is_aimed(op) ? -EIO : rename_cas_begin(op, key);
    if (r < 0) {
        shm_rollback(w->shm, w->shm->meta);
    } else {
        const struct shm_session *s = shm_session_at(w->shm, op->rec->session);

        node = s->node;
        ready = is_aimed(op) || (is_untouched(s) && may_copy(op));
    }
    worker_unlock(w);
    if (r == -EEXIST)
        cas_log_refused(key, "");
    if (r < 0) {
        op_step_done(op, r);
        return;
    }
    /* The caller becomes the owner of the baseline. */
    session_note_pid(w, op->rec->session, op->caller.pid, SHM_PID_OPENED);
    if (ready) {
        op_step_done(op, 0);
    } else {
        session_attach_whole(op, node, op_step_done);
    }
}

/* ---- all of it ---- */

static const struct op_step rename_cas_steps[] = {
    {.run = rename_cas_load, .skip = rename_is_copied},
    {.run = rename_cas_put, .skip = rename_is_copied},
    {.run = rename_cas_delete_source, .skip = source_is_gone},
    {.run = rename_keep_dir, .skip = source_is_gone, .optional = true},
    {.run = rename_cas_follow},
};

void rename_cas(struct op *op, bool dir)
{
    static const struct op_sequence sequence = OP_SEQUENCE_OF(rename_cas_steps, rename_finish);

    assert(!dir);
    op_sequence_start(op, &sequence);
}
