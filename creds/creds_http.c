/* libcurl, one request at a time, in a process that waits for nothing else but to be told to stop.
 * What the answers mean is the providers' matter. */
#include "creds/creds_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "creds/creds_agent.h"
#include "s3/s3_tls.h"

#define POLL_MS 1000
#define CA_MAX (8 << 20)
#define PEM_MAX (64u << 10)
#define PAUSE_NS (300 * NS_PER_MS)
#define USER_AGENT "stateproxy"

struct exchange {
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    struct creds_bytes *body;
    bool too_long;
    char error[CURL_ERROR_SIZE];
};

static size_t http_on_body(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    size_t len = size * n;

    if (len > x->body->cap - x->body->len) {
        x->too_long = true;
        return 0;
    }
    memcpy(x->body->data + x->body->len, data, len);
    x->body->len += len;
    x->body->data[x->body->len] = '\0';
    return len;
}

static bool add_headers(struct exchange *x, const struct creds_http *req)
{
    for (unsigned i = 0; i < req->n_headers; i++) {
        struct curl_slist *list = curl_slist_append(x->headers, req->headers[i]);

        if (!list)
            return false;
        x->headers = list;
    }
    return true;
}

static bool set_method(CURL *e, const struct creds_http *req)
{
    if (strcmp(req->method, "PUT") == 0) /* of nothing: the token of the metadata service */
        return !curl_easy_setopt(e, CURLOPT_UPLOAD, 1L) &&
               !curl_easy_setopt(e, CURLOPT_INFILESIZE, 0L);
    return !req->body || (!curl_easy_setopt(e, CURLOPT_POSTFIELDS, req->body) &&
                          !curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)strlen(req->body)));
}

/* The bundle as bytes: curl itself may not be allowed to open the file. If we are not either, curl
 * reports that. */
static bool set_ca(CURL *easy, const char *path)
{
    cleanup_fd int fd = creds_agent_open(path);
    struct stat st;
    cleanup_free char *text = NULL;
    struct curl_blob blob = {.flags = CURL_BLOB_COPY};
    ssize_t n = -1;

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= CA_MAX &&
        (text = malloc((size_t)st.st_size + 1)))
        n = fd_pread_full(fd, text, (size_t)st.st_size, 0);
    if (n <= 0)
        return !curl_easy_setopt(easy, CURLOPT_CAINFO, path);
    text[n] = '\0';
    blob.data = text;
    blob.len = (size_t)n + 1;
    return !curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
}

static bool set_blob(CURL *easy, CURLoption option, const struct creds_bytes *file)
{
    struct curl_blob blob = {file->data, file->len + 1, CURL_BLOB_COPY};

    return !curl_easy_setopt(easy, option, &blob);
}

/* Read each time, as they are replaced while we run; curl's copies are wiped (creds_heap.c). */
static int set_client_cert(const struct creds_conf *conf, CURL *easy, struct err *err)
{
    const char *key_path = creds_given(conf->client_key) ? conf->client_key : conf->client_cert;
    cleanup_bytes struct creds_bytes cert = {0}, key = {0};
    int r;

    if (!creds_given(conf->client_cert))
        return 0;
    r = creds_file(conf->client_cert, "s3.client_cert", PEM_MAX, &cert, err);
    if (r == 0)
        r = creds_file(key_path, "s3.client_key", PEM_MAX, &key, err);
    if (r < 0)
        return -EINVAL;
    if (!set_blob(easy, CURLOPT_SSLCERT_BLOB, &cert) || !set_blob(easy, CURLOPT_SSLKEY_BLOB, &key))
        return err_set(err, ENOMEM, "out of memory");
    return 0;
}

static bool exchange_options(const struct creds_job *job, const struct creds_http *req,
                             struct exchange *x)
{
    CURL *e = x->easy;
    const char *ca = creds_given(job->conf->ca_bundle) ? job->conf->ca_bundle : s3_tls_system_ca();
    long connect_ms = (long)(creds_left(job, req->connect_ns) / NS_PER_MS);
    long total_ms = (long)(creds_left(job, req->total_ns) / NS_PER_MS);

    return !curl_easy_setopt(e, CURLOPT_URL, req->url) &&
           !curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
           !curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           !curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) &&
           !curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L) &&
           !curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L) &&
           !curl_easy_setopt(e, CURLOPT_USERAGENT, USER_AGENT) &&
           !curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms ? connect_ms : 1L) &&
           !curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, total_ms ? total_ms : 1L) &&
           !curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->error) &&
           !curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->headers) &&
           !curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, http_on_body) &&
           !curl_easy_setopt(e, CURLOPT_WRITEDATA, x) &&
           !curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           (!ca || strncmp(req->url, "https:", 6) != 0 || set_ca(e, ca)) &&
           (!req->direct || !curl_easy_setopt(e, CURLOPT_PROXY, "")) && set_method(e, req);
}

