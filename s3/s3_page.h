/* The entries of one page of a listing, put into order.
 *
 * Servers send keys and common prefixes as two lists, in either order, and not all of them sorted.
 * What a page promises is only that it covers all entries up to the greatest of both. So entries
 * are kept until the answer is whole, then sorted (by bytes); where there are more than were asked
 * for, the smallest of them are the page.
 *
 * Some servers count the keys alone against max-keys, and add prefixes from far behind the last
 * key. A page with more entries than were asked for may be one of those: it covers what comes up to
 * its greatest key.
 *
 * Pages follow each other in the order of bytes, which is that of UTF-8, and S3's.
 */
#ifndef S3_S3_PAGE_H
#define S3_S3_PAGE_H

#include "s3/s3.h"

struct s3_page;

/* A page of up to `max` (1..S3_LIST_MAX) entries behind `behind` (NULL or a key), whatever else the
 * server sends. 0 and *ret_page, or -ENOMEM. */
must_use int s3_page_new(unsigned max, const char *behind, struct s3_page **ret_page);
void s3_page_free(struct s3_page *page);

/* Begins anew. */
void s3_page_reset(struct s3_page *page);

/* Takes a copy. 0 or -ENOMEM. */
must_use int s3_page_add(struct s3_page *page, const struct s3_list_entry *e);

/* All were added; `truncated`: the server said that more follow. True if entries were left out that
 * come behind those of the page, so that the server's token would miss them. */
bool s3_page_end(struct s3_page *page, bool truncated);

/* In order, after s3_page_end. */
unsigned s3_page_count(const struct s3_page *page);
const struct s3_list_entry *s3_page_entry(const struct s3_page *page, unsigned i);

#endif
