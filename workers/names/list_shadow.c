/* See list_shadow.h. */
#include "workers/names/list_shadow.h"

#include <string.h>

enum place { BEFORE_DIRECTORY, AT_DIRECTORY, BEHIND };

/* Position of an entry relative to the directory that the last file waits for. */
static enum place place_of(const struct list_shadow *s, const char *name, size_t len, bool dir)
{
    size_t n = s->file[s->n - 1].len;
    unsigned char next;

    if (len < n || memcmp(name, s->name, n) != 0)
        return BEHIND;
    if (len == n)
        return dir ? AT_DIRECTORY : BEFORE_DIRECTORY;
    next = (unsigned char)name[n];
    return next < '/' ? BEFORE_DIRECTORY : BEHIND;
}

bool list_shadow_pass(struct list_shadow *s, const char *name, size_t len, bool dir)
{
    while (s->n) {
        enum place place = place_of(s, name, len, dir);

        if (place != BEHIND)
            return place == AT_DIRECTORY;
        s->n--;
    }
    return false;
}

void list_shadow_push(struct list_shadow *s, const char *name, uint16_t len, uint32_t page,
                      uint32_t off)
{
    if (s->n == sizeof(s->file) / sizeof(s->file[0]))
        return; /* impossible with a sorted listing: each is longer than the one before */
    s->file[s->n].page = page;
    s->file[s->n].off = off;
    s->file[s->n].len = len;
    s->n++;
    memcpy(s->name, name, len);
}
