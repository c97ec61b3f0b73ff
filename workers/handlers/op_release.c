/* RELEASE: the last descriptor of a handle is closed. Bytes that are still unpublished then (from a
 * shared mapping written after the close, or a close that did not publish) are published now. No
 * process gets an error, so it is logged. */
#include <errno.h>

#include "base/log.h"
#include "shm/shm_handle.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"
#include "workers/handlers/lock.h"
#include "workers/op/key.h"
#include "workers/write/publish_wait.h"
#include "workers/write/session_end.h"
#include "workers/write/session_pids.h"
#include "workers/write/session_told.h"

enum ending {
    END_CLEAN,
    END_PUBLISH,
    END_TORN,   /* all writers of the unpublished bytes were killed */
    END_FAILED, /* its publish failed, and the writer got the error */
};

/* Under shm->meta. True if a process that wrote the unpublished bytes, or emptied the file, was
 * killed. */
static bool has_dead_writer(const struct shm_session *s)
{
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        if (s->pids[i].tgid && (s->pids[i].flags & SHM_PID_KILLED))
            return true;
    }
    return false;
}

/* Under shm->meta. If others have the session open too, it is left to their closes if it is torn or
 * its publish failed. Other unpublished bytes are published now, since perhaps no later close would
 * publish them. But if a writer was killed, its bytes may be incomplete: then, while others have
 * the session open, nothing is published before one of the live processes closes or syncs the file.
 * That includes the bytes of the killed writer: it is one file, as on a local disk. */
static enum ending how_it_ends(const struct shm_session *s)
{
    bool last = s->refs <= 1;

    if (!shm_session_dirty(s) || (s->flags & SHM_SESSION_ORPHAN))
        return END_CLEAN;
    if (session_is_torn(s))
        return last ? END_TORN : END_CLEAN;
    if (s->publish.state == SHM_JOB_IDLE && s->publish.error && s->publishing_seq == s->write_seq)
        return last ? END_FAILED : END_CLEAN;
    return !last && has_dead_writer(s) ? END_CLEAN : END_PUBLISH;
}

/* a conflict, which publish.c has logged */
static const char told_already[] = "";
static const char writers_killed[] = "its writers were killed";

/* Under shm->meta. If this release discards unpublished bytes: the reason, for the log, and the
 * file's `key`. NULL if nothing is lost. */
static const char *what_is_lost(struct worker *w, uint32_t session, char key[KEY_CAP])
{
    const struct shm_session *s = shm_session_at(w->shm, session);

    if (s->refs > 1 || !shm_session_dirty(s) || (s->flags & SHM_SESSION_ORPHAN))
        return NULL;
    if (key_of_node(w, s->node, key) < 0)
        key[0] = '\0';
    if (session_is_torn(s))
        return writers_killed;
    if (s->expect.refused)
        return told_already;
    if (s->write_error) /* even after a conflict */
        return "a write to it failed";
    return s->publish.error == -EEXIST ? told_already : "its upload failed";
}

static bool is_failure(const char *lost)
{
    return lost != told_already && lost != writers_killed;
}

static void tell_lost(struct worker *w, const char *key, const char *why)
{
    worker_count(w, SHM_STAT_DISCARDED, 1);
    if (why == told_already)
        return;
    log_warn("unpublished data discarded key=\"%s\" reason=\"%s\": the file keeps "
             "its last published content",
             key, why);
}

/* Releases the handle and its ref, and stores the reply, in one section. */
static void let_go(struct op *op)
{
    struct worker *w = op->w;
    uint32_t handle, node, session = SHM_NIL;
    const char *lost = NULL;
    char key[KEY_CAP];
    bool closed = false;

    lock_release(op);
    worker_lock(w);
    handle = shm_handle_of_fh(w->shm, fuse_req(op)->release->fh, SHM_HANDLE_FILE);
    if (handle != SHM_NIL) {
        node = shm_handle_at(w->shm, handle)->node;
        session = shm_handle_at(w->shm, handle)->session;
        if (session != SHM_NIL)
            lost = what_is_lost(w, session, key);
        if (lost && is_failure(lost))
            session_lost(w, session);
        shm_handle_free(w->shm, handle);
        if (session != SHM_NIL)
            closed = session_unref(w, session);
        else if ((session = shm_node_at(w->shm, node)->session) != SHM_NIL)
            closed = session_end_unused(w, session); /* the last reader of an orphan */
    }
    op_applied(op, 0, NULL, 0);
    worker_unlock(w);
    if (lost)
        tell_lost(w, key, lost);
    if (closed)
        session_clear(w, session);
    op_finish(op);
}

static enum ending look_at(struct op *op, uint32_t *ret_session)
{
    struct worker *w = op->w;
    enum ending how = END_CLEAN;

    worker_lock(w);
    *ret_session = shm_handle_session(w->shm, fuse_req(op)->release->fh);
    if (*ret_session != SHM_NIL)
        how = how_it_ends(shm_session_at(w->shm, *ret_session));
    worker_unlock(w);
    return how;
}

/* publish.c has logged the error; let_go logs what is lost with the last handle. */
static void then_let_go(struct op *op, int error)
{
    (void)error;
    let_go(op);
}

void op_release_only(struct op *op)
{
    let_go(op);
}

void op_release(struct op *op)
{
    uint32_t session;

    op->stays = true;
    switch (look_at(op, &session)) {
    case END_PUBLISH:
        session_publish(op, session, then_let_go);
        break;
    case END_TORN:
        worker_count(op->w, SHM_STAT_TORN, 1);
        let_go(op);
        break;
    case END_CLEAN:
    case END_FAILED:
        let_go(op);
        break;
    }
}
