/* Refusals and failures, as JSON with the status that tells clients what kind of error it is. */
#ifndef WORKERS_CONNECTOR_CON_ERROR_H
#define WORKERS_CONNECTOR_CON_ERROR_H

#include "s3/s3.h"
#include "workers/http/http_service.h"

#define CON_JSON "Content-Type: application/json\r\n"

/* Answers {"error": code, "message": text}; without a message if `fmt` is "". */
void con_refuse(struct http_conn *c, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* No such endpoint: 404 without a message. */
void con_refuse_route(struct http_conn *c);

/* A failed request to S3, about this key of the client. */
void con_refuse_s3(struct http_conn *c, const struct s3_result *res, const char *name);

/* A failure that is known by its errno (negative), the status that S3 answered (0 = none) and
 * how it failed. `text`: what failed. */
void con_refuse_error(struct http_conn *c, int error, int http_status, enum s3_fail fail,
                      const char *text, const char *name);

#endif
