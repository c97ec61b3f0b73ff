/* One HTTP request to a source of credentials. */
#ifndef CREDS_CREDS_HTTP_H
#define CREDS_CREDS_HTTP_H

#include "base/clock.h"
#include "creds/creds_job.h"

#define CREDS_HTTP_HEADERS_MAX 8

struct creds_http {
    const char *method; /* "GET", "PUT", "POST" */
    const char *url;
    const char *headers[CREDS_HTTP_HEADERS_MAX]; /* "Name: value" */
    unsigned n_headers;
    const char *body; /* POST */
    bool direct;      /* never through a proxy: link-local, loopback */
    uint64_t connect_ns, total_ns;
    unsigned tries; /* of what may pass: no connection, 429, 5xx */
};

struct creds_answer {
    int status;
    struct creds_bytes body;
};

/* Asks. 0 and *ret, of any status below 500 but 429 (creds_bytes_done its body); or -errno with
 * *err: -EHOSTUNREACH (nobody answers, or the server has an error), -ETIMEDOUT, -EACCES (TLS),
 * -EINVAL (the URL), -ECANCELED, -ENOMEM. Redirects are answers like others. */
must_use int creds_http(const struct creds_job *job, const struct creds_http *req,
                        struct creds_answer *ret, struct err *err);

#endif
