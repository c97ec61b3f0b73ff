/* Which files of a listing lie behind a directory of their name: the directory shows (a local file
 * system has no two).
 *
 * Key "n" and prefix "n/" stand apart in a listing: "n-1", "n.txt" and all else that goes on with a
 * byte below '/' sort between them, perhaps pages of it. The files that are still waiting for their
 * directory at some place begin alike, each longer than the one before: a stack. */
#ifndef WORKERS_NAMES_LIST_SHADOW_H
#define WORKERS_NAMES_LIST_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIST_SHADOW_NAME_MAX 255

struct list_shadow {
    unsigned n;
    struct {
        uint32_t page, off; /* where its entry lies: the caller's */
        uint8_t len;        /* of its name */
    } file[LIST_SHADOW_NAME_MAX + 1];
    char name[LIST_SHADOW_NAME_MAX]; /* of the last; those of the others are its beginnings */
};

/* The next entry of the listing, which comes in the order of keys (a directory's name with a slash
 * after it). True if it is the directory of the last file: list_shadow_pop() then. */
bool list_shadow_pass(struct list_shadow *s, const char *name, size_t len, bool dir);

/* The entry that was passed last is a file that is shown; `len` up to LIST_SHADOW_NAME_MAX. */
void list_shadow_push(struct list_shadow *s, const char *name, uint8_t len, uint32_t page,
                      uint32_t off);

static inline void list_shadow_pop(struct list_shadow *s)
{
    s->n--;
}

#endif
