/* A page of a directory listing as it lies in a block of the pool: a header, then entries one
 * behind the other. Any worker may have written it, so reading it back is bounds-checked. */
#ifndef WORKERS_NAMES_LIST_PAGE_H
#define WORKERS_NAMES_LIST_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define LIST_ENTRY_MAX (24 + 255 + 72) /* bytes of one entry at most */

/* A name after which a page starts, in the form of start-after: a name of 255 bytes, a slash,
 * U+10FFFF and NUL fit. */
#define LIST_START_MAX 264

enum list_type { LIST_FILE, LIST_DIR, LIST_SHADOWED /* a file behind a directory of its name */ };

struct list_header {
    uint32_t magic;
    uint32_t n;                 /* entries */
    uint32_t used;              /* bytes, header included */
    uint32_t last;              /* no page follows */
    uint64_t listing_ns;        /* monotonic: when the listing that it belongs to began */
    uint64_t page_ns;           /* monotonic: when this page was asked for */
    char start[LIST_START_MAX]; /* where this page starts, "" = with the first name */
    char next[LIST_START_MAX];  /* where the page behind this one starts */
    uint32_t token_len;         /* of list_page_token, 0 = none */
};

struct list_entry {
    enum list_type type;
    uint64_t size;
    int64_t mtime_ns;
    const char *name; /* in the page, not NUL-terminated */
    uint8_t name_len;
    char etag[72];
};

/* An empty page in buf (cap bytes, at least the header). `start` shorter than LIST_START_MAX. */
void list_page_begin(uint8_t *buf, const char *start, uint64_t listing_ns, uint64_t page_ns);

/* Appends. False when it does not fit. */
must_use bool list_page_add(uint8_t *buf, size_t cap, const struct list_entry *e);

/* The page ends with this name, shown or not: the next one starts behind it. A directory's name is
 * followed by all keys below it, which are skipped; so is what sorts behind the first 255 bytes of
 * a name that is too long to be shown. */
void list_page_end_at(uint8_t *buf, const char *name, size_t len, bool dir);

/* 0, or -EPROTO if this is no page of `len` bytes. */
must_use int list_page_check(const uint8_t *buf, size_t len);

/* Reads the entry at *off (0 = the first) and moves *off behind it. False at the end, and when what
 * is there is no entry. */
must_use bool list_page_next(const uint8_t *buf, size_t *off, struct list_entry *ret);

/* Marks the file at `off` (h->used before it was added) as LIST_SHADOWED. */
void list_page_shadow(uint8_t *buf, uint32_t off);

/* Takes the entries from `off` (h->used before the first of them was added) on away again, so that
 * the next page begins with them: if it is not the first and they are not more than `max`. */
must_use bool list_page_cut(uint8_t *buf, uint32_t off, unsigned max);

/* What the server calls the place where the next page starts: kept behind the entries, after the
 * last of which nothing may be added then. Too long for what is left of `cap`: it is not kept. */
void list_page_set_token(uint8_t *buf, size_t cap, const char *token);

/* Copies it, NUL-terminated; "" where there is none, or it does not fit. The page is checked. */
void list_page_token(const uint8_t *buf, char *to, size_t cap);

/* Bytes of the page, token included. */
uint32_t list_page_len(const uint8_t *buf);

static inline const struct list_header *list_page_header(const uint8_t *buf)
{
    return (const struct list_header *)buf;
}

#endif
