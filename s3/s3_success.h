/* Is a success S3's? A portal, a gateway's page or a server of another kind says 200 too. */
#ifndef S3_S3_SUCCESS_H
#define S3_S3_SUCCESS_H

#include "base/err.h"

#include "s3/s3_xml.h"

struct s3_req;

/* The document of a success, of this kind; NULL after s3_req_stop with the text `otherwise`:
 * without one the attempt has failed, as an error after the 200 was sent may end the response
 * early. */
const struct s3_xml_doc *s3_success_document(struct s3_req *req, enum s3_xml_kind kind,
                                             const char *otherwise);

/* on_end of requests with a body and an ETag in return (PUT, a part): the status is one that means
 * "stored", the whole body was sent, and nothing but XML came back. 0, or -1 after s3_req_stop. */
must_use int s3_success_stored(struct s3_req *req);

/* on_end of DELETE and of an abort: the status is one that means "done", and nothing but XML came
 * back. 0, or -1 after s3_req_stop. */
must_use int s3_success_gone(struct s3_req *req);

#endif
