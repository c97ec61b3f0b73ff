/* Whole requests against a running worker: its channel is a socket pair, its S3 server toy_s3.c,
 * its segment a small one, made anew for each input.
 *
 * The input: two bytes for the server's faults (toy_s3.h), then requests, each a struct item and
 * its bytes. Node ids and file handles are given as numbers into what was answered before, so that
 * requests meet what earlier ones made; RAW ones go out as they are. fuse_seeds.py writes such
 * inputs.
 *
 * What must hold: each request is answered once, none hangs, all tables are sound at the end. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "fuse/fuse_abi.h"
#include "s3/s3_cred.h"
#include "tests/fuzz/responder.h"
#include "tests/fuzz/toy_s3.h"
#include "workers/handlers/fuse_op.h"
#include "workers/op/op.h"
#include "workers/process/channel.h"
#include "workers/variant/variant.h"

#define RECORDS 16
#define SESSIONS 3
#define PAYLOAD (2 * SHM_PAGE_MIN)
#define REQUESTS_MAX 64
#define QUIET_TURNS 4
#define HANG_NS (5 * NS_PER_S)
#define ANSWER_MAX (1u << 20)
/* Spool files are memory here: a FALLOCATE of a whole disk would be one of the machine's memory. */
#define SPOOL_FILE_MAX (64u << 20)

enum item_flags {
    ITEM_RAW = 1,     /* the bytes are the whole request */
    ITEM_OVERLAP = 2, /* the next request does not wait for this one */
    ITEM_KEEP = 4,    /* ids in the arguments stay as they are */
};

struct item {
    uint8_t opcode;
    uint8_t node; /* 0: the root */
    uint8_t id;   /* handle, or node, in the arguments */
    uint8_t flags;
    uint8_t len[2]; /* of the arguments, low byte first */
};

/* What the kernel would know. */
struct client {
    int fd;
    uint64_t nodes[256], handles[256];
    uint8_t n_nodes, n_handles;
    struct {
        uint64_t unique;
        uint32_t opcode;
        bool waits; /* for its answer */
    } sent[REQUESTS_MAX];
    unsigned n_sent;
    bool raw; /* an answer may be to anything */
};

static struct loop *loop;
static struct responder *server;
static struct s3_cred_source *creds;
static struct conf conf = {
    .bucket = "bkt",
    .prefix = "pre",
    .mount = {.file_mode = 0644, .dir_mode = 0755, .read_ahead = 128 << 10},
    .buffer = {.memory = 64 << 10, .sessions = SESSIONS},
    .s3 = {.connections = 4},
    .read = {.whole_limit = 1 << 20,
             .part_size = 1 << 20,
             .concurrency = 4,
             .random_size = SHM_BLOCK_SIZE},
    .lookup = {.speculate = 128 << 10},
    .directories = {.ttl_ns = 60 * NS_PER_S, .marker = true},
};
static char endpoint[64];
static struct fuse_mount mount;
static struct worker_spool spool[SESSIONS];
static struct worker_env env = {
    .conf = &conf, .mount = &mount, .spool = spool, .listen_fd = -1, .metrics_fd = -1};

static int memory_file(void)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    fuzz_check(fd >= 0);
    return fd;
}

static int event(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    fuzz_check(fd >= 0);
    return fd;
}

/* A handler, since libFuzzer takes SIG_IGN for a place that is free. The call gets EFBIG. */
static void on_file_too_large(int sig)
{
    (void)sig;
}

static void limit_files(void)
{
    struct rlimit limit = {SPOOL_FILE_MAX, SPOOL_FILE_MAX};

    fuzz_check(signal(SIGXFSZ, on_file_too_large) != SIG_ERR);
    fuzz_check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    limit_files();
    log_init(getenv("FUZZ_LOG") ? LOG_DEBUG : LOG_ERR, "worker");
    fuzz_check(loop_new(&loop) == 0);
    server = responder_new(loop, toy_s3_answer, NULL);
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", responder_port(server));
    fuzz_check(s3_cred_static_new("AKID", "secret", "", &creds, NULL) == 0);
    for (int i = 0; i < SESSIONS; i++)
        spool[i] = (struct worker_spool){memory_file(), memory_file()};
    env.wake_fd[0] = event();
    env.notify_fd = event();
    env.park_fd[0] = memory_file();
    return 0;
}

