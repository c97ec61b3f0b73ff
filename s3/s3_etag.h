/* ETags in one form, whatever the server writes: so that the same version has the same ETag in
 * each answer, and ETags can be compared as strings. It has quotes, no W/, and an MD5 is in
 * small letters. "" is none: nothing is of the same version as something without an ETag.
 *
 * Are these the bytes of that ETag? That of an object put in one piece is the MD5 of its bytes,
 * unless KMS or the customer encrypts it. A server that looks the ETag up and opens the object
 * in two steps, as gateways on top of a file system do, may tell the ETag of one version and the
 * bytes of the next: a compare-and-set would compare with what nobody has read, and a cache keep
 * them under a wrong name. */
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
    S3_ETAG_WRONG, /* ask again */
    S3_ETAG_OTHER, /* the same bytes came with it twice in a row: it is no MD5 */
};

/* How a server wrote an ETag: enum s3_habit of those that it shows, WEAK_ETAGS among them. `ret`
 * is "" for what is none, or cannot be sent back: too long, blanks, quotes inside. */
unsigned s3_etag_read(const char *text, char ret[S3_ETAG_MAX]);

/* How it is to be written for a server of these habits; `bare` = without quotes in any case. */
void s3_etag_write(const char *etag, uint32_t habits, bool bare, char ret[S3_ETAG_MAX]);

/* Of the answers to one request. Zeroed at first. */
struct s3_etag_check {
    struct md5_ctx md5;
    char wrong[S3_ETAG_MAX]; /* of the last answer that was WRONG; "" = none */
    uint8_t wrong_md5[MD5_DIGEST_SIZE];
};

/* A new answer begins. */
void s3_etag_begin(struct s3_etag_check *check);

/* Its bytes, in order. */
void s3_etag_add(struct s3_etag_check *check, const void *data, size_t len);

/* All have come. */
enum s3_etag_says s3_etag_end(struct s3_etag_check *check, const char *etag);

#endif
