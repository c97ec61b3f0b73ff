/* The head of an HTTP/1.x request: the request line and the header fields. Strict about framing,
 * where two readers must never disagree; lenient about what nobody here uses. */
#ifndef HTTP_HTTP_HEAD_H
#define HTTP_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HTTP_HEAD_MAX (16u << 10) /* bytes of a head, its empty line included */
#define HTTP_FIELDS_MAX 100

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_PUT,
    HTTP_POST,
    HTTP_DELETE,
    HTTP_OTHER, /* a method of RFC 9110 or another token, which nothing here serves */
};

struct http_head {
    enum http_method method;
    unsigned minor;     /* HTTP/1.<minor> */
    const char *target; /* points into the text; not NUL-terminated, visible bytes only */
    size_t target_len;
    bool has_length; /* Content-Length; not with `chunked`, which counts instead */
    uint64_t length;
    bool chunked;
    bool keep_alive;   /* the connection may serve another request */
    bool expects;      /* Expect: 100-continue */
    bool if_absent;    /* If-None-Match: * */
    bool if_range;     /* If-Range: a Range does not count then */
    const char *range; /* the value of Range, or NULL; points into the text */
    size_t range_len;  /* its bytes */
};

/* Looks for a whole head at the start of the text. `*ret_len`: its bytes, the empty line
 * included. 0; -EAGAIN: it is not whole yet; -EMSGSIZE: it is longer than HTTP_HEAD_MAX, or has
 * more than HTTP_FIELDS_MAX fields; -EPROTO: it is not a head of HTTP/1.0 or 1.1; -EOPNOTSUPP:
 * it is one, with a transfer coding other than chunked. On errors *ret_head is untouched. Empty
 * lines before it are skipped. */
must_use int http_head_parse(const char *text, size_t len, struct http_head *ret_head,
                             size_t *ret_len);

#endif
