/* Requests that change something, while the server is still being probed: in the variant that
 * compares they wait until it is known what the server's conditions are worth. Without a mount the
 * probe runs while the workers serve already. */
#ifndef WORKERS_CONNECTOR_CON_WAIT_H
#define WORKERS_CONNECTOR_CON_WAIT_H

#include "workers/connector/con_key.h"
#include "workers/http/http_service.h"

/* Answers a request about this key, now or later. */
typedef void con_key_endpoint(struct http_conn *c, const struct con_key *key);

/* True if a request of this method has to wait. */
bool con_wait_is_needed(const struct worker *w, enum http_method method);

/* Calls the endpoint when the probe has accepted the server. Until then nothing of the request's
 * body is read. If the probe has failed, the answer is 503: the daemon ends. */
void con_wait(struct http_conn *c, const struct con_key *key, con_key_endpoint *endpoint);

#endif
