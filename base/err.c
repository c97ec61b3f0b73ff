/* Errors as an errno and one bounded line; no heap, so that they work when memory is out. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;

        err->code = code;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return -code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    char old[ERR_TEXT_MAX];
    va_list ap;
    int n;

    if (!err)
        return -EINVAL;
    memcpy(old, err->text, sizeof(old));
    va_start(ap, fmt);
    n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n + 3 < sizeof(err->text))
        snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %.*s",
                 (int)(sizeof(err->text) - (size_t)n - 3), old);
    return err->code ? -err->code : -EINVAL;
}
