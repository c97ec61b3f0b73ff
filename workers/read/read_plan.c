/* How a file is being read, from the offsets of its READs. ahead.c asks for the parts that are
 * planned here; limits are those of read.c.
 *
 * In order: the window is twice what was read in one run, from WINDOW_FIRST up to the limit, and
 * each part is asked for once. In steps of one distance, which may be negative: after it has
 * repeated twice, the next runs are fetched; where the steps leave out little, everything between
 * them. At random: what is read, and nothing ahead. */
#include "workers/read/read_plan.h"

#define MIB (1u << 20)
#define WINDOW_FIRST MIB
#define PART_LEAST MIB

/* READs of the kernel's read-ahead overtake each other on their way through several workers. A
 * large one a little behind or before the expected offset belongs to the sequence; a small one only
 * if it fits exactly, because programs that read at random offsets use small ones. */
#define LARGE (64u << 10)
#define HOLES_MAX (4 * MIB) /* left out so far: it is no sequence that was overtaken */

/* A run that begins somewhere in a file is not read ahead before it is longer than this, and longer
 * than the last run that ended: a program that reads pieces of 1 MiB at random is not to get 2. */
#define RUN_LEAST (2 * MIB + 2 * SHM_BLOCK_SIZE)

#define STEADY 2      /* repetitions of a stride that are believed */
#define RUNS_AHEAD 16 /* at most, of a reader in steps */

static uint64_t read_plan_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t down(uint64_t v, uint64_t step)
{
    return v / step * step;
}

static uint64_t up(uint64_t v, uint64_t step)
{
    return down(v + step - 1, step);
}

