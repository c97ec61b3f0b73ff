/* Where a value was written, and error lines that begin with that place. */
#ifndef CONF_CONF_SOURCE_H
#define CONF_CONF_SOURCE_H

#include "base/err.h"

enum conf_source_kind { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_ENV };

struct conf_source {
    enum conf_source_kind kind;
    const char *name;      /* borrowed: file or environment variable */
    unsigned line, column; /* in a file, from 1 */
};

#define CONF_SOURCE_TEXT_MAX 160

/* The part of a file name that is shown: its last 80 bytes; *ret_dots ("..." or "") precedes it. */
const char *conf_source_file(const char *file, const char **ret_dots);

/* "default", "file:line:column" (of a long file name only the end), "env NAME". */
void conf_source_text(const struct conf_source *src, char out[CONF_SOURCE_TEXT_MAX]);

/* "file:line:column: key: <text>", "environment NAME: key: <text>", "key: <text>". `key` may
 * be NULL. Returns -EINVAL. */
int conf_source_fail(const struct conf_source *src, const char *key, struct err *err,
                     const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
