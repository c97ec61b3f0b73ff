/* Streams over HTTPS with whatever libcurl it is linked with, and says what they cost: for tls.py,
 * which links it twice. libcurl is driven as stateproxyd does it: curl_multi_socket_action on
 * epoll, 256 KiB of buffer.
 *
 *     tls_client CA FILE CIPHERS13 URL...     a stream for each URL; FILE ("" = none) is sent with
 *                                             PUT; CIPHERS13 "": those of the library
 *
 * Prints bytes, wall seconds, CPU seconds, those in the kernel, TLS library. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#define BUFFER (256L << 10)
#define EVENTS 64

struct loop {
    CURLM *multi;
    int epoll;
    long timeout_ms;
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    (void)data;
    *(curl_off_t *)arg += (curl_off_t)(size * n);
    return size * n;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock)
{
    struct loop *l = arg;
    struct epoll_event e = {.data.fd = fd};

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    e.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    epoll_ctl(l->epoll, sock ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    curl_multi_assign(l->multi, fd, l);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    ((struct loop *)arg)->timeout_ms = timeout_ms;
    return 0;
}

static void check_done(struct loop *l)
{
    CURLMsg *msg;
    int left;
    long status;

    while ((msg = curl_multi_info_read(l->multi, &left))) {
        curl_easy_getinfo(msg->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        if (msg->msg == CURLMSG_DONE && (msg->data.result || status != 200)) {
            fprintf(stderr, "%s, status %ld\n", curl_easy_strerror(msg->data.result), status);
            exit(1);
        }
    }
}

static void run(struct loop *l)
{
    struct epoll_event events[EVENTS];
    int running = 1;

    curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    while (running > 0) {
        int n = epoll_wait(l->epoll, events, EVENTS, (int)l->timeout_ms);

        if (n == 0) {
            l->timeout_ms = -1;
            curl_multi_socket_action(l->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        for (int i = 0; i < n; i++) {
            int what = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                       (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                       (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);

            curl_multi_socket_action(l->multi, events[i].data.fd, what, &running);
        }
        check_done(l);
    }
}

static CURL *stream(char *const *arg, const char *url, curl_off_t *bytes)
{
    CURL *e = curl_easy_init();
    FILE *file = *arg[2] ? fopen(arg[2], "rb") : NULL;

    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_CAINFO, arg[1]);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, BUFFER);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, bytes);
    if (*arg[3])
        curl_easy_setopt(e, CURLOPT_TLS13_CIPHERS, arg[3]);
    if (file) {
        fseek(file, 0, SEEK_END);
        *bytes += ftell(file);
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)ftell(file));
        curl_easy_setopt(e, CURLOPT_READDATA, file);
        curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER);
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, curl_slist_append(NULL, "Expect:"));
        rewind(file);
    }
    return e;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct loop l = {.epoll = epoll_create1(0), .timeout_ms = -1};
    curl_off_t bytes = 0;
    struct timespec begin, end;
    struct rusage use;

    if (argc < 5)
        return 2;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    l.multi = curl_multi_init();
    curl_multi_setopt(l.multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(l.multi, CURLMOPT_SOCKETDATA, &l);
    curl_multi_setopt(l.multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(l.multi, CURLMOPT_TIMERDATA, &l);
    for (int i = 4; i < argc; i++)
        curl_multi_add_handle(l.multi, stream(argv, argv[i], &bytes));
    clock_gettime(CLOCK_MONOTONIC, &begin);
    run(&l);
    clock_gettime(CLOCK_MONOTONIC, &end);
    getrusage(RUSAGE_SELF, &use);
    printf("%lld %.6f %.6f %.3f %s\n", (long long)bytes,
           (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9,
           cpu_seconds(), seconds_of(use.ru_stime),
           curl_version_info(CURLVERSION_NOW)->ssl_version);
    return 0;
}
