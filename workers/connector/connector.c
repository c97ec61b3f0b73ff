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
#include "workers/connector/query_memory.h"
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
struct key_route {
    con_key_endpoint *endpoint;
    enum shm_http_kind kind;
};

static struct key_route key_route_of(enum http_method method)
{
    switch (method) {
    case HTTP_GET:
        return (struct key_route){con_get, SHM_HTTP_GET};
    case HTTP_HEAD:
        return (struct key_route){con_head, SHM_HTTP_HEAD};
    case HTTP_PUT:
        return (struct key_route){con_put, SHM_HTTP_PUT};
    case HTTP_DELETE:
        return (struct key_route){con_delete, SHM_HTTP_DELETE};
    default:
        return (struct key_route){NULL, SHM_HTTP_OTHER};
    }
}

static struct key_route meta_route_of(enum http_method method)
{
    switch (method) {
    case HTTP_GET:
        return (struct key_route){con_meta_get, SHM_HTTP_META_GET};
    case HTTP_PUT:
        return (struct key_route){con_meta_put, SHM_HTTP_META_PUT};
    default:
        return (struct key_route){NULL, SHM_HTTP_OTHER};
    }
}

/* `skip`: the bytes of the path before the key. */
static void on_key(struct http_conn *c, const struct http_target *t, struct key_route route,
                   size_t skip)
{
    const struct worker *w = http_conn_worker(c);
    enum http_method method = http_conn_request(c)->method;
    struct con_key key;

    http_conn_set_kind(c, route.kind);
    if (!route.endpoint)
        con_refuse_route(c);
    else if (con_key_set(w, t->path + skip, t->path_len - skip, &key) < 0)
        con_refuse(c, 400, "bad_request", "the key has more than %d bytes", S3_KEY_MAX);
    else if (w->conf->mount.read_only && (method == HTTP_PUT || method == HTTP_DELETE))
        con_refuse(c, 403, "permission_denied", "mount.read_only is set");
    else if (con_wait_is_needed(w, method))
        con_wait(c, &key, route.endpoint);
    else
        route.endpoint(c, &key);
}

/* Endpoints without a key. */
static const struct {
    enum http_method method;
    const char *path;
    void (*endpoint)(struct http_conn *c);
    enum shm_http_kind kind;
} routes[] = {
    {HTTP_POST, "/query", con_query, SHM_HTTP_QUERY},
    {HTTP_GET, "/keys", con_list, SHM_HTTP_LIST},
    {HTTP_GET, KEYS, con_list, SHM_HTTP_LIST},
    {HTTP_GET, "/healthz", con_healthz, SHM_HTTP_HEALTH},
    {HTTP_GET, "/readyz", con_readyz, SHM_HTTP_HEALTH},
};

static void on_other(struct http_conn *c, const struct http_target *t, enum http_method method)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (routes[i].method != method || !is_path(t, routes[i].path))
            continue;
        http_conn_set_kind(c, routes[i].kind);
        routes[i].endpoint(c);
        return;
    }
    con_refuse_route(c);
}

static void con_on_request(struct http_conn *c)
{
    const struct http_request *req = http_conn_request(c);
    const struct http_target *t = &req->target;

    if (req->method == HTTP_OTHER)
        con_refuse(c, 501, "not_implemented", "unsupported method");
    else if (is_below(t, KEYS))
        on_key(c, t, key_route_of(req->method), strlen(KEYS));
    else if (is_below(t, META))
        on_key(c, t, meta_route_of(req->method), strlen(META));
    else
        on_other(c, t, req->method);
}

static void con_on_over(struct worker *w, unsigned kind, int status, uint64_t ns)
{
    shm_timing_add(&w->stats->http_ended[kind], ns, shm_outcome_of_status(status));
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
    .on_over = con_on_over,
};

int connector_start(struct worker *w)
{
    const struct http_server_opts opts = {
        .listen_fd = w->env->listen_fd, .conns_max = HTTP_CONNS_MAX, .holds_drain = true};

    query_memory_within((size_t)w->shm->header->sizes.blocks * SHM_BLOCK_SIZE);
    return http_server_start(w, &opts, &service, &w->http);
}
