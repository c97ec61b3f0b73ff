/* The frames of top: figures since the frame before, as a rate. A plain terminal is enough: it is
 * asked for nothing but to go to its first line and to clear the rest of one. top_work.c lists what
 * takes long. */
#include "ctl/top.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "ctl/client.h"
#include "ctl/status.h"
#include "ctl/top_work.h"
#include "shm/shm_block.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_session.h"
#include "shm/shm_stats.h"

typedef unsigned long long ull;

#define ASK_MS 5000
#define FRAME_MAX (256u << 10)
#define ROWS 24
#define COLUMNS 80
#define COLUMNS_MAX 500
#define OPS_SHOWN 6
#define FIXED_ROWS 9 /* of a frame without operations and work */

/* All workers' counters at one moment. */
struct moment {
    uint64_t ns; /* monotonic */
    struct shm_timing fuse[SHM_STATS_FUSE_OPS];
    uint64_t fuse_n, s3_n, http_n, s3_bad;
    uint64_t count[SHM_STATS_COUNT];
    uint64_t cpu_ns, anon, starts;
};

struct top {
    const struct top_opts *opts;
    struct shm *shm;
    struct moment now, before;
    struct buf frame;
    unsigned rows, columns;
    bool changed; /* the terminal's settings, from `was` */
    struct termios was;
    int signals; /* signalfd */
};

/* ---- figures ---- */

