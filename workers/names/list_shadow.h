/* Which files of a listing are hidden by a directory of the same name: the directory is shown (a
 * local file system cannot have both).
 *
 * Key "n" and prefix "n/" are not adjacent in a listing: "n-1", "n.txt" and all other keys that
 * continue with a byte below '/' sort between them, perhaps pages of them. The files that are
 * waiting for their directory at some point all begin alike, each longer than the one before: a
 * stack. */
#ifndef WORKERS_NAMES_LIST_SHADOW_H
#define WORKERS_NAMES_LIST_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIST_SHADOW_NAME_MAX 1024

struct list_shadow {
    unsigned n;
    struct {
        uint32_t page, off; /* position of its entry, for the caller */
        uint16_t len;       /* length of its name */
    } file[LIST_SHADOW_NAME_MAX + 1];
    /* of the last file; the names of the others are prefixes of it */
    char name[LIST_SHADOW_NAME_MAX];
};

/* Takes the next entry of the listing, in the order of keys (a directory's name with a slash after
 * it). True if it is the directory of the last file: then call list_shadow_pop(). */
bool list_shadow_pass(struct list_shadow *s, const char *name, size_t len, bool dir);

/* The entry of the last list_shadow_pass() is a file that is shown; `len` up to
 * LIST_SHADOW_NAME_MAX. */
void list_shadow_push(struct list_shadow *s, const char *name, uint16_t len, uint32_t page,
                      uint32_t off);

static inline void list_shadow_pop(struct list_shadow *s)
{
    s->n--;
}

#endif
