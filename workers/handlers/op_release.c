/* RELEASE: the last descriptor of a handle is gone. What is still unpublished then (a shared
 * mapping written after the close, a close that was not to publish) is published now; nobody hears
 * of an error, so it is logged. */
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

enum ending {
    END_CLEAN,
    END_PUBLISH,
    END_TORN,   /* all who wrote what is unpublished were killed */
    END_FAILED, /* its publish failed, and the writer was told so */
};

/* Under shm->meta. One of those who wrote what is unpublished, or emptied the file, was killed. */
static bool has_dead_writer(const struct shm_session *s)
{
    for (int i = 0; i < SHM_SESSION_PIDS; i++) {
        if (s->pids[i].tgid && (s->pids[i].flags & SHM_PID_KILLED))
            return true;
    }
    return false;
}

/* Under shm->meta. A session that others have open too is left to their closes, but for bytes that
 * nobody will close over again. If one of its writers was killed, what it wrote may be half of
 * something: then nothing is published before one of the living closes the file, or syncs it. That
 * carries what the dead one wrote, too: it is one file, as on a local disk. */
static enum ending how_it_ends(const struct shm_session *s)
{
    bool last = s->refs <= 1;

    if (!shm_session_dirty(s) || (s->flags & SHM_SESSION_ORPHAN))
        return END_CLEAN;
    if (session_is_torn(s))
        return last ? END_TORN : END_CLEAN;
    if (s->publish.error && s->publishing_seq == s->write_seq)
        return last ? END_FAILED : END_CLEAN;
    return !last && has_dead_writer(s) ? END_CLEAN : END_PUBLISH;
}

/* A conflict: publish.c has said so. */
static const char told_already[] = "";

/* Under shm->meta. What is unpublished goes with the last who has it open: why, for the log; NULL:
 * nothing is lost. */
static const char *what_is_lost(struct worker *w, uint32_t session, char key[KEY_CAP])
{
    const struct shm_session *s = shm_session_at(w->shm, session);

    if (s->refs > 1 || !shm_session_dirty(s) || (s->flags & SHM_SESSION_ORPHAN))
        return NULL;
    if (key_of_node(w, s->node, key) < 0)
        key[0] = '\0';
    if (session_is_torn(s))
        return "its writers were killed";
    if (s->expect.refused)
        return told_already;
    if (s->write_error) /* perhaps after a conflict */
        return "a write to it failed";
    return s->publish.error == -EEXIST ? told_already : "its upload failed";
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

/* The handle and its ref go, and the answer, in one step. */
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
        shm_handle_free(w->shm, handle);
        if (session != SHM_NIL)
            closed = session_unref(w, session);
        else if ((session = shm_node_at(w->shm, node)->session) != SHM_NIL)
            closed = session_end_unused(w, session); /* an orphan's last reader */
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

/* publish.c has logged the error, and what it costs is told when the last handle goes. */
static void then_let_go(struct op *op, int error)
{
    (void)error;
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
