/* What responses teach the client for the next requests: how many at a time, whether the server
 * accepts its credentials, and habits of the server (s3.h: s3_habit_has, s3_habit_learn). */
#ifndef S3_S3_LEARN_H
#define S3_S3_LEARN_H

#include <stdbool.h>

#include "base/err.h"

struct s3_client;
struct s3_req;

/* The server throttles; it accepted our credentials; it accepted a request. */
void s3_client_throttled(struct s3_client *c);
void s3_client_trust(struct s3_client *c);
void s3_client_succeeded(struct s3_client *c);

/* The bucket is in this region: later attempts go there. False if that cannot be. */
must_use bool s3_client_move(struct s3_client *c, const char *region);

/* A refusal named another region than the attempt was signed for: true if the request should be
 * sent again, to that one. */
must_use bool s3_client_was_moved(struct s3_req *req);

/* True if the server accepted the credentials in use within the last seconds. */
bool s3_client_trusted_lately(const struct s3_client *c);

#endif