static uint64_t top_load(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static uint64_t count_kinds(const struct shm_timing *t, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += shm_timing_count(&t[i]);
    return sum;
}

static void add_worker(struct moment *m, const struct shm_stats *s)
{
    for (unsigned i = 0; i < SHM_STATS_FUSE_OPS; i++)
        shm_timing_sum(&m->fuse[i], &s->fuse_ended[i]);
    m->s3_n += count_kinds(s->s3_ended, SHM_STATS_S3_OPS);
    m->http_n += count_kinds(s->http_ended, SHM_HTTP_KINDS);
    for (unsigned i = 0; i < SHM_STATS_S3_OPS; i++)
        m->s3_bad += top_load(&s->s3_ended[i].outcome[SHM_OUTCOME_FAILED]) +
                     top_load(&s->s3_ended[i].outcome[SHM_OUTCOME_TIMEOUT]) +
                     top_load(&s->s3_ended[i].outcome[SHM_OUTCOME_DENIED]);
    for (unsigned i = 0; i < SHM_STATS_COUNT; i++)
        m->count[i] += top_load(&s->count[i]);
    m->cpu_ns += top_load(&s->process.cpu_ns);
    m->anon += top_load(&s->process.anon);
    m->starts += top_load(&s->process.starts);
}

static void top_look(struct top *t)
{
    t->before = t->now;
    t->now = (struct moment){.ns = clock_mono_ns()};
    for (uint32_t i = 0; i < t->shm->header->sizes.workers; i++)
        add_worker(&t->now, shm_stats_of(t->shm, i));
    t->now.fuse_n = count_kinds(t->now.fuse, SHM_STATS_FUSE_OPS);
}

/* In a second. The first frame shows the time since the start. */
static double rate(const struct top *t, uint64_t now, uint64_t before)
{
    uint64_t since =
        t->before.ns ? t->now.ns - t->before.ns : clock_wall_ns() - t->shm->header->started_ns;

    return since && now > before ? (double)(now - before) * (double)NS_PER_S / (double)since : 0;
}

static double rate_of(const struct top *t, enum shm_stat what)
{
    return rate(t, t->now.count[what], t->before.count[what]);
}

/* ---- a frame ---- */

static int put_daemon(struct top *t, const char *answer)
{
    char mount[64] = "", phase[32] = "?", variant[32] = "?", bucket[64] = "?";
    ull ms = 0;

    for (const char *line = answer; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        (void)sscanf(line, "phase %31s", phase);
        (void)sscanf(line, "variant %31s", variant);
        (void)sscanf(line, "bucket %63s", bucket);
        (void)sscanf(line, "uptime_ms %llu", &ms);
        if (sscanf(line, "mount %63[^\n]", mount) != 1 && !*mount)
            (void)sscanf(line, "socket %63[^\n]", mount);
    }
    return buf_printf(&t->frame, "stateproxy %s  %s  up %llu:%02llu:%02llu\nbucket %s  %s\n", mount,
                      phase, ms / 3600000, ms / 60000 % 60, ms / 1000 % 60, bucket, variant);
}

static int put_processes(struct top *t)
{
    uint32_t n = t->shm->header->sizes.workers;
    char anon[8];

    top_size(t->now.anon, anon);
    return buf_printf(&t->frame, "workers %u  replaced %llu  CPU %.1f %%  private memory %s\n", n,
                      (ull)(t->now.starts > n ? t->now.starts - n : 0),
                      rate(t, t->now.cpu_ns, t->before.cpu_ns) * 100 / (double)NS_PER_S, anon);
}

static int put_rates(struct top *t)
{
    char in[8], out[8], read[8], written[8];

    top_size((uint64_t)rate_of(t, SHM_STAT_READ_BYTES), read);
    top_size((uint64_t)rate_of(t, SHM_STAT_WRITTEN_BYTES), written);
    top_size((uint64_t)rate_of(t, SHM_STAT_S3_IN_BYTES), in);
    top_size((uint64_t)rate_of(t, SHM_STAT_S3_OUT_BYTES), out);
    return buf_printf(&t->frame,
                      "requests/s  FUSE %.1f  connector %.1f  S3 %.1f  S3 failed %.1f\n"
                      "bytes/s     read %s  written %s  from S3 %s  to S3 %s\n",
                      rate(t, t->now.fuse_n, t->before.fuse_n),
                      rate(t, t->now.http_n, t->before.http_n),
                      rate(t, t->now.s3_n, t->before.s3_n),
                      rate(t, t->now.s3_bad, t->before.s3_bad), read, written, in, out);
}

static int put_tables(struct top *t)
{
    struct shm *shm = t->shm;
    char pool[8];

    top_size((uint64_t)shm->blocks->ready * SHM_BLOCK_SIZE, pool);
    return buf_printf(&t->frame,
                      "files known %u  open %u  being written %u  in the pool %s  conflicts %llu\n",
                      shm->nodes->live, shm->handles->live, shm->sessions->live, pool,
                      (ull)t->now.count[SHM_STAT_CONFLICTS]);
}

/* The opcode of the nth most frequent request since the frame before, 0 = there is none. */
static uint32_t busiest(const struct top *t, const bool *shown)
{
    uint64_t most = 0;
    uint32_t op = 0;

    for (uint32_t i = 1; i < SHM_STATS_FUSE_OPS; i++) {
        uint64_t n = shm_timing_count(&t->now.fuse[i]) - shm_timing_count(&t->before.fuse[i]);

        if (!shown[i] && n > most) {
            most = n;
            op = i;
        }
    }
    return op;
}

static int put_operations(struct top *t, unsigned *ret_rows)
{
    bool shown[SHM_STATS_FUSE_OPS] = {false};
    char name[16];
    uint32_t op;
    int r = buf_puts(&t->frame, "  request            each second    ms on average\n");

    for (*ret_rows = 0; r == 0 && *ret_rows < OPS_SHOWN && (op = busiest(t, shown)); ++*ret_rows) {
        const struct shm_timing *now = &t->now.fuse[op], *before = &t->before.fuse[op];
        uint64_t n = shm_timing_count(now), was = shm_timing_count(before);

        shown[op] = true;
        status_op_name(op, name);
        r = buf_printf(&t->frame, "  %-16s %13.1f %16.3f\n", name, rate(t, n, was),
                       (double)(now->ns - before->ns) / (double)(n - was) / (double)NS_PER_MS);
    }
    return r;
}

static int make_frame(struct top *t, const char *answer)
{
    unsigned ops = 0, rows;
    int r;

    buf_reset(&t->frame);
    r = put_daemon(t, answer);
    if (r == 0)
        r = put_processes(t);
    if (r == 0)
        r = put_rates(t);
    if (r == 0)
        r = put_tables(t);
    if (r == 0)
        r = put_operations(t, &ops);
    if (r == 0)
        r = buf_puts(&t->frame, "  in work    progress                 file\n");
    rows = t->rows > FIXED_ROWS + ops ? t->rows - FIXED_ROWS - ops : 0;
    return r == 0 ? top_work(t->shm, rows, &t->frame) : r;
}

/* ---- the terminal ---- */

/* Bytes of a line's start that have at most `columns` characters. */
static size_t fitting(const char *line, size_t len, unsigned columns)
{
    size_t at = 0;

    for (unsigned n = 0; n < columns && at < len; n++) {
        unsigned c = utf8_len(line + at);

        at += c ? c : 1;
    }
    return at < len ? at : len;
}

static void show_frame(struct top *t)
{
    bool control = !t->opts->batch;

    if (control)
        fputs("\033[H", stdout);
    for (char *line = t->frame.data, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        size_t len = (size_t)(end - line);

        fwrite(line, 1, control ? fitting(line, len, t->columns) : len, stdout);
        /* (The last line has no newline: it would scroll.) */
        fputs(control ? "\033[K" : "", stdout);
        if (!control || end[1])
            putchar('\n');
    }
    fputs(control ? "\033[J" : "\n", stdout);
    fflush(stdout);
}

static void measure(struct top *t)
{
    struct winsize size;

    t->rows = ROWS;
    t->columns = COLUMNS;
    if (t->opts->batch || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return;
    if (size.ws_row)
        t->rows = size.ws_row;
    if (size.ws_col)
        t->columns = size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

/* Keys come one by one, and are not shown; a signal does not end this process half-way. */
static int terminal_take(struct top *t)
{
    struct termios raw;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (t->signals < 0)
        return -errno;
    if (t->opts->batch || tcgetattr(STDIN_FILENO, &t->was) < 0)
        return 0;
    raw = t->was;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    t->changed = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    fputs("\033[?25l\033[H\033[J", stdout); /* no cursor */
    return 0;
}

static void terminal_give(struct top *t)
{
    if (!t->opts->batch)
        fputs("\033[?25h\n", stdout);
    fflush(stdout);
    if (t->changed)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->was);
    if (t->signals >= 0)
        close(t->signals);
}

/* Waits for the next frame. False: a signal, or "q". */
static bool top_wait(struct top *t)
{
    struct pollfd p[] = {{.fd = t->signals, .events = POLLIN},
                         {.fd = t->changed ? STDIN_FILENO : -1, .events = POLLIN}};
    char key;

    if (poll(p, 2, (int)(t->opts->interval_ns / NS_PER_MS)) <= 0)
        return true;
    if (p[0].revents)
        return false;
    return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q';
}

/* ---- life ---- */

/* 0 and the frame; -errno with *err, or without if the segment could not be mapped. */
static int next_frame(struct top *t, struct err *err)
{
    char answer[CLIENT_ANSWER_MAX];
    int fd, r = client_ask(t->opts->socket, "status", ASK_MS, answer, &fd, err);

    if (r < 0)
        return r;
    if (t->shm && fd >= 0)
        close(fd);
    if (!t->shm)
        t->shm = t->opts->map(fd);
    if (!t->shm)
        return -EPROTO;
    top_look(t);
    measure(t);
    r = make_frame(t, answer);
    return r < 0 ? err_set(err, -r, "%s", strerror(-r)) : 0;
}

int top_run(const struct top_opts *opts, struct err *err)
{
    static struct top t;
    int r;

    t = (struct top){.opts = opts, .signals = -1};
    buf_init(&t.frame, FRAME_MAX);
    r = next_frame(&t, err);
    if (r == 0)
        r = terminal_take(&t);
    for (unsigned n = 1; r == 0; n++) {
        show_frame(&t);
        if (n == opts->frames || !top_wait(&t))
            break;
        r = next_frame(&t, err);
    }
    if (t.signals >= 0)
        terminal_give(&t);
    shm_close(t.shm);
    buf_done(&t.frame);
    return r;
}
