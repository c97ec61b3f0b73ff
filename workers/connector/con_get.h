/* GET /keys/{key} */
#ifndef WORKERS_CONNECTOR_CON_GET_H
#define WORKERS_CONNECTOR_CON_GET_H

#include "workers/connector/con_key.h"
#include "workers/http/http_service.h"

/* Answers with the object, or with the range of it that the request wants. */
void con_get(struct http_conn *c, const struct con_key *key);

#endif