/* ---- a worker, as worker.c makes one ---- */

static void on_rescan(struct loop_timer *t)
{
    struct worker *w = container_of(t, struct worker, rescan);

    op_interrupts(w);
    op_resume_all(w);
}

static void begin_s3(struct worker *w)
{
    static struct s3_client_conf s3 = {
        .endpoint = endpoint,
        .region = "us-east-1",
        .bucket = "bkt",
        .connect_timeout_ns = NS_PER_S,
        .attempt_timeout_ns = NS_PER_S,
        .deadline_ns = 50 * NS_PER_MS,
        .max_attempts = 1,
        .max_connections = 4,
    };

    fuzz_check(s3_client_new(loop, &s3, creds, &w->s3, NULL) == 0);
}

static void begin(struct worker *w)
{
    static const struct shm_sizes sizes = {.workers = 1,
                                           .nodes = 64,
                                           .long_names = 4,
                                           .handles = 16,
                                           .sessions = SESSIONS,
                                           .records = RECORDS,
                                           .blocks = 8,
                                           .payload = PAYLOAD};

    fuzz_check(shm_create(&sizes, &env.shm, NULL) == 0);
    *w = (struct worker){.env = &env,
                         .conf = &conf,
                         .variant = &variant_lww,
                         .shm = env.shm,
                         .loop = loop,
                         .arena = shm_arena_of(env.shm, 0),
                         .stats = shm_stats_of(env.shm, 0),
                         .rescan = {.on_time = on_rescan}};
    fuzz_check(fuse_op_alloc(w) == 0);
    begin_s3(w);
    fuzz_check(channel_start(w) == 0);
}

