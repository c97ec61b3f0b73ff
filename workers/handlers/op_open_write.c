/* Opening an existing file for writing. session_attach.c does most of the work; here the session
 * gets a handle. */
#include "workers/handlers/op_open_write.h"

#include "workers/handlers/fuse_entry.h"
#include "workers/handlers/fuse_op.h"
#include "workers/handlers/handlers.h"

#include <errno.h>

#include "shm/shm_handle.h"
#include "workers/write/session_attach.h"
#include "workers/write/session_pids.h"
#include "workers/write/session_room.h"

/* Under shm->meta. Creates the handle, which takes over the op's session ref, and stores the
 * reply. */
static int make_handle(struct op *op, uint32_t node, uint32_t flags)
{
    struct worker *w = op->w;
    struct fuse_open_out out = {.open_flags = fuse_entry_write_flags(w, node)};
    int64_t handle = shm_handle_new(w->shm, SHM_HANDLE_FILE, node, flags);

    if (handle < 0)
        return (int)handle;
    shm_handle_edit(w->shm, (uint32_t)handle)->session = op->rec->session;
    op_edit(op)->session = SHM_NIL;
    out.fh = shm_handle_fh(w->shm, (uint32_t)handle);
    op_applied(op, 0, &out, sizeof(out));
    return 0;
}

static void then_open(struct op *op, int error)
{
    struct worker *w = op->w;
    int r = error;

    if (r == 0) {
        session_note_pid(w, op->rec->session, op->caller.pid, SHM_PID_OPENED);
        worker_lock(w);
        r = make_handle(op, op_node(op), fuse_req(op)->open->flags);
        if (r < 0)
            shm_rollback(w->shm, w->shm->meta);
        worker_unlock(w);
    }
    if (r == 0) {
        op_finish(op);
        return;
    }
    if (op->rec->session == SHM_NIL && session_room_wait(op, r, op_open))
        return;
    session_detach_fail(op, r);
}

void open_for_write(struct op *op, uint32_t node, bool truncate)
{
    session_attach(op, node, truncate, then_open);
}