static uint64_t magnitude(int64_t v)
{
    return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

/* ---- which stream ---- */

static uint64_t run_of(const struct shm_stream *s)
{
    return s->next - s->start;
}

/* What was read of the run. */
static uint64_t read_of(const struct shm_stream *s)
{
    return run_of(s) > s->holes ? run_of(s) - s->holes : 0;
}

static bool is_steady(const struct shm_stream *s)
{
    return s->hits >= STEADY;
}

/* A READ that its neighbours have overtaken, or that has overtaken them. */
static bool overtakes(const struct shm_stream *s, uint64_t off, uint32_t len)
{
    if (len < LARGE || off < s->start)
        return false;
    return off < s->next || (off - s->next <= 2 * (uint64_t)len && s->holes <= HOLES_MAX);
}

static struct shm_stream *latest(struct shm_handle *h)
{
    struct shm_stream *found = NULL;

    for (uint32_t i = 0; i < SHM_STREAMS; i++) {
        struct shm_stream *s = &h->stream[i];

        if (s->turn && (!found || s->turn > found->turn))
            found = s;
    }
    return found;
}

/* The stream that this READ continues, NULL if there is none. */
static struct shm_stream *find_run(struct shm_handle *h, uint64_t off, uint32_t len)
{
    for (uint32_t i = 0; i < SHM_STREAMS; i++) {
        if (h->stream[i].turn && off == h->stream[i].next)
            return &h->stream[i];
    }
    for (uint32_t i = 0; i < SHM_STREAMS; i++) {
        if (h->stream[i].turn && !is_steady(&h->stream[i]) && overtakes(&h->stream[i], off, len))
            return &h->stream[i];
    }
    return NULL;
}

/* The stream that steps to this offset, NULL if there is none. */
static struct shm_stream *find_step(struct shm_handle *h, uint64_t off)
{
    for (uint32_t i = 0; i < SHM_STREAMS; i++) {
        const struct shm_stream *s = &h->stream[i];

        if (s->turn && s->stride && off == s->start + (uint64_t)s->stride)
            return &h->stream[i];
    }
    return NULL;
}

/* An unused stream, or the one that has rested longest, whose run has ended. */
static struct shm_stream *take_stream(struct shm_handle *h)
{
    struct shm_stream *oldest = &h->stream[0];

    for (uint32_t i = 0; i < SHM_STREAMS; i++) {
        if (h->stream[i].turn < oldest->turn)
            oldest = &h->stream[i];
    }
    if (oldest->turn)
        h->last_run = (uint32_t)read_plan_least(run_of(oldest), UINT32_MAX);
    return oldest;
}

static void begin_run(struct shm_stream *s, uint64_t off, uint32_t len)
{
    s->run = (uint32_t)read_plan_least(run_of(s), UINT32_MAX);
    s->start = off;
    s->next = off + len;
    s->holes = 0;
}

static struct shm_stream *begin_stream(struct shm_handle *h, uint64_t off, uint32_t len)
{
    const struct shm_stream *before = latest(h);
    uint64_t from = before ? before->start : off;
    uint32_t run = before ? (uint32_t)read_plan_least(run_of(before), UINT32_MAX) : 0;
    bool first = !before;
    struct shm_stream *s = take_stream(h);

    *s = (struct shm_stream){.start = off,
                             .next = off + len,
                             .ahead = off,
                             .stride = (int64_t)(off - from),
                             .run = run,
                             .first = first};
    return s;
}

/* A run that is far longer than those before it is a sequence. */
static void leave_steps(struct shm_stream *s)
{
    if (is_steady(s) && run_of(s) > 2 * (uint64_t)s->run + WINDOW_FIRST) {
        s->hits = 0;
        s->stride = 0;
        s->ahead = s->next;
    }
}

static void continue_run(struct shm_stream *s, uint64_t off, uint32_t len)
{
    if (off > s->next)
        s->holes += (uint32_t)(off - s->next);
    else if (off < s->next)
        s->holes -= s->holes < len ? s->holes : len;
    if (off + len > s->next)
        s->next = off + len;
    leave_steps(s);
}

static void step(struct shm_stream *s, uint64_t off, uint32_t len)
{
    begin_run(s, off, len);
    s->hits++;
    if (s->hits == STEADY)
        s->ahead = off;
}

struct read_place read_plan_note(struct shm_handle *h, uint64_t off, uint32_t len)
{
    struct shm_stream *s = find_run(h, off, len);
    bool sequential = s;

    if (s) {
        continue_run(s, off, len);
    } else if ((s = find_step(h, off))) {
        step(s, off, len);
    } else {
        s = begin_stream(h, off, len);
        sequential = off == 0 && s->first;
    }
    s->turn = ++h->turn ? h->turn : ++h->turn;
    return (struct read_place){(uint32_t)(s - h->stream), sequential, is_steady(s)};
}

/* ---- ahead ---- */

static uint32_t part_of(uint64_t window, const struct read_limits *lim)
{
    uint64_t part = most(down(window / lim->gets, MIB), PART_LEAST);

    part = read_plan_least(part, lim->part);
    if (part > window / 2)
        part = most(down(window / 2, SHM_BLOCK_SIZE), SHM_BLOCK_SIZE);
    return (uint32_t)part;
}

/* A window that an eviction has halved grows with what is read since. */
static uint32_t widen(struct shm_stream *s, uint64_t wanted, const struct read_limits *lim)
{
    uint64_t window = most(most(wanted, WINDOW_FIRST), s->window);

    s->window = (uint32_t)read_plan_least(window, lim->window);
    return s->window;
}

static bool is_open(const struct shm_stream *s, uint32_t last_run)
{
    if (s->first)
        return s->start == 0 ? read_of(s) >= LARGE : read_of(s) > WINDOW_FIRST;
    return read_of(s) > most(last_run, RUN_LEAST);
}

/* The next part up to `next` + the window. */
static struct read_range forwards(struct shm_stream *s, uint64_t size, uint64_t wanted,
                                  const struct read_limits *lim)
{
    uint32_t window = widen(s, wanted, lim), part = part_of(window, lim);
    struct read_range r = {most(s->ahead, s->next), read_plan_least(size, s->next + window)};

    if (r.to < size)
        r.to = down(r.to, part);
    r.to = read_plan_least(r.to, up(r.from + 1, part));
    if (r.from < r.to)
        s->ahead = r.to;
    return r;
}

/* The next part down to `start` - the window. */
static struct read_range backwards(struct shm_stream *s, uint64_t wanted,
                                   const struct read_limits *lim)
{
    uint32_t window = widen(s, wanted, lim), part = part_of(window, lim);
    uint64_t low = s->start > window ? up(s->start - window, part) : 0;
    struct read_range r = {0, read_plan_least(s->ahead, s->start)};

    if (r.to > 0)
        r.from = most(low, down(r.to - 1, part));
    if (r.from < r.to)
        s->ahead = r.from;
    return r;
}

/* The next run of a reader in steps that are far apart. */
static struct read_range stepwise(struct shm_stream *s, uint64_t size, uint64_t run,
                                  const struct read_limits *lim)
{
    uint64_t room = most(lim->window / up(run, SHM_BLOCK_SIZE), 1);
    uint64_t runs = read_plan_least(read_plan_least(2 * (uint64_t)s->hits, RUNS_AHEAD), room);
    uint64_t step = magnitude(s->stride), gone, next;

    if (s->stride > 0 ? s->ahead < s->start : s->ahead > s->start)
        s->ahead = s->start;
    gone = s->stride > 0 ? s->ahead - s->start : s->start - s->ahead;
    if (gone / step >= runs || (s->stride < 0 && s->ahead < step))
        return (struct read_range){0, 0};
    next = s->ahead + (uint64_t)s->stride;
    if (next >= size)
        return (struct read_range){0, 0};
    s->ahead = next;
    return (struct read_range){next, read_plan_least(size, next + run)};
}

static struct read_range next_part(struct shm_stream *s, uint32_t last_run, uint64_t size,
                                   const struct read_limits *lim)
{
    uint64_t run = most(s->run, run_of(s)), step = magnitude(s->stride);
    uint64_t wanted = 2 * (uint64_t)s->hits * step;

    if (!s->turn || run_of(s) == 0 || (!is_steady(s) && !is_open(s, last_run)))
        return (struct read_range){0, 0};
    if (!is_steady(s))
        return forwards(s, size, (s->first && s->start == 0 ? 4 : 2) * read_of(s), lim);
    if (step > 2 * run && step > SHM_BLOCK_SIZE)
        return stepwise(s, size, run, lim);
    return s->stride > 0 ? forwards(s, size, wanted, lim) : backwards(s, wanted, lim);
}

struct read_range read_plan_ahead(struct shm_handle *h, uint32_t stream, uint64_t size,
                                  const struct read_limits *lim)
{
    return next_part(&h->stream[stream], h->last_run, size, lim);
}

bool read_plan_wants(const struct shm_handle *h, uint32_t stream, uint64_t size,
                     const struct read_limits *lim)
{
    struct shm_stream copy = h->stream[stream];
    struct read_range r = next_part(&copy, h->last_run, size, lim);

    return r.from < r.to;
}

/* ---- a miss ---- */

/* At random: whole blocks, `random` bytes if the READ has less. */
static struct read_range at_random(uint64_t off, uint32_t len, const struct read_limits *lim)
{
    struct read_range r = {off, off + len};

    if (len < lim->random) {
        r.from = down(off, lim->random);
        r.to = most(r.to, r.from + lim->random);
    }
    return r;
}

struct read_range read_plan_miss(struct shm_handle *h, struct read_place place, uint64_t off,
                                 uint32_t len, uint64_t size, const struct read_limits *lim)
{
    struct shm_stream *s = &h->stream[place.stream];
    struct read_range r = {off, off + len};

    if (!place.sequential)
        r = at_random(off, len, lim);
    else if (size <= lim->whole && s->first && s->start == 0)
        r.to = size;
    else if (r.to <= s->ahead && r.to == s->next) {
        /* evicted before it was read: too much is being fetched */
        s->window /= 2;
        s->start = off;
    } else if (is_open(s, h->last_run))
        r.to = most(r.to, off + read_plan_least(WINDOW_FIRST, lim->window));
    r.to = read_plan_least(r.to, size);
    if (place.sequential && r.to > s->ahead)
        s->ahead = r.to;
    return r;
}
