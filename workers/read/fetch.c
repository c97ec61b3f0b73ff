/* Fetches: each is one GET for a run of free blocks, filled in order as bytes arrive, so that
 * readers can follow behind it. A fetch has no owner among the readers: it continues when its last
 * reader is gone, and waiters in other workers are woken through the block. read_plan.c decides
 * what to fetch; read_blocks.c reads the blocks that are present.
 *
 * The state of this file is process-wide: one process is one worker. */
#include "workers/read/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "s3/s3_error.h"
#include "shm/shm_session.h"
#include "workers/read/version_id.h"

#ifndef MADV_POPULATE_READ /* newer than the C library of Debian 12 */
#define MADV_POPULATE_READ 22
#endif

struct fetch {
    struct fetch *prev, *next;
    struct worker *w;
    struct fetch_source src;
    struct fetch_wait *waits;
    uint32_t first; /* number of its first block in the file */
    uint32_t n;     /* blocks */
    uint32_t ready; /* number of blocks that are ready, from the first on */
    uint32_t block[];
};

static struct fetch *fetches;
static unsigned running; /* their number */

/* For each block, the number of leading pages that are in this process's page table. */
static uint8_t *present;

static uint64_t fetch_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint32_t blocks_of(uint64_t bytes)
{
    return (uint32_t)((bytes + SHM_BLOCK_SIZE - 1) / SHM_BLOCK_SIZE);
}

/* ---- pages ---- */

static uint32_t pages_of(const struct worker *w, uint32_t len)
{
    uint32_t page = w->shm->header->sizes.page;

    return (len + page - 1) / page;
}

static void note_present(struct worker *w, uint32_t block, uint32_t len)
{
    static_assert(SHM_BLOCK_SIZE / SHM_PAGE_MIN <= UINT8_MAX, "fits a byte");
    if (!present)
        present = calloc(w->shm->header->sizes.blocks, 1); /* NULL: always calls madvise */
    if (present && present[block] < pages_of(w, len))
        present[block] = (uint8_t)pages_of(w, len);
}

void fetch_make_present(struct worker *w, uint32_t block, uint32_t len)
{
    uint8_t *data;
    size_t before;

    if (present && present[block] >= pages_of(w, len))
        return;
    /* Kernels before 5.14 do not support it: there the risk remains. (A page may be larger than a
     * block.) */
    data = shm_block_data(w->shm, block);
    before = (uintptr_t)data % w->shm->header->sizes.page;
    (void)madvise(data - before, before + len, MADV_POPULATE_READ);
    note_present(w, block, len);
}

/* ---- waiting ---- */

bool fetch_wait_for(struct shm_block_key key, struct fetch_wait *wait)
{
    for (struct fetch *f = fetches; f; f = f->next) {
        if (f->src.node != key.node || f->src.content != key.content ||
            key.no < f->first + f->ready || key.no >= f->first + f->n)
            continue;
        wait->no = key.no;
        wait->next = f->waits;
        wait->link = &f->waits;
        if (wait->next)
            wait->next->link = &wait->next;
        f->waits = wait;
        return true;
    }
    return false;
}

void fetch_wait_stop(struct fetch_wait *wait)
{
    if (!wait->link)
        return;
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    wait->link = NULL;
}

/* Each call may end other waits and start new ones: so the list is searched again from its
 * start. */
static void fetch_tell(struct fetch *f, uint32_t end, int error)
{
    struct fetch_wait *wait = f->waits;

    while (wait) {
        if (wait->no >= end) {
            wait = wait->next;
            continue;
        }
        fetch_wait_stop(wait);
        wait->done(wait, error);
        wait = f->waits;
    }
}

/* ---- a GET ---- */

static void unlink_fetch(struct fetch *f)
{
    *(f->prev ? &f->prev->next : &fetches) = f->next;
    if (f->next)
        f->next->prev = f->prev;
    running--;
}

unsigned fetch_running(void)
{
    return running;
}

void fetch_give_up(struct worker *w, const uint32_t *block, uint32_t n)
{
    uint32_t mask = 0;

    for (uint32_t i = 0; i < n; i++)
        mask |= shm_block_fail(w->shm, block[i]);
    worker_wake(w, mask);
}

/* Releases the blocks that did not arrive, and ends the fetch. */
static void fetch_end(struct fetch *f, int error)
{
    unlink_fetch(f);
    f->w->arena->fetching -= f->n - f->ready;
    fetch_give_up(f->w, f->block + f->ready, f->n - f->ready);
    if (shm_order_waiting(f->w->shm, f->w->slot))
        worker_wake_self(f->w); /* ahead_take_orders: there is room for one */
    fetch_tell(f, UINT32_MAX, error);
    free(f);
}

