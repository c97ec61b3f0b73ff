/* ETags against MD5, by nettle. */
#include "s3/s3_etag.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#define QUOTED (2 * MD5_DIGEST_SIZE + 2) /* "32 digits" */

void s3_etag_begin(struct s3_etag_check *check)
{
    md5_init(&check->md5);
}

void s3_etag_add(struct s3_etag_check *check, const void *data, size_t len)
{
    md5_update(&check->md5, len, data);
}

/* One of parts has "-N" behind. */
static bool may_be_md5(const char *etag)
{
    return strlen(etag) == QUOTED && etag[0] == '"' && etag[QUOTED - 1] == '"' &&
           strspn(etag + 1, "0123456789abcdefABCDEF") == QUOTED - 2;
}

enum s3_etag_says s3_etag_end(struct s3_etag_check *check, const char *etag)
{
    uint8_t md5[MD5_DIGEST_SIZE];
    char digits[2 * MD5_DIGEST_SIZE + 1];
    bool again;

    md5_digest(&check->md5, sizeof(md5), md5);
    if (!may_be_md5(etag))
        return S3_ETAG_SILENT;
    sodium_bin2hex(digits, sizeof(digits), md5, sizeof(md5));
    if (strncasecmp(etag + 1, digits, QUOTED - 2) == 0)
        return S3_ETAG_RIGHT;
    again = strcmp(etag, check->wrong) == 0 && memcmp(md5, check->wrong_md5, sizeof(md5)) == 0;
    strcpy(check->wrong, etag);
    memcpy(check->wrong_md5, md5, sizeof(md5));
    return again ? S3_ETAG_OTHER : S3_ETAG_WRONG;
}
