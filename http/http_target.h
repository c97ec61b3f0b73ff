/* The target of a request: its path, byte for byte, and its query. */
#ifndef HTTP_HTTP_TARGET_H
#define HTTP_HTTP_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct http_target {
    const char *path; /* from its first "/" up to the first "?"; nothing is decoded */
    size_t path_len;
    const char *query; /* behind that "?"; may be empty */
    size_t query_len;
};

/* Splits a target of the origin form ("/keys/k?x=1") or of the absolute form
 * ("http://host/keys/k"), whose scheme and host are dropped. ";" and "#" are ordinary bytes. 0, or
 * -EPROTO for any other form. */
must_use int http_target_split(const char *text, size_t len, struct http_target *ret);

/* The value of a query's first parameter of this name that is not blank, decoded as a form is (%XX,
 * "+" is a space), into `out` with a NUL. Its length; 0 if there is none; -ENAMETOOLONG if it does
 * not fit into cap - 1 bytes; -EINVAL if it has a NUL inside. */
must_use int http_target_param(const struct http_target *t, const char *name, char *out,
                               size_t cap);

/* The prefix and delimiter of a listing, with defaults "" and "/". Clients exist that put the name
 * of a directory into `prefix=<name>/&delimiter=/` as it is: where the query has this shape, the
 * name may contain "&" and "+", which stand for themselves. The error of http_target_param. */
must_use int http_target_listing(const struct http_target *t, char *prefix, size_t prefix_cap,
                                 char *delimiter, size_t delimiter_cap);

#endif