static void end(struct worker *w)
{
    struct err err = {0};

    if (shm_check(w->shm, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    fuzz_check(!*err.text);
    loop_del(loop, &w->channel);
    loop_timer_cancel(loop, &w->rescan);
    s3_client_free(w->s3);
    responder_drop_all(server);
    fuse_op_free(w);
    shm_close(w->shm);
    for (int i = 0; i < SESSIONS; i++) {
        fuzz_check(ftruncate(spool[i].mem_fd, 0) == 0);
        fuzz_check(ftruncate(spool[i].file_fd, 0) == 0);
    }
    fuzz_check(ftruncate(env.park_fd[0], 0) == 0);
}

/* ---- answers ---- */

static void learn_node(struct client *c, uint64_t id)
{
    if (id)
        c->nodes[++c->n_nodes] = id; /* (wraps over the root's, too) */
}

static void learn_handle(struct client *c, const uint8_t *p, size_t len)
{
    fuzz_check(len >= sizeof(struct fuse_open_out));
    memcpy(&c->handles[++c->n_handles], p, sizeof(uint64_t));
}

static void learn_dirents(struct client *c, const uint8_t *p, size_t len, size_t head)
{
    for (size_t at = 0; at < len;) {
        struct fuse_dirent d;
        uint64_t node = 0;

        fuzz_check(len - at >= head + FUSE_NAME_OFFSET);
        memcpy(&d, p + at + head, FUSE_NAME_OFFSET);
        fuzz_check(d.namelen > 0 && d.namelen <= FUSE_NAME_BYTES && d.off);
        fuzz_check(!memchr(p + at + head + FUSE_NAME_OFFSET, '/', d.namelen));
        if (head)
            memcpy(&node, p + at, sizeof(node));
        learn_node(c, node);
        at += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d.namelen);
        fuzz_check(at <= len);
    }
}

static void learn(struct client *c, uint32_t opcode, const uint8_t *p, size_t len)
{
    uint64_t node;

    switch (opcode) {
    case FUSE_LOOKUP:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_CREATE:
        fuzz_check(len >= sizeof(struct fuse_entry_out));
        memcpy(&node, p, sizeof(node));
        learn_node(c, node);
        if (opcode == FUSE_CREATE)
            learn_handle(c, p + sizeof(struct fuse_entry_out), len - sizeof(struct fuse_entry_out));
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        learn_handle(c, p, len);
        break;
    case FUSE_READDIR:
        learn_dirents(c, p, len, 0);
        break;
    case FUSE_READDIRPLUS:
        learn_dirents(c, p, len, FUSE_NAME_OFFSET_DIRENTPLUS - FUSE_NAME_OFFSET);
        break;
    }
}

static void take_answer(struct client *c, const uint8_t *p, size_t len)
{
    struct fuse_out_header head;

    fuzz_check(len >= sizeof(head));
    memcpy(&head, p, sizeof(head));
    fuzz_check(head.len == len && head.unique);
    fuzz_check(head.error <= 0 && head.error > -1000);
    fuzz_check(!head.error || len == sizeof(head));
    for (unsigned i = 0; i < c->n_sent; i++) {
        if (c->sent[i].unique != head.unique || !c->sent[i].waits)
            continue;
        if (c->sent[i].opcode != FUSE_INTERRUPT)
            c->sent[i].waits = false;
        if (!head.error)
            learn(c, c->sent[i].opcode, p + sizeof(head), len - sizeof(head));
        return;
    }
    fuzz_check(c->raw); /* else it was answered before, or never sent */
}

static void take_answers(struct client *c)
{
    static uint8_t answer[ANSWER_MAX];
    ssize_t n;

    while ((n = recv(c->fd, answer, sizeof(answer), MSG_DONTWAIT)) > 0)
        take_answer(c, answer, (size_t)n);
}

/* ---- turning ---- */

static void on_pause(struct loop_timer *t)
{
    (void)t;
}

static void turn(struct client *c, uint64_t ns)
{
    struct loop_timer pause = {.on_time = on_pause};

    loop_timer_set(loop, &pause, ns);
    while (pause.armed)
        fuzz_check(loop_turn(loop) == 0);
    take_answers(c);
}

static void turn_until_quiet(struct client *c)
{
    unsigned events = responder_events(server);

    for (int quiet = 0; quiet < QUIET_TURNS; quiet++) {
        turn(c, 0);
        if (events != responder_events(server))
            quiet = 0;
        events = responder_events(server);
    }
}

static bool waits_for_lock(const struct op *op)
{
    return fuse_req(op)->opcode == FUSE_SETLKW && op->waiting;
}

static unsigned busy(const struct worker *w)
{
    unsigned n = 0;

    for (uint32_t i = 0; i <= RECORDS; i++)
        n += w->ops[i]->w && !waits_for_lock(w->ops[i]);
    return n;
}

/* All comes to its end, but for who waits for a lock: that is for ever. */
static void finish(struct worker *w, struct client *c)
{
    uint64_t end_ns = clock_mono_ns() + HANG_NS;

    turn_until_quiet(c);
    while (busy(w) || s3_in_flight(w->s3)) {
        worker_wake_self(w); /* as the tick does */
        turn(c, NS_PER_MS);
        fuzz_check(clock_mono_ns() < end_ns);
    }
    for (uint32_t i = 0; i <= RECORDS; i++) {
        if (w->ops[i]->w)
            op_fail(w->ops[i], -EINTR);
    }
    take_answers(c);
    for (unsigned i = 0; i < c->n_sent; i++)
        fuzz_check(!c->sent[i].waits || c->raw || !fuse_wants_reply(c->sent[i].opcode));
}

/* ---- requests ---- */

/* Where the arguments of an opcode have a handle, or -1. */
static int handle_at(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        return 8;
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_FSYNC:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
    case FUSE_RELEASEDIR:
    case FUSE_FSYNCDIR:
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW:
    case FUSE_FALLOCATE:
    case FUSE_LSEEK:
    case FUSE_COPY_FILE_RANGE:
    case FUSE_OP_COPY_FILE_RANGE_64:
    case FUSE_IOCTL:
        return 0;
    default:
        return -1;
    }
}

