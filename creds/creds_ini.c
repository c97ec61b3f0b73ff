/* The parser of the shared files; what sections mean is creds_shared.c's matter. A comment begins a
 * line with "#" or ";", or ends one after a blank. */
#include "creds/creds_ini.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static char *trim(char *text)
{
    size_t n;

    text += strspn(text, " \t\r");
    n = strlen(text);
    while (n && strchr(" \t\r", text[n - 1]))
        n--;
    text[n] = '\0';
    return text;
}

static void cut_comment(char *text)
{
    for (char *p = text; *p; p++) {
        if ((*p == '#' || *p == ';') && (p == text || p[-1] == ' ' || p[-1] == '\t')) {
            *p = '\0';
            return;
        }
    }
}

/* "[name]", and a comment perhaps. NULL if it is not closed or empty. */
static char *section_of(char *line)
{
    char *end = strchr(line, ']'), *name, *rest;

    if (!end)
        return NULL;
    *end = '\0';
    rest = trim(end + 1);
    name = trim(line + 1);
    return *name && (!*rest || *rest == '#' || *rest == ';') ? name : NULL;
}

/* "key = value". False if there is no "=" or no key. */
static bool split(char *line, char **ret_key, char **ret_value)
{
    char *equals = strchr(line, '=');

    if (!equals)
        return false;
    *equals = '\0';
    *ret_key = trim(line);
    cut_comment(equals + 1);
    *ret_value = trim(equals + 1);
    for (char *p = *ret_key; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return **ret_key != '\0';
}

struct ini {
    const char *section; /* NULL = none yet */
    creds_ini_fn *fn;
    void *arg;
    unsigned line, entries;
};

static int ini_line(struct ini *ini, char *line, struct err *err)
{
    char *key, *value;

    if (*line == ' ' || *line == '\t' || !*trim(line) || *line == '#' || *line == ';')
        return 0;
    if (++ini->entries > CREDS_INI_ENTRIES_MAX)
        return err_set(err, EINVAL, "line %u: more than %d entries", ini->line,
                       CREDS_INI_ENTRIES_MAX);
    if (*line == '[') {
        ini->section = section_of(line);
        if (!ini->section)
            return err_set(err, EINVAL, "line %u: expected [section]", ini->line);
        return ini->fn(ini->arg, ini->section, "", "");
    }
    if (!split(line, &key, &value))
        return err_set(err, EINVAL, "line %u: expected key = value", ini->line);
    return ini->section ? ini->fn(ini->arg, ini->section, key, value) : 0;
}

int creds_ini_parse(char *text, creds_ini_fn *fn, void *arg, struct err *err)
{
    struct ini ini = {.fn = fn, .arg = arg};
    int r = 0;

    if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
        text += 3;
    while (*text && r == 0) {
        char *end = strchrnul(text, '\n'), *next = *end ? end + 1 : end;

        *end = '\0';
        ini.line++;
        r = ini_line(&ini, text, err);
        text = next;
    }
    return r;
}
