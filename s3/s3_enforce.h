/* Buckets whose policy refuses changes without a condition (s3:if-match, s3:if-none-match). A
 * change that has none, because it applies whatever is there, asks what is there, and is sent on
 * the condition that it still is; until it succeeds. Once that was needed, it is done at once
 * (S3_HABIT_WANTS_CONDITIONS). Only for files of s3/. */
#ifndef S3_S3_ENFORCE_H
#define S3_S3_ENFORCE_H

#include <stdbool.h>

#include "base/err.h"

struct s3_req;

/* A change of one object, whatever is there. */
bool s3_enforce_is_blind(const struct s3_req *req);

/* Before the first attempt: begins with the question, where that is known to be needed. */
void s3_enforce_first(struct s3_req *req);

/* Adds the condition that was found out. 0 or the error of s3_headers_add. */
must_use int s3_enforce_headers(struct s3_req *req);

/* An attempt has ended: true if it leads to another one. */
must_use bool s3_enforce_turn(struct s3_req *req);

/* The request has succeeded. */
void s3_enforce_learn(struct s3_req *req);

void s3_enforce_free(struct s3_req *req);

#endif