static void put(uint8_t *args, size_t len, size_t at, uint64_t value)
{
    if (len >= at + sizeof(value))
        memcpy(args + at, &value, sizeof(value));
}

/* Puts ids that exist where the arguments have ids. */
static void put_ids(const struct client *c, const struct item *it, uint8_t *args, size_t len)
{
    int at = handle_at(it->opcode);

    if (at >= 0)
        put(args, len, (size_t)at, c->handles[it->id]);
    else if (it->opcode == FUSE_RENAME || it->opcode == FUSE_RENAME2 || it->opcode == FUSE_LINK)
        put(args, len, 0, c->nodes[it->id]);
    else if (it->opcode == FUSE_INTERRUPT)
        put(args, len, 0, 2 * (uint64_t)it->id);
    else if (it->opcode == FUSE_BATCH_FORGET)
        put(args, len, 8, c->nodes[it->id]);
}

static void send_request(struct client *c, const struct item *it, const uint8_t *args, size_t len)
{
    uint8_t request[SHM_READ_HEAD + PAYLOAD];
    struct fuse_in_header head = {.opcode = it->opcode,
                                  .unique = 2 * (c->n_sent + 1),
                                  .nodeid = c->nodes[it->node],
                                  .pid = (uint32_t)getpid()};
    size_t room = sizeof(request) - sizeof(head);

    if (it->flags & ITEM_RAW) {
        c->raw = true;
        if (send(c->fd, args, len < sizeof(request) ? len : sizeof(request), MSG_DONTWAIT) < 0)
            fuzz_check(errno == EAGAIN);
        return;
    }
    if (len > room)
        len = room;
    head.len = (uint32_t)(sizeof(head) + len);
    memcpy(request, &head, sizeof(head));
    memcpy(request + sizeof(head), args, len);
    if (!(it->flags & ITEM_KEEP))
        put_ids(c, it, request + sizeof(head), len);
    c->sent[c->n_sent].unique = head.unique;
    c->sent[c->n_sent].opcode = it->opcode;
    c->sent[c->n_sent].waits = true;
    c->n_sent++;
    fuzz_check(send(c->fd, request, head.len, MSG_DONTWAIT) == (ssize_t)head.len);
}

static void run(struct client *c, const uint8_t *data, size_t size)
{
    struct item it;

    while (size > sizeof(it) && c->n_sent < REQUESTS_MAX) {
        size_t len;

        memcpy(&it, data, sizeof(it));
        data += sizeof(it);
        size -= sizeof(it);
        len = it.len[0] | (size_t)it.len[1] << 8;
        if (len > size)
            len = size;
        /* an empty one would be the end of the channel */
        if (len || !(it.flags & ITEM_RAW))
            send_request(c, &it, data, len);
        if (!(it.flags & ITEM_OVERLAP) || c->n_sent % 16 == 15)
            turn_until_quiet(c);
        data += len;
        size -= len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct worker w;
    static struct client c;
    int pair[2], bytes = 2 << 20;

    if (size < 2)
        return 0;
    fuzz_check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    /* (an answer must fit; as root, beyond the limit) */
    if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
        (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    mount.fd = pair[0];
    c = (struct client){.fd = pair[1], .nodes = {FUSE_ROOT_ID}};
    toy_s3_begin(data[0], data[1]);
    begin(&w);
    run(&c, data + 2, size - 2);
    finish(&w, &c);
    end(&w);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
