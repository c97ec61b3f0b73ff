/* Time: `mark_ns` of a request is when it began, or its body last got 64 KiB further than ever
 * before; the deadline counts from there. The current attempt may also continue while its own body
 * moves at that pace. */
#ifndef S3_S3_PROGRESS_H
#define S3_S3_PROGRESS_H

#include <stdint.h>

struct s3_req;

/* Nanoseconds until the deadline of the request, until its attempt has been silent for too long;
 * 0 = over. `now`: clock_mono_ns. */
uint64_t s3_progress_deadline_left(const struct s3_req *req, uint64_t now);
uint64_t s3_progress_stall_left(const struct s3_req *req, uint64_t now);

/* Sets the request's timer to the nearer of the two. */
void s3_progress_arm(struct s3_req *req);

/* The body has reached offset `body_at`: sent for a PUT, received for others. */
void s3_progress_moved(struct s3_req *req, uint64_t body_at);

/* The caller took no bytes until now: both times start anew. */
void s3_progress_rested(struct s3_req *req);

#endif
