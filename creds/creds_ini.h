/* The shared files of AWS's clients: sections, "key = value", comments, lines that belong to the
 * one before. */
#ifndef CREDS_CREDS_INI_H
#define CREDS_CREDS_INI_H

#include <stddef.h>

#include "base/err.h"

#define CREDS_INI_SIZE_MAX (256u << 10) /* of a file */
#define CREDS_INI_ENTRIES_MAX 8192

/* One "key = value"; the strings stay valid as long as the text. `key` is in lower case. Negative
 * ends the parsing. */
typedef int creds_ini_fn(void *arg, const char *section, const char *key, const char *value);

/* Cuts `text` (NUL-terminated) into its entries, in place. Calls `fn` for each, and with an empty
 * `key` for each section, in their order. Lines that begin with a blank continue a value or nest
 * below it: they are left out, none that is needed here has any. What stands before the first
 * section is left out. 0; -EINVAL with *err (the line's number, never its text) for a section that
 * is not closed, a line that is neither, or more than CREDS_INI_ENTRIES_MAX of them; or what `fn`
 * said. */
must_use int creds_ini_parse(char *text, creds_ini_fn *fn, void *arg, struct err *err);

#endif
