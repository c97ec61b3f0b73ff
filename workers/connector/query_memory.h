/* How much memory the queries of a worker may have, all of them together: what they keep is counted
 * here, and the trees that jansson makes of a text have a limit each. */
#ifndef WORKERS_CONNECTOR_QUERY_MEMORY_H
#define WORKERS_CONNECTOR_QUERY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define QUERY_KEPT_MAX (32u << 20)   /* bytes: requests, documents and rows of all queries */
#define QUERY_TREE_MAX (48u << 20)   /* of the tree of a document, while it is looked at */
#define QUERY_REQUEST_MAX (8u << 20) /* of the tree of a request */

/* Within this much memory queries have less: a tree as many bytes as that, what is kept
 * QUERY_REQUEST_MAX more; up to the values above, which hold until it is called. */
void query_memory_within(size_t bytes);

/* Of the tree of a document, now. */
size_t query_memory_tree_max(void);

/* Takes so many bytes of QUERY_KEPT_MAX, or fewer. False: there are not so many left now. */
bool query_memory_take(size_t bytes);
void query_memory_give(size_t bytes);

/* Between these two, jansson has at most so many bytes more than before: beyond that it is out of
 * memory. Returns how many more it has now; *ret_refused: it wanted too many. */
void query_memory_limit(size_t bytes);
size_t query_memory_unlimit(bool *ret_refused);

#endif
