/* The endpoint that ECS or EKS Pod Identity gives to a container. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>
#include <sodium.h>

#include "base/clock.h"
#include "creds/creds_http.h"
#include "creds/creds_json.h"
#include "creds/creds_provider.h"

#define ECS_BASE "http://169.254.170.2"
#define CONNECT_NS (2 * NS_PER_S)
#define TOTAL_NS (5 * NS_PER_S)
#define URL_MAX 2048
#define TOKEN_MAX 8192

/* Loopback, or the addresses of ECS and EKS: over plain HTTP the token goes nowhere else. */
static bool is_near(const char *host)
{
    struct in_addr v4, ecs, eks;
    struct in6_addr v6, eks6;

    inet_pton(AF_INET, "169.254.170.2", &ecs);
    inet_pton(AF_INET, "169.254.170.23", &eks);
    inet_pton(AF_INET6, "fd00:ec2::23", &eks6);
    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127 || v4.s_addr == ecs.s_addr ||
               v4.s_addr == eks.s_addr;
    return inet_pton(AF_INET6, host, &v6) == 1 &&
           (IN6_IS_ADDR_LOOPBACK(&v6) || memcmp(&v6, &eks6, sizeof(v6)) == 0);
}

/* curl's own reading of the URL, as it is curl that goes there. */
static int url_part(CURLU *u, const char *url, char scheme[8], char host[256])
{
    char *s = NULL, *h = NULL;
    int r = -EINVAL;

    if (curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &s, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &h, 0) == CURLUE_OK && strlen(h) < 256) {
        size_t len;

        snprintf(scheme, 8, "%s", s);
        snprintf(host, 256, "%s", h + (*h == '['));
        len = strlen(host);
        if (len && host[len - 1] == ']')
            host[len - 1] = '\0';
        r = 0;
    }
    curl_free(s);
    curl_free(h);
    return r;
}

static int check_full(const char *url, struct err *err)
{
    CURLU *u = curl_url();
    char scheme[8], host[256];
    int r = u ? url_part(u, url, scheme, host) : -ENOMEM;

    curl_url_cleanup(u);
    if (r < 0 || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return err_set(err, EINVAL,
                       "AWS_CONTAINER_CREDENTIALS_FULL_URI is no http:// or https:// "
                       "URL");
    if (strcmp(scheme, "https") != 0 && !is_near(host))
        return err_set(err, EINVAL,
                       "AWS_CONTAINER_CREDENTIALS_FULL_URI: host %.80s is not "
                       "permitted over http, expected https, loopback or the address "
                       "of ECS or EKS",
                       host);
    return 0;
}

static int container_url(const struct creds_conf *conf, char url[URL_MAX], struct err *err)
{
    const char *base = creds_given(conf->container_base) ? conf->container_base : ECS_BASE;
    const char *relative = conf->container_relative_uri;
    bool given = creds_given(relative);

    if (given && relative[0] != '/')
        return err_set(err, EINVAL, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /");
    if ((size_t)snprintf(url, URL_MAX, "%s%s", given ? base : conf->container_full_uri,
                         given ? relative : "") >= URL_MAX)
        return err_set(err, EINVAL, "the URI of the container's credentials is too long");
    return given ? 0 : check_full(url, err);
}

/* "Authorization: ..." in locked memory; *ret NULL where there is no token. */
static int authorization(const struct creds_conf *conf, char **ret, struct err *err)
{
    cleanup_bytes struct creds_bytes file = {0};
    const char *token = conf->container_token;
    int r = 0;

    if (creds_given(conf->container_token_file)) { /* each time: it is replaced while we run */
        r = creds_token_file(conf->container_token_file, "container authorization token file",
                             &file, err);
        token = file.data;
    }
    if (r < 0 || !creds_given(token))
        return r;
    if (strpbrk(token, "\r\n"))
        return err_set(err, EINVAL, "AWS_CONTAINER_AUTHORIZATION_TOKEN has a line break in it");
    if (strlen(token) >= TOKEN_MAX)
        return err_set(err, EINVAL, "the container's authorization token is too long");
    *ret = sodium_malloc(TOKEN_MAX + 32);
    if (!*ret)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    snprintf(*ret, TOKEN_MAX + 32, "Authorization: %s", token);
    return 0;
}

static int container_take(const struct creds_answer *answer, const char *url, struct creds *ret,
                          struct err *err)
{
    static const struct creds_json_names names = {.access_key = "AccessKeyId",
                                                  .secret = "SecretAccessKey",
                                                  .token = "Token",
                                                  .expires = "Expiration",
                                                  .account = "AccountId"};
    cleanup_json struct json_t *json = NULL;
    int r = creds_json_parse(answer->body.data, answer->body.len, &json, err);

    if (answer->status == 401 || answer->status == 403)
        return err_set(err, EACCES,
                       "%.120s answered %d: check the authorization token, and that a "
                       "role is associated with this pod or task",
                       url, answer->status);
    if (answer->status != 200)
        return err_set(err, EACCES, "%.120s answered %d %.120s", url, answer->status,
                       r == 0 ? creds_json_text(json, "message") : "");
    if (r == 0)
        r = creds_json_take(json, &names, ret, err);
    return r < 0 ? err_prefix(err, "%.120s", url) : 0;
}

int creds_container(const struct creds_job *job, struct creds *ret, struct err *err)
{
    struct creds_http req = {.method = "GET",
                             .headers = {"Accept: application/json"},
                             .n_headers = 1,
                             .direct = true,
                             .connect_ns = CONNECT_NS,
                             .total_ns = TOTAL_NS,
                             .tries = 3};
    struct creds_answer answer = {0};
    char url[URL_MAX], *header = NULL;
    int r = container_url(job->conf, url, err);

    if (r == 0)
        r = authorization(job->conf, &header, err);
    if (r == 0 && !job->look_only) {
        req.url = url;
        if (header)
            req.headers[req.n_headers++] = header;
        r = creds_http(job, &req, &answer, err);
        r = r < 0 ? err_prefix(err, "%.120s", url) : container_take(&answer, url, ret, err);
        creds_bytes_done(&answer.body);
    }
    sodium_free(header);
    return r;
}
