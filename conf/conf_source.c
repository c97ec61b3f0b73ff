/* Origins as text. Error lines keep room for the message: a long file name is shortened to its
 * end. */
#include "conf/conf_source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FILE_NAME_SHOWN 80

const char *conf_source_file(const char *file, const char **ret_dots)
{
    size_t n = strlen(file);

    *ret_dots = n > FILE_NAME_SHOWN ? "..." : "";
    return n > FILE_NAME_SHOWN ? file + n - FILE_NAME_SHOWN : file;
}

void conf_source_text(const struct conf_source *src, char out[CONF_SOURCE_TEXT_MAX])
{
    const char *dots, *name;

    switch (src->kind) {
    case CONF_FROM_FILE:
        name = conf_source_file(src->name, &dots);
        snprintf(out, CONF_SOURCE_TEXT_MAX, "%s%s:%u:%u", dots, name, src->line, src->column);
        break;
    case CONF_FROM_ENV:
        snprintf(out, CONF_SOURCE_TEXT_MAX, "env %s", src->name);
        break;
    case CONF_FROM_DEFAULT:
        snprintf(out, CONF_SOURCE_TEXT_MAX, "default");
        break;
    }
}

int conf_source_fail(const struct conf_source *src, const char *key, struct err *err,
                     const char *fmt, ...)
{
    char where[CONF_SOURCE_TEXT_MAX] = "";
    char what[ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (src->kind == CONF_FROM_ENV)
        snprintf(where, sizeof(where), "environment %s", src->name);
    else if (src->kind == CONF_FROM_FILE)
        conf_source_text(src, where);
    return err_set(err, EINVAL, "%s%s%s%s%s", where, *where ? ": " : "", key ? key : "",
                   key ? ": " : "", what);
}
