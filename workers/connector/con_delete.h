/* DELETE /keys/{key} */
#ifndef WORKERS_CONNECTOR_CON_DELETE_H
#define WORKERS_CONNECTOR_CON_DELETE_H

#include "workers/connector/con_key.h"
#include "workers/http/http_service.h"

/* Deletes the object: 204, 404 if there is none, 409 if the variant expects another version. */
void con_delete(struct http_conn *c, const struct con_key *key);

#endif
