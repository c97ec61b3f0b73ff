/* GetObjectTagging. What it returns is written as the header that gives tags to a new version. */
#include "s3/s3.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "s3/s3_request.h"
#include "s3/s3_success.h"

static int tags_end(struct s3_req *req)
{
    const struct s3_xml_doc *doc =
        s3_success_document(req, S3_XML_TAGS, "the response has no tags");

    if (!doc)
        return -1;
    if (doc->tags) {
        free(req->found_tags);
        req->found_tags = strdup(doc->tags);
        if (!req->found_tags)
            return s3_req_stop(req, -ENOMEM, S3_FAIL_LOCAL, S3_RETRY_NO, "no memory");
    }
    req->result.tags = req->found_tags;
    req->result.tags_lost = doc->tags_lost;
    return 0;
}

static void tags_cleanup(struct s3_req *req)
{
    free(req->found_tags);
}

static const struct s3_op op_tags = {
    .kind = S3_OP_TAGS,
    .name = "GET TAGS",
    .method = "GET",
    .on_end = tags_end,
    .cleanup = tags_cleanup,
};

bool s3_tags_refused(struct s3_client *c, const struct s3_result *res)
{
    if (!s3_version_refused(res->http_status, res->code))
        return false;
    (void)s3_habit_learn(c, S3_HABIT_NO_TAGS);
    return true;
}

int s3_tags(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
            struct s3_req **ret_req)
{
    struct s3_req *req;
    int r = s3_req_new(c, &op_tags, key, done, arg, &req);

    if (r < 0)
        return r;
    r = s3_query_add(&req->query, "tagging", "");
    if (r < 0)
        s3_req_free(req);
    else
        s3_req_submit(req, ret_req);
    return r;
}
