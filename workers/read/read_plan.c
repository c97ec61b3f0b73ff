/* The window: no read-ahead until a sequential reader misses; then WINDOW_FIRST, doubled each time
 * the reader comes within half a window of the end of what was requested. A random read closes
 * it. */
#include "workers/read/read_plan.h"

#define WINDOW_FIRST (1u << 20)

/* READs of the kernel's read-ahead overtake each other on their way through several workers. A
 * large one near the expected offset belongs to the sequence; a small one only if it fits exactly,
 * because programs that read at random offsets use small ones. */
#define NEAR (UINT64_C(4) << 20)
#define LARGE (64u << 10)

static uint64_t read_plan_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool is_near(uint64_t a, uint64_t b)
{
    return (a > b ? a - b : b - a) <= NEAR;
}

bool read_plan_note(struct shm_handle *h, uint64_t off, uint32_t len)
{
    bool sequential =
        off == h->seq_next || (len >= LARGE && h->seq_next && is_near(off, h->seq_next));

    if (!sequential)
        h->seq_window = 0;
    if (!sequential || off + len > h->seq_next)
        h->seq_next = off + len;
    return sequential;
}

static void open_window(struct shm_handle *h, const struct read_limits *lim)
{
    h->seq_window = (uint32_t)read_plan_least(WINDOW_FIRST, lim->window);
}

static void widen(struct shm_handle *h, const struct read_limits *lim)
{
    h->seq_window = (uint32_t)read_plan_least((uint64_t)h->seq_window * 2, lim->window);
}

struct read_range read_plan_ahead(struct shm_handle *h, uint64_t size,
                                  const struct read_limits *lim)
{
    struct read_range r = {0, 0};

    if (!h->seq_window || h->seq_ahead >= size || h->seq_ahead > h->seq_next + h->seq_window / 2)
        return r;
    r.from = h->seq_ahead > h->seq_next ? h->seq_ahead : h->seq_next;
    r.to = read_plan_least(size, r.from + h->seq_window);
    h->seq_ahead = r.to;
    widen(h, lim);
    return r;
}

struct read_range read_plan_miss(struct shm_handle *h, uint64_t off, uint32_t len, bool sequential,
                                 uint64_t size, const struct read_limits *lim)
{
    struct read_range r = {off, off + len};

    if (!sequential)
        return r;
    if (!h->seq_window)
        open_window(h, lim);
    else if (r.to <= h->seq_ahead) /* evicted before it was read: too much is being fetched */
        h->seq_window = (uint32_t)(h->seq_window / 2 > WINDOW_FIRST
                                       ? h->seq_window / 2
                                       : read_plan_least(WINDOW_FIRST, lim->window));
    else
        widen(h, lim);
    if (size <= lim->whole)
        r.to = size;
    else if (r.to < off + h->seq_window)
        r.to = read_plan_least(size, off + h->seq_window);
    if (r.to > h->seq_ahead)
        h->seq_ahead = r.to;
    return r;
}
