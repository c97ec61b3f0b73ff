/* HEAD /keys/{key} */
#ifndef WORKERS_CONNECTOR_CON_HEAD_H
#define WORKERS_CONNECTOR_CON_HEAD_H

#include "workers/connector/con_key.h"
#include "workers/http/http_service.h"

/* Answers with the size of the object, or 404. */
void con_head(struct http_conn *c, const struct con_key *key);

#endif
