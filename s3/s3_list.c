/* A page of ListObjectsV2: collected while it arrives (s3_page.h), reported in order when it is
 * complete. */
#include "s3/s3.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "s3/s3_page.h"
#include "s3/s3_progress.h"
#include "s3/s3_request.h"
#include "s3/s3_success.h"
#include "s3/s3_xml.h"

static int list_on_entry(void *arg, const struct s3_list_entry *entry)
{
    struct s3_req *req = arg;

    return s3_page_add(req->list_state.page, entry);
}

/* Discards what an earlier attempt brought. */
static int list_prepare(struct s3_req *req)
{
    s3_page_reset(req->list_state.page);
    return 0;
}

static void cleanup(struct s3_req *req)
{
    s3_page_free(req->list_state.page);
}

static int on_body(struct s3_req *req, const char *data, size_t len)
{
    int r = 0;

    s3_progress_moved(req, req->body_bytes);
    if (!req->xml)
        r = s3_xml_new(list_on_entry, req, &req->xml);
    if (r == 0)
        s3_xml_expect(req->xml, S3_XML_LIST);
    if (r == 0)
        r = s3_xml_feed(req->xml, data, len);
    if (r == 0)
        return 0;
    if (r == -ENOMEM)
        return s3_req_stop(req, r, S3_FAIL_LOCAL, S3_RETRY_NO, "no memory");
    return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                       "the page is not well-formed XML");
}

static int list_tell(struct s3_req *req)
{
    const struct s3_page *page = req->list_state.page;
    int r = 0;

    for (unsigned i = 0; req->list_state.on_entry && i < s3_page_count(page) && r == 0; i++)
        r = req->list_state.on_entry(req->arg, s3_page_entry(page, i));
    return r < 0 ? s3_req_stop(req, r, S3_FAIL_LOCAL, S3_RETRY_NO, "ended by its caller") : 0;
}

/* A token continues after everything that the server sent: useless if not all of that was taken. */
static void fill_result(struct s3_req *req, const struct s3_xml_doc *doc)
{
    struct s3_list_state *state = &req->list_state;
    struct s3_result *res = &req->result;
    bool cut = s3_page_end(state->page, doc->truncated);

    strcpy(state->next_token, doc->next_token);
    res->n_entries = s3_page_count(state->page);
    res->truncated = doc->truncated || cut;
    res->next_token = doc->truncated && (!cut || !res->n_entries) ? state->next_token : NULL;
}

static int list_on_end(struct s3_req *req)
{
    const struct s3_xml_doc *doc =
        s3_success_document(req, S3_XML_LIST, "the response is not a page of a listing");

    if (!doc)
        return -1;
    if (doc->truncated && !*doc->next_token)
        return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED,
                           "a truncated page without a token for the next one");
    fill_result(req, doc);
    return list_tell(req);
}

static const struct s3_op op_list = {
    .kind = S3_OP_LIST,
    .name = "LIST",
    .method = "GET",
    .prepare = list_prepare,
    .on_body = on_body,
    .on_end = list_on_end,
    .cleanup = cleanup,
};

static int add_text(struct s3_req *req, const char *name, const char *value)
{
    return value && *value ? s3_query_add(&req->query, name, value) : 0;
}

static int build_query(struct s3_req *req, const struct s3_list *list)
{
    char max[16];
    int r = s3_query_add(&req->query, "list-type", "2");

    /* Always sent: some servers have a different default. */
    snprintf(max, sizeof(max), "%u", list->max_keys ? list->max_keys : S3_LIST_MAX);
    if (r == 0)
        r = s3_query_add(&req->query, "encoding-type", "url");
    if (r == 0)
        r = s3_query_add(&req->query, "max-keys", max);
    if (r == 0)
        r = s3_query_add(&req->query, "prefix", list->prefix ? list->prefix : "");
    if (r == 0)
        r = add_text(req, "delimiter", list->delimiter);
    if (r == 0 && !list->token)
        r = add_text(req, "start-after", list->start_after);
    if (r == 0)
        r = add_text(req, "continuation-token", list->token);
    return r;
}

int s3_list(struct s3_client *c, const struct s3_list *list, s3_done_fn *done, void *arg,
            struct s3_req **ret_req)
{
    struct s3_req *req;
    int r;

    if (list->max_keys > S3_LIST_MAX)
        return -EINVAL;
    r = s3_req_new(c, &op_list, NULL, done, arg, &req);
    if (r < 0)
        return r;
    req->list_state.on_entry = list->on_entry;
    r = s3_page_new(list->max_keys ? list->max_keys : S3_LIST_MAX, list->start_after,
                    &req->list_state.page);
    if (r == 0)
        r = build_query(req, list);
    if (r < 0) {
        s3_req_free(req);
        return r;
    }
    s3_req_submit(req, ret_req);
    return 0;
}
