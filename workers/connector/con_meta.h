/* GET and PUT /meta/{key} */
#ifndef WORKERS_CONNECTOR_CON_META_H
#define WORKERS_CONNECTOR_CON_META_H

#include "workers/connector/con_key.h"
#include "workers/http/http_service.h"

/* Answers with the names of the attributes, or with the value of the one that the query names. */
void con_meta_get(struct http_conn *c, const struct con_key *key);

/* Sets the one that the query names, to the "value" of the body; only content_type can be. */
void con_meta_put(struct http_conn *c, const struct con_key *key);

#endif
