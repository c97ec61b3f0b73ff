/* Errors: an errno and one bounded line. No heap, so they work when memory runs out. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MARK "..."

void err_cut(char *text, size_t cap, int wanted)
{
    size_t at;

    if (wanted < 0 || (size_t)wanted < cap || cap <= sizeof(MARK))
        return;
    at = cap - sizeof(MARK) - 1;
    while (at > 0 && text[at] != ' ')
        at--;
    if (at == 0)
        at = cap - sizeof(MARK); /* one word */
    else
        at++;
    memcpy(text + at, MARK, sizeof(MARK));
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;

        err->code = code;
        va_start(ap, fmt);
        err_cut(err->text, sizeof(err->text), vsnprintf(err->text, sizeof(err->text), fmt, ap));
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
    err_cut(err->text, sizeof(err->text), n);
    if (n >= 0 && (size_t)n + 3 < sizeof(err->text)) {
        size_t room = sizeof(err->text) - (size_t)n;

        err_cut(err->text + n, room, snprintf(err->text + n, room, ": %s", old));
    }
    return err->code ? -err->code : -EINVAL;
}
