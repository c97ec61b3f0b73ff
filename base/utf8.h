/* Valid UTF-8 or not: names of files are bytes, JSON and metrics are text. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#define UTF8_MAX 4                      /* bytes of one character */
#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for a byte that is not valid */

/* Length in bytes of the character at the start of a text that ends with NUL, which counts as one;
 * 0 if it is invalid (overlong forms and surrogates included). */
unsigned utf8_len(const char *text);

#endif
