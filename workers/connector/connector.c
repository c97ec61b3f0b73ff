/* From a request to its endpoint. */
#include "workers/connector/connector.h"

#include <errno.h>
#include <string.h>

#include "workers/connector/con_delete.h"
#include "workers/connector/con_error.h"
#include "workers/connector/con_get.h"
#include "workers/connector/con_head.h"
#include "workers/connector/con_health.h"
#include "workers/connector/con_job.h"
#include "workers/connector/con_list.h"
#include "workers/connector/con_meta.h"
#include "workers/connector/con_put.h"
#include "workers/connector/con_query.h"
#include "workers/connector/con_wait.h"
#include "workers/http/http_server.h"

#define KEYS "/keys/"
#define META "/meta/"

static bool is_path(const struct http_target *t, const char *path)
{
    return strlen(path) == t->path_len && memcmp(t->path, path, t->path_len) == 0;
}

static bool is_below(const struct http_target *t, const char *dir)
{
    size_t n = strlen(dir);

    return t->path_len > n && memcmp(t->path, dir, n) == 0;
}

/* Changes are refused on a read-only mount, whichever way they come. */
static con_key_endpoint *key_endpoint_of(enum http_method method)
{
    switch (method) {
    case HTTP_GET:
        return con_get;
    case HTTP_HEAD:
        return con_head;
    case HTTP_PUT:
        return con_put;
    case HTTP_DELETE:
        return con_delete;
    default:
        return NULL;
    }
}

static con_key_endpoint *meta_endpoint_of(enum http_method method)
{
    return method == HTTP_GET ? con_meta_get : method == HTTP_PUT ? con_meta_put : NULL;
}

/* `skip`: the bytes of the path before the key. */
static void on_key(struct http_conn *c, const struct http_target *t, con_key_endpoint *endpoint,
                   size_t skip)
{
    const struct worker *w = http_conn_worker(c);
    enum http_method method = http_conn_request(c)->method;
    struct con_key key;

    if (!endpoint)
        con_refuse_route(c);
    else if (con_key_set(w, t->path + skip, t->path_len - skip, &key) < 0)
        con_refuse(c, 400, "bad_request", "the key has more than %d bytes", S3_KEY_MAX);
    else if (w->conf->mount.read_only && (method == HTTP_PUT || method == HTTP_DELETE))
        con_refuse(c, 403, "permission_denied", "mount.read_only is set");
    else if (con_wait_is_needed(w, method))
        con_wait(c, &key, endpoint);
    else
        endpoint(c, &key);
}

static void con_on_request(struct http_conn *c)
{
    const struct http_request *req = http_conn_request(c);
    const struct http_target *t = &req->target;
    bool get = req->method == HTTP_GET;

    if (req->method == HTTP_OTHER)
        con_refuse(c, 501, "not_implemented", "unsupported method");
    else if (is_below(t, KEYS))
        on_key(c, t, key_endpoint_of(req->method), strlen(KEYS));
    else if (is_below(t, META))
        on_key(c, t, meta_endpoint_of(req->method), strlen(META));
    else if (req->method == HTTP_POST && is_path(t, "/query"))
        con_query(c);
    else if (get && (is_path(t, KEYS) || is_path(t, "/keys")))
        con_list(c);
    else if (get && is_path(t, "/healthz"))
        con_healthz(c);
    else if (get && is_path(t, "/readyz"))
        con_readyz(c);
    else
        con_refuse_route(c);
}

static void con_on_body(struct http_conn *c, const char *data, size_t len)
{
    struct con_job *job = http_conn_state(c);

    if (job && job->ops->on_body)
        job->ops->on_body(job, data, len);
}

static void con_on_end(struct http_conn *c)
{
    struct con_job *job = http_conn_state(c);

    if (job && job->ops->on_end)
        job->ops->on_end(job);
}

static void con_on_room(struct http_conn *c)
{
    struct con_job *job = http_conn_state(c);

    if (job && job->ops->on_room)
        job->ops->on_room(job);
}

static void con_on_gone(struct http_conn *c)
{
    struct con_job *job = http_conn_state(c);

    if (job && job->ops->on_gone)
        job->ops->on_gone(job);
}

static const struct http_service service = {
    .on_request = con_on_request,
    .on_body = con_on_body,
    .on_end = con_on_end,
    .on_room = con_on_room,
    .on_gone = con_on_gone,
};

int connector_start(struct worker *w)
{
    return http_server_start(w, w->env->listen_fd, &service, &w->http);
}