/* Under shm->meta. True if the node still has the content that is being fetched. */
static bool is_source(struct worker *w, const struct fetch_source *src)
{
    const struct shm_node *n = shm_node_at(w->shm, src->of);

    return n->state == SHM_NODE_LIVE && n->bytes_node == src->node && n->content == src->content;
}

static void note_version(struct fetch *f, const struct s3_object *obj)
{
    if (!*obj->version || *f->src.version)
        return;
    worker_lock(f->w);
    if (is_source(f->w, &f->src))
        version_id_told(f->w, f->src.of, f->src.key, obj);
    worker_unlock(f->w);
}

/* Detects a server that ignores If-Match or the version id. */
static int fetch_on_head(void *arg, const struct s3_object *obj)
{
    struct fetch *f = arg;

    if (!shm_etag_same(obj->etag, f->src.etag) || obj->size != f->src.size)
        return -ESTALE;
    note_version(f, obj);
    return 0;
}

static void block_done(struct fetch *f, uint32_t len)
{
    uint32_t block = f->block[f->ready];
    uint32_t no = f->first + f->ready;

    note_present(f->w, block, len);
    f->ready++;
    f->w->arena->fetching--;
    worker_wake(f->w, shm_block_ready(f->w->shm, block, len));
    fetch_tell(f, no + 1, 0);
}

static int fetch_on_data(void *arg, uint64_t off, const void *data, size_t len)
{
    struct fetch *f = arg;

    while (len) {
        uint64_t at = (uint64_t)(f->first + f->ready) * SHM_BLOCK_SIZE;
        uint64_t full = fetch_least(at + SHM_BLOCK_SIZE, f->src.size);
        size_t n = (size_t)fetch_least(len, full - off);

        if (f->ready == f->n || off < at || off >= full)
            return -EPROTO;
        memcpy(shm_block_data(f->w->shm, f->block[f->ready]) + (off - at), data, n);
        off += n;
        data = (const uint8_t *)data + n;
        len -= n;
        if (off == full)
            block_done(f, (uint32_t)(full - at));
    }
    return 0;
}

/* For a file of one block: the block is not READY before the last piece has arrived. */
static void on_restart(void *arg)
{
    (void)arg;
}

static int fetch_ask(struct fetch *f);

/* If the key has another object now, requests the missing bytes by version id. */
static bool goes_on(struct fetch *f, int error)
{
    return (error == -ESTALE || error == -ENOENT) && !*f->src.version && f->ready < f->n &&
           version_id_go_on(f->w, &f->src) && fetch_ask(f) == 0;
}

static void fetch_on_done(void *arg, const struct s3_result *res)
{
    struct fetch *f = arg;
    int error = res->error;

    if (!error && f->ready < f->n)
        error = -EIO;
    if (error == -ERANGE) /* our version is longer: it is another object now */
        error = -ESTALE;
    if (goes_on(f, error))
        return;
    if (error && *f->src.version)
        error = version_id_failed(f->w, &f->src, res, error);
    if (error && s3_is_archived(res->code))
        log_warn("cannot be read, because it is archived key=\"%s\": restore it first, "
                 "with s3:RestoreObject",
                 f->src.key);
    else if (error && error != -ESTALE && error != -ENOENT)
        log_warn("reading from S3 failed key=\"%s\" offset=%llu error=\"%s\" "
                 "detail=\"%s\" attempts=%u",
                 f->src.key, (unsigned long long)(f->first + f->ready) * SHM_BLOCK_SIZE,
                 strerror(-error), res->text, res->attempts);
    fetch_end(f, error);
}

static int fetch_ask(struct fetch *f)
{
    uint64_t off = (uint64_t)(f->first + f->ready) * SHM_BLOCK_SIZE;
    struct s3_get get = {
        .key = f->src.key,
        .version = f->src.version,
        .off = off,
        .len = fetch_least((uint64_t)(f->n - f->ready) * SHM_BLOCK_SIZE, f->src.size - off),
        .if_match = f->src.etag,
        .on_head = fetch_on_head,
        .on_data = fetch_on_data,
        .on_restart = f->src.size <= SHM_BLOCK_SIZE ? on_restart : NULL,
    };

    return s3_get(f->w->s3, &get, fetch_on_done, f, NULL);
}

/* ---- beginning ---- */

