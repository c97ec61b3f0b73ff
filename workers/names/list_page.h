/* A page of a directory listing as stored in a block of the pool: a header, then the entries one
 * after another. Any worker may have written it, so reading it is bounds-checked. */
#ifndef WORKERS_NAMES_LIST_PAGE_H
#define WORKERS_NAMES_LIST_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define LIST_NAME_MAX 1024                       /* bytes of a name: as long as a key */
#define LIST_ENTRY_MAX (24 + LIST_NAME_MAX + 72) /* maximum size of one entry in bytes */

/* The name after which a page starts, in the form of start-after: a name, a slash, U+10FFFF and NUL
 * fit. */
#define LIST_START_MAX (LIST_NAME_MAX + 8)

enum list_type { LIST_FILE, LIST_DIR, LIST_SHADOWED /* a file that a directory hides */ };

struct list_header {
    uint32_t magic;
    uint32_t n;                 /* entries */
    uint32_t used;              /* bytes, including the header */
    uint32_t last;              /* no page follows */
    uint64_t listing_ns;        /* monotonic: when its listing began */
    uint64_t page_ns;           /* monotonic: when this page was requested */
    char start[LIST_START_MAX]; /* where this page starts, "" = with the first name */
    char next[LIST_START_MAX];  /* where the next page starts */
    uint32_t token_len;         /* length of the token (list_page_token), 0 = none */
};

struct list_entry {
    enum list_type type;
    uint64_t size;
    int64_t mtime_ns;
    const char *name; /* in the page, not NUL-terminated */
    uint16_t name_len;
    bool folder; /* a directory that is listed as "name_$folder$" (workers/objmeta/folder.h) */
    char etag[72];
};

/* Starts an empty page in buf, which must have room for at least the header. `start` must be
 * shorter than LIST_START_MAX. */
void list_page_begin(uint8_t *buf, const char *start, uint64_t listing_ns, uint64_t page_ns);

/* Appends an entry. False if it does not fit into `cap` bytes. */
must_use bool list_page_add(uint8_t *buf, size_t cap, const struct list_entry *e);

/* The page ends with this name, shown or not: the next page starts after it. A directory's name is
 * followed by all keys below it, which are skipped; so is everything that sorts after the first
 * LIST_NAME_MAX bytes of a longer one. */
void list_page_end_at(uint8_t *buf, const char *name, size_t len, bool dir);

/* The key after which such a page starts in the directory with this key: `out` has room for both
 * and a NUL. It is no longer than a key may be (`max`), so that every server takes it. */
void list_page_start_after(const char *dir, const char *start, size_t max, char *out);

/* 0, or -EPROTO if this is not a page of `len` bytes. */
must_use int list_page_check(const uint8_t *buf, size_t len);

/* Reads the entry at *off (0 = the first) and moves *off to the next one. False at the end, and if
 * there is no valid entry. */
must_use bool list_page_next(const uint8_t *buf, size_t *off, struct list_entry *ret);

/* Marks the file at `off` (h->used before it was added) as LIST_SHADOWED. */
void list_page_shadow(uint8_t *buf, uint32_t off);

/* Removes the entries from `off` on (h->used before the first of them was added), so that the next
 * page begins with them. False, and nothing is removed, if no entry would be left before them, or
 * if they are more than `max`. */
must_use bool list_page_cut(uint8_t *buf, uint32_t off, unsigned max);

/* Stores the server's token for the start of the next page behind the entries; after that no entry
 * may be added. A token that does not fit into the rest of `cap` is not stored. */
void list_page_set_token(uint8_t *buf, size_t cap, const char *token);

/* Copies the token, NUL-terminated; "" if there is none, or if it does not fit. The page must have
 * been checked. */
void list_page_token(const uint8_t *buf, char *to, size_t cap);

/* Bytes of the page, including the token. */
uint32_t list_page_len(const uint8_t *buf);

static inline const struct list_header *list_page_header(const uint8_t *buf)
{
    return (const struct list_header *)buf;
}

#endif
