/* The pairs of a log line as fields: `name=%…` and `name="%…"` in its format. They are found in the
 * format and not in the finished line, so no value can forge one. */
#ifndef BASE_LOG_FIELDS_H
#define BASE_LOG_FIELDS_H

#include <stdarg.h>
#include <stddef.h>

#define LOG_FIELD_VALUE_MAX 2048 /* bytes of a value, with NUL; longer ones are cut */

/* `name` is not terminated; `value` ends with NUL. */
typedef void log_field_fn(void *ctx, const char *name, size_t name_len, const char *value);

/* Calls `fn` for each pair, in their order. A value that is made of several conversions, or of one
 * and other text, is no field. Ends at a conversion that it does not know (%n, %f and the like; *
 * as a width). */
void log_fields(const char *fmt, va_list ap, log_field_fn *fn, void *ctx);

#endif
