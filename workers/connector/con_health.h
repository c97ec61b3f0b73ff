/* GET /healthz, GET /readyz */
#ifndef WORKERS_CONNECTOR_CON_HEALTH_H
#define WORKERS_CONNECTOR_CON_HEALTH_H

#include "workers/http/http_service.h"

/* The process serves: always 200, whatever S3 does. */
void con_healthz(struct http_conn *c);

/* S3 answers: 200 if it has lately, or does now; else 503 or 504. */
void con_readyz(struct http_conn *c);

#endif
