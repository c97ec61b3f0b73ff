/* See con_op.h. */
#include "workers/connector/con_op.h"

#include <errno.h>

#include "workers/connector/con_lost.h"
#include "workers/write/session_attach.h"

static const char *con_op_name(const struct op *op)
{
    return shm_http_op_name(op->rec->opcode, "HTTP");
}

/* It is in its record from the start, and stays there. */
static size_t con_op_save(const struct op *op, void *dst, size_t cap)
{
    (void)op, (void)dst, (void)cap;
    return 0;
}

static void con_op_load(struct op *op, const void *from, size_t len)
{
    (void)op, (void)from, (void)len;
}

/* Answers go through the connection, not through the op. */
static void con_op_send(const struct op *op, int error, const struct iovec *iov, unsigned n)
{
    (void)op, (void)error, (void)iov, (void)n;
}

static int con_op_late_error(const struct op *op)
{
    (void)op;
    return -ETIMEDOUT;
}

static void con_op_not_told(struct op *op, const void *reply, size_t len)
{
    (void)op, (void)reply, (void)len;
}

static const struct op_front con_front = {
    .name = con_op_name,
    .save = con_op_save,
    .load = con_op_load,
    .send = con_op_send,
    .late_error = con_op_late_error,
    .not_told = con_op_not_told,
};

static void set_caller(struct op *op, const struct http_conn *c)
{
    struct http_peer peer = http_conn_peer(c);

    op->caller.pid = peer.pid;
    op->caller.uid = peer.uid;
    op->caller.gid = peer.gid;
}

struct op *con_op_new(const struct http_conn *c, uint32_t opcode)
{
    struct worker *w = http_conn_worker(c);
    struct op *op = op_new_kept(w, &con_front, opcode);

    if (!op)
        return NULL;
    set_caller(op, c);
    w->variant->identify_family(op);
    return op;
}

void con_op_reader(const struct http_conn *c, struct op *ret)
{
    struct worker *w = http_conn_worker(c);

    *ret = (struct op){.front = &con_front, .w = w};
    set_caller(ret, c);
    w->variant->identify(ret);
}

void con_op_give_up(struct worker *w, uint32_t rec_idx)
{
    struct op *op = op_new(w, &con_front, rec_idx);

    session_detach(op);
    worker_lock(w);
    con_lost_keep(w, op->rec);
    worker_unlock(w);
    op_done(op);
}