/* Until curl is through, or somebody says stop. */
static int exchange_run(const struct creds_job *job, struct exchange *x, CURLcode *ret)
{
    struct curl_waitfd stop = {.fd = job->conf->stop_fd, .events = CURL_WAIT_POLLIN};
    unsigned n = job->conf->stop_fd >= 0;
    int running = 1, left;
    CURLMsg *msg;

    while (curl_multi_perform(x->multi, &running) == CURLM_OK && running) {
        stop.revents = 0;
        if (curl_multi_poll(x->multi, &stop, n, POLL_MS, NULL) != CURLM_OK)
            return -ENOMEM;
        if (stop.revents)
            return -ECANCELED;
    }
    msg = curl_multi_info_read(x->multi, &left);
    if (!msg || msg->msg != CURLMSG_DONE)
        return -ENOMEM;
    *ret = msg->data.result;
    return 0;
}

/* What a server says that wants a client certificate, and gets none, is up to chance. */
static const char *exchange_hint(CURLcode code, const struct creds_conf *conf, const char *url)
{
    bool ended = code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR ||
                 code == CURLE_SSL_CONNECT_ERROR || code == CURLE_GOT_NOTHING;

    return ended && strncmp(url, "https:", 6) == 0 && !creds_given(conf->client_cert)
               ? " (it may want a client certificate: s3.client_cert)"
               : "";
}

static int exchange_failed(CURLcode code, const struct creds_job *job, const struct creds_http *req,
                           struct exchange *x, struct err *err)
{
    const char *why = *x->error ? x->error : curl_easy_strerror(code);

    x->error[strcspn(x->error, "\r\n")] = '\0';
    if (x->too_long)
        return err_set(err, EHOSTUNREACH, "the answer is longer than %u bytes", CREDS_BODY_MAX);
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return err_set(err, EINVAL, "not a URL that can be asked: %s", why);
    case CURLE_SSL_CERTPROBLEM:
        return err_set(err, EINVAL, "s3.client_cert, s3.client_key: %s", why);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return err_set(err, EACCES, "no trusted TLS connection: %s", why);
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(err, ETIMEDOUT, "no answer in time: %s", why);
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return err_set(err, ENOMEM, "out of memory");
    default:
        return err_set(err, EHOSTUNREACH, "no answer: %s%s", why,
                       exchange_hint(code, job->conf, req->url));
    }
}

static int exchange_start(const struct creds_job *job, const struct creds_http *req,
                          struct exchange *x, struct err *err)
{
    int r = 0;

    x->easy = curl_easy_init();
    x->multi = curl_multi_init();
    if (x->easy && strncmp(req->url, "https:", 6) == 0)
        r = set_client_cert(job->conf, x->easy, err);
    if (r < 0)
        return r;
    if (!x->easy || !x->multi || !add_headers(x, req) || !exchange_options(job, req, x) ||
        curl_multi_add_handle(x->multi, x->easy))
        return err_set(err, ENOMEM, "out of memory");
    return 0;
}

static void exchange_end(struct exchange *x)
{
    if (x->multi && x->easy)
        curl_multi_remove_handle(x->multi, x->easy);
    curl_easy_cleanup(x->easy);
    curl_multi_cleanup(x->multi);
    curl_slist_free_all(x->headers);
}

static int http_once(const struct creds_job *job, const struct creds_http *req,
                     struct creds_answer *ret, struct err *err)
{
    struct exchange x = {.body = &ret->body};
    CURLcode code = CURLE_OK;
    long status = 0;
    int r = exchange_start(job, req, &x, err);

    if (r < 0) {
        exchange_end(&x);
        return r;
    }
    r = exchange_run(job, &x, &code);
    if (r < 0)
        err_set(err, -r, r == -ECANCELED ? "ended by the daemon" : "out of memory");
    else if (code != CURLE_OK)
        r = exchange_failed(code, job, req, &x, err);
    else
        (void)curl_easy_getinfo(x.easy, CURLINFO_RESPONSE_CODE, &status);
    ret->status = (int)status;
    exchange_end(&x);
    return r;
}

static bool may_pass(int r, int status)
{
    return r == -EHOSTUNREACH || r == -ETIMEDOUT || (r == 0 && (status == 429 || status >= 500));
}

static int http_begin(struct creds_answer *ret, struct err *err)
{
    creds_bytes_done(&ret->body);
    ret->status = 0;
    if (creds_bytes_new(&ret->body, CREDS_BODY_MAX) < 0)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    return 0;
}

int creds_http(const struct creds_job *job, const struct creds_http *req, struct creds_answer *ret,
               struct err *err)
{
    struct creds_answer got = {0};
    int r = 0;

    for (unsigned i = 0; i < req->tries; i++) {
        if (i > 0 && (creds_pause(job, PAUSE_NS << (i - 1)) < 0 || !creds_left(job, NS_PER_S)))
            break;
        r = http_begin(&got, err);
        if (r == 0)
            r = http_once(job, req, &got, err);
        if (!may_pass(r, got.status))
            break;
    }
    if (r == 0 && (got.status == 429 || got.status >= 500)) {
        creds_clean(got.body.data);
        r = err_set(err, EHOSTUNREACH, "it answered %d %.160s", got.status, got.body.data);
    }
    if (r < 0)
        creds_bytes_done(&got.body);
    else
        *ret = got;
    return r;
}
