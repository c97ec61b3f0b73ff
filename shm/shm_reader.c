/* The places at which files are read ahead, in one small array that is searched from end to end:
 * only when a reader asks for more. */
#include "shm/shm_reader.h"

static bool reader_rests(const struct shm_reader *r, uint64_t now_ns)
{
    return !r->seen_ns || now_ns - r->seen_ns > SHM_READER_REST_NS;
}

static bool same_content(const struct shm_reader *a, const struct shm_reader *b)
{
    return a->node == b->node && a->content == b->content;
}

/* Where `now` would run into what `r` has read. */
static bool is_in_the_way(const struct shm_reader *r, const struct shm_reader *now)
{
    return r->seen_ns && now->seen_ns - r->seen_ns <= SHM_READER_PAST_NS && same_content(r, now) &&
           r->start > now->off;
}

static bool is_near(const struct shm_reader *a, const struct shm_reader *b, uint64_t span)
{
    return (a->off > b->off ? a->off - b->off : b->off - a->off) <= span;
}

uint32_t shm_reader_note(struct shm *shm, const struct shm_reader *now, uint64_t span,
                         uint64_t *ret_end)
{
    struct shm_reader *own = NULL, *rests = NULL;
    uint32_t others = 0;

    *ret_end = UINT64_MAX;
    for (uint32_t i = 0; i < SHM_READERS; i++) {
        struct shm_reader *r = &shm->handles->reader[i];

        if (!own && r->seen_ns && same_content(r, now) && is_near(r, now, span)) {
            own = r;
            continue;
        }
        if (is_in_the_way(r, now) && r->start < *ret_end)
            *ret_end = r->start;
        if (!reader_rests(r, now->seen_ns))
            others++;
        else if (!rests || r->seen_ns < rests->seen_ns)
            rests = r;
    }
    own = own ? own : rests;
    if (own)
        *own = *now;
    return own ? others + 1 : SHM_READERS;
}
