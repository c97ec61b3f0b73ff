/* Writing JSON: text only, in ASCII, as Python's json.dumps writes it. */
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include "base/buf.h"

/* Appends a string in quotes. Characters beyond ASCII become \uXXXX (two of them beyond the basic
 * plane); a byte that is not UTF-8 becomes U+FFFD. 0, or the error of buf_append. */
must_use int json_text_put(struct buf *out, const char *text, size_t len);

#endif
