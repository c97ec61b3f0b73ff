/* ETags in one normal form, whatever form the server uses, so that the same version has the same
 * ETag in each response and ETags can be compared as strings. The form has quotes, no W/, and an
 * MD5 is in lower case. "" means none: nothing equals a version without an ETag.
 *
 * It also checks that bytes belong to an ETag: the ETag of an object that was put in one piece is
 * the MD5 of its bytes, unless KMS or the customer encrypts it. A server that looks up the ETag and
 * opens the object in two steps, as gateways on top of a file system do, may return the ETag of one
 * version with the bytes of the next. Compare-and-set would then compare with a version that no
 * program has read, and a cache would keep the bytes under a wrong name. */
#ifndef S3_S3_ETAG_H
#define S3_S3_ETAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nettle/md5.h>

#include "s3/s3.h"

enum s3_etag_says {
    S3_ETAG_SILENT, /* it does not look like an MD5 */
    S3_ETAG_RIGHT,
    S3_ETAG_WRONG, /* request it again */
    S3_ETAG_OTHER, /* the same bytes came with it twice in a row: it is no MD5 */
};

/* Normalises an ETag. Returns the server's way to write it, as enum s3_habit, WEAK_ETAGS among
 * them. `ret` is "" if it is missing or cannot be sent back: too long, blanks, quotes inside. */
unsigned s3_etag_read(const char *text, char ret[S3_ETAG_MAX]);

/* The form that a server with these habits expects; `bare` = without quotes in any case. */
void s3_etag_write(const char *etag, uint32_t habits, bool bare, char ret[S3_ETAG_MAX]);

/* State over the responses to one request. Zeroed at first. */
struct s3_etag_check {
    struct md5_ctx md5;
    char wrong[S3_ETAG_MAX]; /* ETag of the last response that was WRONG; "" = none */
    uint8_t wrong_md5[MD5_DIGEST_SIZE];
};

/* A new response begins. */
void s3_etag_begin(struct s3_etag_check *check);

/* Its bytes, in order. */
void s3_etag_add(struct s3_etag_check *check, const void *data, size_t len);

/* All bytes have come. */
enum s3_etag_says s3_etag_end(struct s3_etag_check *check, const char *etag);

/* The ETag that S3 gives an object of these parts, if their ETags are MD5s: the MD5 of them, and
 * the number of parts. False (and ""): they are not. */
bool s3_etag_of_parts(const struct s3_part_done *parts, size_t n, char ret[S3_ETAG_MAX]);

#endif
