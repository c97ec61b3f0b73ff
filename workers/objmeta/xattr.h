/* Extended attributes in the form of s3fs, all in one metadata value: percent-coded JSON
 * {"name":"base64 of the value",...}. It survives servers that fold the case of metadata names, as
 * there is only one name.
 *
 * Attributes of the namespaces "system.", "security." and "trusted." that s3fs has stored are
 * preserved, but not shown. Others are: s3fs takes names without a namespace. */
#ifndef WORKERS_OBJMETA_XATTR_H
#define WORKERS_OBJMETA_XATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define XATTR_PREFIX "user."
#define XATTR_NAME_LEN_MAX 255
/* Total coded size, with NUL: leaves room in S3's 2 KiB for mode, owner, time, and the lineage of a
 * compare-and-set mount. */
#define XATTR_CODED_MAX 1472 /* = SHM_SESSION_META_MAX */
#define XATTR_COUNT_MAX 64

/* One attribute, in set->bytes: its name with NUL, then its value. */
struct xattr_item {
    uint16_t name, value; /* offsets in set->bytes */
    uint16_t len;         /* of the value */
};

struct xattr_set {
    size_t n, used;
    struct xattr_item item[XATTR_COUNT_MAX];
    uint8_t bytes[2 * XATTR_CODED_MAX];
};

/* Decodes ("" = none). Stops at an invalid or excess attribute: *ret has those before it, and the
 * result is -EIO, so that a caller does not write them back and destroy the others. Else 0. */
must_use int xattr_decode(const char *coded, struct xattr_set *ret);

/* Encodes the set; "" for an empty one. 0, or -ENOSPC if it does not fit. */
must_use int xattr_encode(const struct xattr_set *set, char out[XATTR_CODED_MAX]);

/* The value (not NUL-terminated) and length of an attribute; NULL if there is none with this
 * name. */
const uint8_t *xattr_get(const struct xattr_set *set, const char *name, size_t *ret_len);

/* Adds or replaces an attribute. `flags`: XATTR_CREATE, XATTR_REPLACE of setxattr(2). 0; or an
 * error, and the set is unchanged: -EEXIST, -ENODATA, -E2BIG: it would not fit even alone, -ENOSPC:
 * it does not fit with the others. */
must_use int xattr_put(struct xattr_set *set, const char *name, const void *value, size_t len,
                       int flags);

/* Removes an attribute. 0 or -ENODATA. */
must_use int xattr_remove(struct xattr_set *set, const char *name);

/* True for a name that is not in one of the kernel's own namespaces. */
bool xattr_is_shown(const char *name);

/* Lists all names that are shown, each with NUL, as listxattr(2) does. Returns their total
 * length; `out` NULL: only that. -ERANGE if it is more than cap. */
must_use ssize_t xattr_list(const struct xattr_set *set, char *out, size_t cap);

#endif
