/* GET /keys/?prefix=P&delimiter=D */
#ifndef WORKERS_CONNECTOR_CON_LIST_H
#define WORKERS_CONNECTOR_CON_LIST_H

#include "workers/http/http_service.h"

/* Answers with the keys and the common prefixes. */
void con_list(struct http_conn *c);

#endif
