/* Values as text: parsing, and the shortest text that parses to the same value.
 *
 *   size      digits and B, Ki, Mi, Gi or Ti; without unit: bytes       64Mi
 *   duration  digits and ms, s, m or h; only 0 needs no unit        250ms
 *   uint      digits, no sign, no leading zero                          16
 *   mode      three octal digits after an optional 0 or 0o              0644
 *   bool      true, false; in the environment yes, no, on, off, 1, 0 too
 *
 * Parsers return 0 and *ret, -EINVAL for a syntax error, -ERANGE beyond 64 bits.
 */
#ifndef CONF_CONF_VALUE_H
#define CONF_CONF_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CONF_VALUE_TEXT_MAX 32 /* any formatted number, with NUL */
#define CONF_QUOTE_MAX 56      /* of conf_value_quote, with NUL */

must_use int conf_value_size(const char *text, uint64_t *ret);
must_use int conf_value_duration(const char *text, uint64_t *ret_ns);
must_use int conf_value_uint(const char *text, uint64_t *ret);
must_use int conf_value_mode(const char *text, uint64_t *ret);
must_use int conf_value_bool(const char *text, bool loose, uint64_t *ret);

void conf_value_format_size(uint64_t v, char out[CONF_VALUE_TEXT_MAX]);
void conf_value_format_duration(uint64_t ns, char out[CONF_VALUE_TEXT_MAX]);

/* Quotes text for an error line: long text is cut, '?' replaces what is not printable ASCII. */
void conf_value_quote(const char *text, char out[CONF_QUOTE_MAX]);

/* True if the text is UTF-8 without control characters and without the few characters that YAML
 * cannot carry unescaped. */
bool conf_value_is_clean(const char *text);

#endif
