/* The entries of one page of a listing, in order.
 *
 * Servers send keys and common prefixes as two lists, in either order, and not always sorted. A
 * page only promises to cover all entries up to the greatest of both. So entries are kept until the
 * response is complete, then sorted (by bytes); if there are more than requested, the smallest of
 * them are the page.
 *
 * Some servers count only keys against max-keys, and add prefixes from far behind the last key. A
 * page with more entries than requested may be such a page: it covers entries up to its greatest
 * key.
 *
 * Pages follow each other in byte order, which is that of UTF-8, and S3's. */
#ifndef S3_S3_PAGE_H
#define S3_S3_PAGE_H

#include "s3/s3.h"

struct s3_page;

/* A page of up to `max` (1..S3_LIST_MAX) entries after `behind` (NULL or a key), whatever else the
 * server sends. 0 and *ret_page, or -ENOMEM. */
must_use int s3_page_new(unsigned max, const char *behind, struct s3_page **ret_page);
void s3_page_free(struct s3_page *page);

/* Empties the page. */
void s3_page_reset(struct s3_page *page);

/* Adds a copy of the entry. 0 or -ENOMEM. */
must_use int s3_page_add(struct s3_page *page, const struct s3_list_entry *e);

/* All entries were added; `truncated`: the server said that more follow. True if entries after
 * those of the page were left out, so that the server's token would skip them. */
bool s3_page_end(struct s3_page *page, bool truncated);

/* The entries in order, after s3_page_end. */
unsigned s3_page_count(const struct s3_page *page);
const struct s3_list_entry *s3_page_entry(const struct s3_page *page, unsigned i);

#endif
