/* Time: how long a request and its attempt may still take. See s3_progress.h. */
#include "s3/s3_progress.h"

#include "base/clock.h"
#include "s3/s3_client.h"
#include "s3/s3_request.h"

#define STORING_BYTES_PER_S (32 << 20)

/* Time that a server may need to store a body after it has received all of it, added to every
 * limit. */
static uint64_t storing_ns(const struct s3_req *req)
{
    if (req->state != S3_REQ_ACTIVE || !s3_op_has_body(req->op->kind) ||
        req->put.at < req->put.body.len)
        return 0;
    return req->put.body.len * (NS_PER_S / STORING_BYTES_PER_S);
}

uint64_t s3_progress_deadline_left(const struct s3_req *req, uint64_t now)
{
    uint64_t mark = req->mark_ns, end;

    if (req->state == S3_REQ_ACTIVE && req->attempt_mark_ns > mark)
        mark = req->attempt_mark_ns;
    end = mark + req->client->conf.deadline_ns + storing_ns(req);
    return end > now ? end - now : 0;
}

static bool works_long(enum s3_op_kind op)
{
    return op == S3_OP_COPY || op == S3_OP_PART_COPY || op == S3_OP_COMPLETE;
}

/* How long an attempt may be silent. A server may copy for a long time without sending a byte. */
uint64_t s3_progress_stall_left(const struct s3_req *req, uint64_t now)
{
    const struct s3_client_conf *conf = &req->client->conf;
    uint64_t limit = conf->attempt_timeout_ns, end;

    if (works_long(req->op->kind) && limit < conf->deadline_ns / 2)
        limit = conf->deadline_ns / 2;
    end = req->move_ns + limit + storing_ns(req);
    return end > now ? end - now : 0;
}

void s3_progress_arm(struct s3_req *req)
{
    uint64_t now = clock_mono_ns();
    uint64_t delay = s3_progress_deadline_left(req, now);

    if (req->state == S3_REQ_ACTIVE && s3_progress_stall_left(req, now) < delay)
        delay = s3_progress_stall_left(req, now);
    loop_timer_set(req->client->loop, &req->timer, delay);
}

void s3_progress_moved(struct s3_req *req, uint64_t body_at)
{
    uint64_t now = clock_mono_ns();

    req->move_ns = now;
    if (body_at > req->high)
        req->high = body_at;
    if (req->high - req->high_mark >= S3_PROGRESS_BYTES) {
        req->high_mark = req->high;
        req->mark_ns = now;
        s3_retry_progress(&req->retry);
    }
    if (body_at < req->moved || body_at - req->moved >= S3_PROGRESS_BYTES) {
        req->moved = body_at;
        req->attempt_mark_ns = now;
    }
}

void s3_progress_rested(struct s3_req *req)
{
    req->mark_ns = req->move_ns = clock_mono_ns();
}
