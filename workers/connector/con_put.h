/* PUT /keys/{key} */
#ifndef WORKERS_CONNECTOR_CON_PUT_H
#define WORKERS_CONNECTOR_CON_PUT_H

#include "workers/connector/con_key.h"
#include "workers/http/http_service.h"

/* Takes the body of the request, and publishes it when it is complete. */
void con_put(struct http_conn *c, const struct con_key *key);

#endif
