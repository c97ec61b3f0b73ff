/* See utf8.h. */
#include "base/utf8.h"

#include <stdbool.h>

/* The bytes that may follow the first one are fewer at the edges of what is valid. */
static bool is_out_of_range(const unsigned char *s)
{
    return (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
           (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
}

unsigned utf8_len(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned n = s[0] < 0x80                    ? 1
                 : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
                 : s[0] >= 0xe0 && s[0] <= 0xef ? 3
                 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                                : 0;

    for (unsigned i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0; /* also at the end of the text */
    }
    return n > 1 && is_out_of_range(s) ? 0 : n;
}
