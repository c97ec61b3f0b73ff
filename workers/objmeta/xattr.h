/* Extended attributes in the form in which s3fs keeps them, all in one metadata value:
 * percent-coded JSON {"name":"base64 of the value",...}. Survives that servers fold the case of
 * metadata names, since it has but one.
 *
 * Attributes of other namespaces than "user." that s3fs has put there stay, and are not shown. */
#ifndef WORKERS_OBJMETA_XATTR_H
#define WORKERS_OBJMETA_XATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define XATTR_PREFIX "user."
#define XATTR_NAME_LEN_MAX 255
/* Of all, coded, with NUL: leaves room in S3's 2 KiB for mode, owner, time, and the lineage of a
 * compare-and-set mount. */
#define XATTR_CODED_MAX 1472 /* = SHM_SESSION_META_MAX */
#define XATTR_COUNT_MAX 64

/* One of them, in set->bytes: its name with NUL, then its value. */
struct xattr_item {
    uint16_t name, value; /* where they begin */
    uint16_t len;         /* of the value */
};

struct xattr_set {
    size_t n, used;
    struct xattr_item item[XATTR_COUNT_MAX];
    uint8_t bytes[2 * XATTR_CODED_MAX];
};

/* Decodes ("" = none). What is broken, or too much, ends it: those before it count. -EIO then, so
 * that who would write them anew does not destroy the others. */
must_use int xattr_decode(const char *coded, struct xattr_set *ret);

/* The coded form: -ENOSPC if it does not fit. "" for none. */
must_use int xattr_encode(const struct xattr_set *set, char out[XATTR_CODED_MAX]);

/* Its value (not NUL-terminated) and length; NULL if there is none of this name. */
const uint8_t *xattr_get(const struct xattr_set *set, const char *name, size_t *ret_len);

/* Adds or replaces one. `flags`: XATTR_CREATE, XATTR_REPLACE of setxattr(2). 0, -EEXIST, -ENODATA,
 * -E2BIG: this one alone would not fit, -ENOSPC: not with the others. Nothing is done then. */
must_use int xattr_put(struct xattr_set *set, const char *name, const void *value, size_t len,
                       int flags);

/* 0 or -ENODATA. */
must_use int xattr_remove(struct xattr_set *set, const char *name);

/* All names of the user namespace, each with NUL, as listxattr(2) tells them. Their length; `out`
 * NULL: only that. -ERANGE if it is more than cap. */
must_use ssize_t xattr_list(const struct xattr_set *set, char *out, size_t cap);

#endif
