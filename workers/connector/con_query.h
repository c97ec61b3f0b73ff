/* POST /query */
#ifndef WORKERS_CONNECTOR_CON_QUERY_H
#define WORKERS_CONNECTOR_CON_QUERY_H

#include "workers/http/http_service.h"

/* Answers with the JSON documents below a prefix that match; 501 where the variant has no
 * queries. */
void con_query(struct http_conn *c);

#endif
