/* ETags: the normal form, and the check against MD5, by nettle. */
#include "s3/s3_etag.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#define DIGITS (2 * (size_t)MD5_DIGEST_SIZE)
#define QUOTED (DIGITS + 2)

/* ---- one form ---- */

static bool is_visible(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] <= ' ' || s[i] > '~' || s[i] == '"')
            return false;
    }
    return true;
}

/* 32 digits, and "-N" after them if it was uploaded in parts. */
static bool is_md5(const char *s, size_t len)
{
    size_t digits = strspn(s, "0123456789abcdefABCDEF");

    if (digits != DIGITS || len < DIGITS)
        return false;
    return len == DIGITS || (s[DIGITS] == '-' && len > DIGITS + 1 &&
                             strspn(s + DIGITS + 1, "0123456789") == len - DIGITS - 1);
}

static bool has_any(const char *s, size_t len, const char *of)
{
    return strcspn(s, of) < len;
}

/* Entirely upper case: a mix is no MD5, and stays as it is. */
static bool is_upper(const char *s, size_t len)
{
    return is_md5(s, len) && has_any(s, len, "ABCDEF") && !has_any(s, len, "abcdef");
}

unsigned s3_etag_read(const char *text, char ret[S3_ETAG_MAX])
{
    size_t len = strlen(text);
    unsigned form = 0;

    ret[0] = '\0';
    if (len >= 2 && (text[0] == 'W' || text[0] == 'w') && text[1] == '/') {
        form |= S3_HABIT_WEAK_ETAGS;
        text += 2;
        len -= 2;
    }
    if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
        text++;
        len -= 2;
    } else {
        form |= S3_HABIT_BARE_ETAGS;
    }
    if (len == 0 || len + 2 >= S3_ETAG_MAX || !is_visible(text, len))
        return 0;
    ret[0] = ret[len + 1] = '"';
    memcpy(ret + 1, text, len);
    ret[len + 2] = '\0';
    if (!is_upper(text, len))
        return form;
    for (size_t i = 1; i <= len; i++)
        ret[i] = (char)tolower((unsigned char)ret[i]);
    return form | S3_HABIT_UPPER_ETAGS;
}

void s3_etag_write(const char *etag, uint32_t habits, bool bare, char ret[S3_ETAG_MAX])
{
    size_t len = strnlen(etag, S3_ETAG_MAX - 1);

    memcpy(ret, etag, len);
    ret[len] = '\0';
    if (len < 3 || ret[0] != '"' || ret[len - 1] != '"')
        return;
    if ((habits & S3_HABIT_UPPER_ETAGS) && is_md5(ret + 1, len - 2)) {
        for (size_t i = 1; i < len; i++)
            ret[i] = (char)toupper((unsigned char)ret[i]);
    }
    if (bare || (habits & S3_HABIT_BARE_ETAGS)) {
        memmove(ret, ret + 1, len - 2);
        ret[len - 2] = '\0';
    }
}

/* ---- MD5 ---- */

void s3_etag_begin(struct s3_etag_check *check)
{
    md5_init(&check->md5);
}

void s3_etag_add(struct s3_etag_check *check, const void *data, size_t len)
{
    md5_update(&check->md5, len, data);
}

/* An ETag of a multipart upload has "-N" at its end. */
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

bool s3_etag_of_parts(const struct s3_part_done *parts, size_t n, char ret[S3_ETAG_MAX])
{
    uint8_t md5[MD5_DIGEST_SIZE];
    char digits[DIGITS + 1];
    struct md5_ctx all;
    size_t len;

    ret[0] = '\0';
    md5_init(&all);
    for (size_t i = 0; i < n; i++) {
        if (!may_be_md5(parts[i].etag) ||
            sodium_hex2bin(md5, sizeof(md5), parts[i].etag + 1, DIGITS, NULL, &len, NULL) < 0)
            return false;
        md5_update(&all, sizeof(md5), md5);
    }
    md5_digest(&all, sizeof(md5), md5);
    sodium_bin2hex(digits, sizeof(digits), md5, sizeof(md5));
    snprintf(ret, S3_ETAG_MAX, "\"%s-%zu\"", digits, n);
    return true;
}
