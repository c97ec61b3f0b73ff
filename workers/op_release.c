/* RELEASE: the last descriptor of a handle is gone. What is still unpublished then (a shared mapping written after the
 * close, a close that was not to publish) is published now; nobody hears of an error, so it is logged. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "shm/shm_handle.h"
#include "workers/handlers.h"
#include "workers/key.h"
#include "workers/session.h"

enum ending {
    END_CLEAN,
    END_PUBLISH,
    END_TORN,   /* all who wrote what is unpublished were killed */
    END_FAILED, /* its publish failed, and the writer was told so */
};

/* Under shm->meta. A session that others have open too is left to their closes, but for bytes that nobody will close
 * over again. */
static enum ending how_it_ends(const struct shm_session *s)
{
    bool last = s->refs <= 1;

    if (!shm_session_dirty(s) || (s->flags & SHM_SESSION_ORPHAN))
        return END_CLEAN;
    if (session_is_torn(s))
        return last ? END_TORN : END_CLEAN;
    if (s->publish.error && s->publishing_seq == s->write_seq)
        return last ? END_FAILED : END_CLEAN;
    return END_PUBLISH;
}

/* The handle and its ref go, and the answer, in one step; `discard`: with what is unpublished. */
static void let_go(struct op *op, bool discard)
{
    struct worker *w = op->w;
    uint32_t handle, session = SHM_NIL;
    bool closed = false;

    worker_lock(w);
    handle = shm_handle_of_fh(w->shm, op->req.release->fh, SHM_HANDLE_FILE);
    if (handle != SHM_NIL) {
        session = shm_handle_at(w->shm, handle)->session;
        if (session != SHM_NIL && discard)
            session_discard(w, session);
        shm_handle_free(w->shm, handle);
        if (session != SHM_NIL)
            closed = session_unref(w, session);
    }
    op_applied(op, 0, NULL, 0);
    worker_unlock(w);
    if (closed)
        session_clear(w, session);
    if (discard)
        worker_notify_kernel(w);
    op_finish(op);
}

static void give_up(struct op *op, const char *key, const char *why)
{
    log_warn("unpublished bytes given up key=\"%s\" reason=\"%s\": the file keeps "
             "its last published content",
             key, why);
    worker_count(op->w, SHM_STAT_DISCARDED, 1);
    let_go(op, true);
}

static bool look_at(struct op *op, uint32_t *ret_session, enum ending *ret_how,
                    char key[KEY_CAP])
{
    struct worker *w = op->w;
    uint32_t handle;

    *ret_session = SHM_NIL;
    worker_lock(w);
    handle = shm_handle_of_fh(w->shm, op->req.release->fh, SHM_HANDLE_FILE);
    if (handle != SHM_NIL)
        *ret_session = shm_handle_at(w->shm, handle)->session;
    if (*ret_session != SHM_NIL) {
        const struct shm_session *s = shm_session_at(w->shm, *ret_session);

        *ret_how = how_it_ends(s);
        if (key_of_node(w, s->node, key) < 0)
            key[0] = '\0';
    }
    worker_unlock(w);
    return *ret_session != SHM_NIL;
}

static void then_let_go(struct op *op, int error)
{
    char key[KEY_CAP];
    uint32_t session;
    enum ending how;

    if (error && look_at(op, &session, &how, key) && how != END_CLEAN)
        give_up(op, key, strerror(-error));
    else
        let_go(op, false);
}

void op_release(struct op *op)
{
    char key[KEY_CAP];
    uint32_t session;
    enum ending how = END_CLEAN;

    op->stays = true;
    if (!look_at(op, &session, &how, key))
        how = END_CLEAN;
    switch (how) {
    case END_CLEAN:
        let_go(op, false);
        break;
    case END_PUBLISH:
        session_publish(op, session, then_let_go);
        break;
    case END_TORN:
        worker_count(op->w, SHM_STAT_TORN, 1);
        give_up(op, key, "its writers were killed");
        break;
    case END_FAILED:
        give_up(op, key, "the upload failed, and the writer was told");
        break;
    }
}
