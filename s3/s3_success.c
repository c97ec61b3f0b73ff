/* What makes a 2xx believable: the document that belongs to it (COPY, LIST, COMPLETE, ...), or that
 * there is none. */
#include "s3/s3_success.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "s3/s3_request.h"
#include "s3/s3_stop.h"
#include "s3/s3_sum.h"
#include "s3/s3_xml.h"

static int success_refuse(struct s3_req *req, const char *text)
{
    return s3_req_stop(req, -EIO, S3_FAIL_PROTOCOL, S3_RETRY_ANSWERED, text);
}

const struct s3_xml_doc *s3_success_document(struct s3_req *req, enum s3_xml_kind kind,
                                             const char *otherwise)
{
    const struct s3_xml_doc *doc = req->xml ? s3_xml_doc(req->xml) : NULL;

    if (doc && s3_xml_end(req->xml) == 0 && doc->kind == kind)
        return doc;
    (void)success_refuse(req, otherwise);
    return NULL;
}

/* S3 sends nothing; an XML document of any kind but an error is tolerated. */
static bool is_page(struct s3_req *req)
{
    const char *html = "text/html";

    if (req->body_bytes == 0)
        return false;
    return !req->xml || s3_xml_end(req->xml) < 0 ||
           strncasecmp(req->result.obj.content_type, html, strlen(html)) == 0;
}

int s3_success_stored(struct s3_req *req)
{
    int status = req->reply.status;

    if (status != 200 && status != 201 && status != 204)
        return success_refuse(req, "a success status that does not mean that it is stored");
    if (req->put.at < req->put.body.len)
        return success_refuse(req, "a success before the body was sent");
    return is_page(req) ? success_refuse(req, "a page in place of S3's response")
                        : s3_sum_stored(req);
}

int s3_success_gone(struct s3_req *req)
{
    int status = req->reply.status;

    if (status != 200 && status != 204)
        return success_refuse(req, "a success status that does not mean that it is done");
    return is_page(req) ? success_refuse(req, "a page in place of S3's response") : 0;
}
