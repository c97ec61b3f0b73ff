/* stat(2) of a key. The size is in Content-Length although the status is 204: the protocol wants it
 * there. */
#include "workers/connector/con_head.h"

#include <stdio.h>
#include <stdlib.h>

#include "workers/connector/con_error.h"
#include "workers/connector/con_job.h"

struct head {
    struct con_job job;
    struct con_key key;
    struct s3_req *req;
};

static void head_end(struct head *h, const struct s3_result *res)
{
    struct http_conn *c = h->job.c;
    char fields[80];

    if (res->error) {
        con_refuse_s3(c, res, con_key_name(&h->key));
    } else {
        snprintf(fields, sizeof(fields), "Content-Length: %llu\r\nX-Is-File: true\r\n",
                 (unsigned long long)res->obj.size);
        http_conn_answer(c, 204, fields, NULL, 0);
    }
    free(h);
}

static void head_done(void *arg, const struct s3_result *res)
{
    head_end(arg, res);
}

static void head_on_gone(struct con_job *job)
{
    struct head *h = (struct head *)job;

    s3_cancel(h->req);
    free(h);
}

static const struct con_job_ops head_ops = {.on_gone = head_on_gone};

void con_head(struct http_conn *c, const struct con_key *key)
{
    struct head *h = calloc(1, sizeof(*h));
    struct s3_result res = {0};

    if (!h) {
        con_refuse(c, 503, "unavailable", "out of memory");
        return;
    }
    con_job_init(&h->job, &head_ops, c);
    h->key = *key;
    res.error = s3_head(h->job.w->s3, h->key.full, head_done, h, &h->req);
    if (res.error < 0)
        head_end(h, &res);
}