int fetch_source(struct worker *w, uint32_t node, struct fetch_source *ret)
{
    const struct shm_node *n = shm_node_at(w->shm, node);
    const struct shm_session *s = n->session == SHM_NIL ? NULL : shm_session_at(w->shm, n->session);
    int r;

    ret->of = node;
    ret->node = n->bytes_node;
    ret->content = n->content;
    if (s && s->content == SHM_CONTENT_COPY) {
        ret->size = s->size;
        memcpy(ret->etag, s->copy.etag, SHM_ETAG_MAX);
        static_assert(sizeof(ret->key) >= sizeof(s->copy.key), "any key");
        memcpy(ret->key, s->copy.key, sizeof(s->copy.key));
        version_id_choose(w, ret);
        return 0;
    }
    ret->size = n->size;
    memcpy(ret->etag, n->etag, SHM_ETAG_MAX);
    if ((n->flags & SHM_NODE_LOCAL) || !n->etag[0])
        return -ESTALE;
    r = key_of_node(w, node, ret->key);
    if (r == 0)
        version_id_choose(w, ret);
    return r;
}

bool fetch_is_much(const struct worker *w)
{
    return w->shm->blocks->fetching >= w->shm->header->sizes.blocks / 8 * 7;
}

/* Takes blocks from `no` up to `end`, until one is already known or none is free. *ret_out: no
 * block was free, or it is read-ahead and many fetches are running. */
static void take_run(struct fetch *f, uint32_t no, uint32_t end, uint32_t need, bool *ret_out)
{
    struct shm_block_key key = {f->src.node, f->src.content, no};

    f->first = no;
    f->n = 0;
    for (; key.no < end; key.no++) {
        uint32_t idx;

        *ret_out = key.no >= need && fetch_is_much(f->w);
        if (*ret_out)
            return;
        idx = shm_block_begin(f->w->shm, key, f->w->slot);
        if (idx == SHM_NIL) {
            *ret_out = !shm_block_known(f->w->shm, key);
            return;
        }
        f->block[f->n++] = idx;
    }
}

static int fetch_begin(struct fetch *f)
{
    int r;

    f->prev = NULL;
    f->next = fetches;
    if (fetches)
        fetches->prev = f;
    fetches = f;
    running++;
    f->w->arena->fetching += f->n;
    r = fetch_ask(f);
    if (r < 0)
        fetch_end(f, r);
    return r;
}

static struct fetch *fetch_new(struct worker *w, const struct fetch_source *src, uint32_t n)
{
    struct fetch *f = malloc(sizeof(*f) + n * sizeof(f->block[0]));

    if (f) {
        f->w = w;
        f->src = *src;
        f->waits = NULL;
        f->ready = 0;
    }
    return f;
}

int fetch_blocks(struct worker *w, const struct fetch_source *src, uint32_t first,
                 const uint32_t *block, uint32_t n)
{
    struct fetch *f = fetch_new(w, src, n);

    if (!f) {
        fetch_give_up(w, block, n);
        return -ENOMEM;
    }
    f->first = first;
    f->n = n;
    memcpy(f->block, block, n * sizeof(*block));
    return fetch_begin(f);
}

int fetch_start(struct worker *w, const struct fetch_source *src, uint64_t from, uint64_t to,
                uint64_t need)
{
    uint32_t no = (uint32_t)(from / SHM_BLOCK_SIZE);
    uint32_t end_no = blocks_of(fetch_least(to, src->size));
    uint32_t need_no = blocks_of(need);
    struct fetch *f = NULL;
    bool out = false;
    int r = 0;

    while (no < end_no && !out && r == 0) {
        uint32_t n = (uint32_t)fetch_least(end_no - no, FETCH_RUN_MAX);

        if (!f && !(f = fetch_new(w, src, n)))
            return -ENOMEM;
        take_run(f, no, no + n, need_no, &out);
        if (f->n) {
            no += f->n;
            r = fetch_begin(f);
            f = NULL;
        } else if (!out) {
            no++; /* known */
        }
    }
    free(f);
    return r < 0 ? r : out && no < need_no ? -EAGAIN : 0;
}

void fetch_put(struct worker *w, uint32_t bytes_node, uint32_t content, const uint8_t *data,
               uint32_t len)
{
    struct shm_block_key key = {bytes_node, content, 0};
    uint32_t wake, block = shm_block_put(w->shm, key, w->slot, data, len, &wake);

    if (block != SHM_NIL)
        note_present(w, block, len);
    worker_wake(w, wake);
}

bool fetch_has_start(struct worker *w, const struct shm_node *n)
{
    struct shm_block_key key = {n->bytes_node, n->content, 0};

    return n->size == 0 || shm_block_is_ready(w->shm, key);
}

bool fetch_is_whole(struct worker *w, const struct shm_node *n)
{
    return n->size <= SHM_BLOCK_SIZE && fetch_has_start(w, n);
}
