/* Checksums of bodies: sent with what is stored, asked for with what is read. A server that refuses
 * them is sent none any more (S3_HABIT_NO_CHECKSUMS).
 *
 * A body with neither a checksum nor a hash that is signed is compared with the ETag that the
 * server gives it, if that is an MD5. MD5 takes thirty times the CPU of a checksum, so it is not
 * computed for others, nor on a server whose ETags are none. */
#ifndef S3_S3_SUM_H
#define S3_S3_SUM_H

#include <stdbool.h>

#include "base/err.h"
#include "s3/s3.h"

struct s3_req;

/* The checksum that this client sends now; S3_CRC_NONE: by its configuration, or the server's
 * habit. */
enum s3_crc s3_sum_kind(const struct s3_client *c);

/* "prepare" of a request whose body has one: its header. 0, or -errno. */
must_use int s3_sum_prepare(struct s3_req *req);

/* An attempt begins; some of its body, from `off` in it, is sent. */
void s3_sum_begin(struct s3_req *req);
void s3_sum_sent(struct s3_req *req, uint64_t off, const void *data, size_t len);

/* "turn" of the same: true if the refusal may be of the checksum; the next attempt has none. */
bool s3_sum_turn(struct s3_req *req);

/* The request was accepted: learns from that, and compares what the server says it has stored. 0,
 * or -1 after s3_req_stop. If it is something else, the next attempt replaces that, whatever the
 * condition was: it is ours. */
must_use int s3_sum_stored(struct s3_req *req);

/* Headers that ask for a checksum of the whole upload and of its parts. 0, or -errno. */
must_use int s3_sum_create(struct s3_req *req, enum s3_crc kind);

/* s3_complete: notes the checksum of the object that these parts make. After s3_object_body. */
void s3_sum_complete(struct s3_req *req, const struct s3_complete *complete);

/* "prepare" and "turn" of s3_complete. A server may take checksums of parts and refuse the
 * object's: then it is completed without, each part having been compared. */
must_use int s3_sum_complete_prepare(struct s3_req *req);
bool s3_sum_complete_turn(struct s3_req *req);

#endif
