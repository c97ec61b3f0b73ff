/* A link for measurements: a relay of TCP connections that makes every round trip longer and every
 * connection no faster than a rate, as a server far away does.
 *
 *   link UPSTREAM-PORT LATENCY-MS MIB-PER-S
 *
 * Prints the port on which it listens (127.0.0.1), and ends when its standard input does. What a
 * client sends arrives LATENCY-MS later; what the server sends passes at MIB-PER-S, in bursts of a
 * few milliseconds. One thread, no copies of what the server sends (splice). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNS_MAX 512
#define CHUNK (64u << 10)
#define CHUNKS 64u          /* of a client that wait, at most */
#define BURST_NS 6000000ull /* what a pause leaves to be caught up on */
#define STEP_NS 2000000ull  /* what is sent at once, at the rate */
#define PIPE_SIZE (1 << 20)

struct chunk {
    uint64_t due_ns;
    size_t len, sent;
    char data[CHUNK];
};

struct conn {
    int client, server; /* -1 = closed */
    int pipe[2];
    size_t piped;
    uint64_t paid_ns; /* up to when the bytes sent so far have used the rate */
    struct chunk *chunk[CHUNKS];
    unsigned head, tail;
    int client_ended, server_ended;
};

static struct conn *conns[CONNS_MAX];
static int n_conns;
static uint64_t latency_ns;
static double ns_per_byte;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int set_up(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void accept_one(int listener, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = accept(listener, NULL, NULL);
    struct conn *c;

    if (fd < 0)
        return;
    if (n_conns == CONNS_MAX || !(c = calloc(1, sizeof(*c)))) {
        close(fd);
        return;
    }
    c->client = fd;
    c->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->server < 0 || connect(c->server, (struct sockaddr *)&to, sizeof(to)) < 0 ||
        pipe2(c->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        die("link: upstream");
    fcntl(c->pipe[1], F_SETPIPE_SZ, PIPE_SIZE);
    if (set_up(c->client) < 0 || set_up(c->server) < 0)
        die("link: socket");
    conns[n_conns++] = c;
}

static void end(int i)
{
    struct conn *c = conns[i];

    for (; c->head != c->tail; c->head++)
        free(c->chunk[c->head % CHUNKS]);
    close(c->client);
    close(c->server);
    close(c->pipe[0]);
    close(c->pipe[1]);
    free(c);
    conns[i] = conns[--n_conns];
}

/* From the client: into a chunk that is due later. */
static void take(struct conn *c, uint64_t now)
{
    struct chunk *k;
    ssize_t n;

    if (c->tail - c->head == CHUNKS || !(k = malloc(sizeof(*k))))
        return;
    n = read(c->client, k->data, CHUNK);
    if (n <= 0) {
        free(k);
        c->client_ended |= n == 0 || errno != EAGAIN;
        return;
    }
    k->due_ns = now + latency_ns;
    k->len = (size_t)n;
    k->sent = 0;
    c->chunk[c->tail++ % CHUNKS] = k;
}

/* To the server: what is due. */
static void pass_on(struct conn *c, uint64_t now)
{
    while (c->head != c->tail && c->chunk[c->head % CHUNKS]->due_ns <= now) {
        struct chunk *k = c->chunk[c->head % CHUNKS];
        ssize_t n = write(c->server, k->data + k->sent, k->len - k->sent);

        if (n < 0) {
            c->server_ended |= errno != EAGAIN;
            return;
        }
        k->sent += (size_t)n;
        if (k->sent < k->len)
            return;
        free(k);
        c->head++;
    }
}

/* From the server to the client, at the rate. */
static void give(struct conn *c, uint64_t now)
{
    ssize_t n;
    size_t most;

    if (c->paid_ns + BURST_NS < now)
        c->paid_ns = now - BURST_NS;
    if (c->paid_ns + STEP_NS <= now && c->piped == 0) {
        most = (size_t)((double)(now - c->paid_ns) / ns_per_byte) + 1;
        n = splice(c->server, NULL, c->pipe[1], NULL, most < PIPE_SIZE ? most : PIPE_SIZE,
                   SPLICE_F_NONBLOCK);
        if (n > 0) {
            c->piped = (size_t)n;
            c->paid_ns += (uint64_t)((double)n * ns_per_byte);
        } else {
            c->server_ended |= n == 0 || errno != EAGAIN;
        }
    }
    if (c->piped > 0) {
        n = splice(c->pipe[0], NULL, c->client, NULL, c->piped, SPLICE_F_NONBLOCK);
        if (n > 0)
            c->piped -= (size_t)n;
        else if (n < 0 && errno != EAGAIN)
            c->client_ended = 1;
    }
}

/* What to wait for, and until when. */
static void want(const struct conn *c, uint64_t now, struct pollfd p[2], uint64_t *until)
{
    p[0] = (struct pollfd){.fd = c->client};
    p[1] = (struct pollfd){.fd = c->server};
    if (c->tail - c->head < CHUNKS)
        p[0].events |= POLLIN;
    if (c->piped)
        p[0].events |= POLLOUT;
    else if (c->paid_ns + STEP_NS <= now)
        p[1].events |= POLLIN;
    else if (c->paid_ns + STEP_NS < *until)
        *until = c->paid_ns + STEP_NS;
    if (c->head != c->tail) {
        uint64_t due = c->chunk[c->head % CHUNKS]->due_ns;

        if (due <= now)
            p[1].events |= POLLOUT;
        else if (due < *until)
            *until = due;
    }
}

static void turn(int listener, int port)
{
    static struct pollfd p[2 + 2 * CONNS_MAX];
    uint64_t now = now_ns(), until = now + 1000000000u;
    struct timespec wait;
    int n = n_conns;

    p[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    p[1] = (struct pollfd){.fd = 0, .events = POLLIN};
    for (int i = 0; i < n; i++)
        want(conns[i], now, &p[2 + 2 * i], &until);
    until -= now;
    wait = (struct timespec){(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    if (ppoll(p, (nfds_t)(2 + 2 * n), &wait, NULL) < 0 && errno != EINTR)
        die("link: poll");
    if (p[1].revents)
        exit(0);
    now = now_ns();
    for (int i = n - 1; i >= 0; i--) {
        struct conn *c = conns[i];

        if (p[2 + 2 * i].revents & (POLLIN | POLLHUP | POLLERR))
            take(c, now);
        pass_on(c, now);
        give(c, now);
        if (c->client_ended || (c->server_ended && !c->piped))
            end(i);
    }
    if (p[0].revents)
        accept_one(listener, port);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (argc != 4) {
        fprintf(stderr, "usage: link UPSTREAM-PORT LATENCY-MS MIB-PER-S\n");
        return 2;
    }
    latency_ns = (uint64_t)(atof(argv[2]) * 1e6);
    ns_per_byte = 1e9 / (atof(argv[3]) * 1048576);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, len) < 0 ||
        listen(listener, 256) < 0 || getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        die("link: listen");
    fcntl(listener, F_SETFL, O_NONBLOCK);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    for (;;)
        turn(listener, atoi(argv[1]));
}
