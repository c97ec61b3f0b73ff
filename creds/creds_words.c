/* The words of a credential_process. No shell: nothing is expanded, nothing is run but the first
 * word. */
#include <ctype.h>
#include <errno.h>
#include <stddef.h>

#include "creds/creds_provider.h"

/* One word from *in on, written to `out` (which is never ahead). False: a quote is not closed. */
static bool one_word(const char **in, char **out)
{
    char quote = '\0';
    const char *p = *in;

    for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
        bool special =
            quote != '\'' && *p == '\\' && p[1] && (!quote || p[1] == '"' || p[1] == '\\');

        if (special)
            *(*out)++ = *++p;
        else if (!quote && (*p == '"' || *p == '\''))
            quote = *p;
        else if (quote && *p == quote)
            quote = '\0';
        else
            *(*out)++ = *p;
    }
    *in = p;
    return !quote;
}

int creds_words(char *text, char **ret_words, unsigned max)
{
    const char *in = text;
    char *out = text;
    unsigned n = 0;

    for (;;) {
        bool more;

        while (isspace((unsigned char)*in))
            in++;
        if (!*in)
            break;
        if (n + 1 >= max)
            return -EINVAL;
        ret_words[n++] = out;
        if (!one_word(&in, &out))
            return -EINVAL;
        more = *in != '\0';
        *out++ = '\0';
        if (!more)
            break;
        in++;
    }
    ret_words[n] = NULL;
    return n ? (int)n : -EINVAL;
}
