/* The table of open files and directories. */
#include "shm/shm_handle.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

size_t shm_handle_filled(const struct shm_sizes *s)
{
    return sizeof(struct shm_handle_table) + (size_t)s->handles * sizeof(struct shm_handle);
}

size_t shm_handle_size(const struct shm_sizes *s)
{
    return shm_handle_filled(s) + (size_t)s->handles * SHM_START_MAX;
}

void shm_handle_init(struct shm *shm)
{
    shm->handles->fresh_handle = 0;
}

const struct shm_handle *shm_handle_at(struct shm *shm, uint32_t idx)
{
    assert(idx < shm->header->sizes.handles);
    return &shm->handles->slot[idx];
}

struct shm_handle *shm_handle_edit(struct shm *shm, uint32_t idx)
{
    struct shm_handle *h = shm_handle_hints(shm, idx);

    shm_save(shm, shm->meta, h, sizeof(*h));
    return h;
}

struct shm_handle *shm_handle_hints(struct shm *shm, uint32_t idx)
{
    assert(idx < shm->header->sizes.handles);
    return &shm->handles->slot[idx];
}

static uint32_t take_slot(struct shm *shm)
{
    struct shm_handle_table *t = shm->handles;
    uint32_t idx;

    if (t->free_handle) {
        idx = t->free_handle - 1;
        shm_set(shm, shm->meta, t->free_handle, shm_handle_at(shm, idx)->next_free);
    } else if (t->fresh_handle < shm->header->sizes.handles) {
        idx = t->fresh_handle;
        shm_set(shm, shm->meta, t->fresh_handle, idx + 1);
    } else {
        return SHM_NIL;
    }
    shm_set(shm, shm->meta, t->live, t->live + 1);
    return idx;
}

int64_t shm_handle_new(struct shm *shm, enum shm_handle_kind kind, uint32_t node, uint32_t flags)
{
    uint32_t idx = take_slot(shm);
    uint32_t generation;
    struct shm_handle *h;

    if (idx == SHM_NIL)
        return -ENFILE;
    h = shm_handle_edit(shm, idx);
    generation = h->generation + 1;
    memset(h, 0, sizeof(*h)); /* the whole union */
    h->kind = kind;
    h->generation = generation;
    h->node = node;
    h->session = SHM_NIL;
    h->flags = flags;
    shm_node_open(shm, node);
    return idx;
}

void shm_handle_free(struct shm *shm, uint32_t idx)
{
    struct shm_handle *h = shm_handle_edit(shm, idx);

    if (h->kind == SHM_HANDLE_FREE)
        return;
    shm_node_close(shm, h->node);
    h->kind = SHM_HANDLE_FREE;
    h->next_free = shm->handles->free_handle;
    shm_set(shm, shm->meta, shm->handles->free_handle, idx + 1);
    shm_set(shm, shm->meta, shm->handles->live, shm->handles->live - 1);
}

/* The caller must save it before it stores. */
static char *start_of(struct shm *shm, uint32_t idx, size_t len)
{
    char *beside = (char *)shm->handles + shm_handle_filled(&shm->header->sizes);

    return len <= SHM_START_INLINE ? shm_handle_hints(shm, idx)->start
                                   : beside + (size_t)idx * SHM_START_MAX;
}

const char *shm_handle_start(struct shm *shm, uint32_t idx)
{
    return start_of(shm, idx, shm_handle_at(shm, idx)->start_len);
}

void shm_handle_set_start(struct shm *shm, uint32_t idx, const char *start, size_t len)
{
    struct shm_handle *h = shm_handle_edit(shm, idx);
    char *to = start_of(shm, idx, len);

    assert(len <= SHM_START_MAX);
    if (len > SHM_START_INLINE)
        shm_save(shm, shm->meta, to, len);
    memcpy(to, start, len);
    h->start_len = (uint16_t)len;
}

uint64_t shm_handle_fh(struct shm *shm, uint32_t idx)
{
    return (uint64_t)shm_handle_at(shm, idx)->generation << 32 | idx;
}

uint32_t shm_handle_of_fh(struct shm *shm, uint64_t fh, enum shm_handle_kind kind)
{
    uint32_t idx = (uint32_t)fh;
    const struct shm_handle *h;

    if (idx >= shm->header->sizes.handles)
        return SHM_NIL;
    h = shm_handle_at(shm, idx);
    if (h->kind != kind || h->generation != (uint32_t)(fh >> 32))
        return SHM_NIL;
    return idx;
}

uint32_t shm_handle_session(struct shm *shm, uint64_t fh)
{
    uint32_t idx = shm_handle_of_fh(shm, fh, SHM_HANDLE_FILE);

    return idx == SHM_NIL ? SHM_NIL : shm_handle_at(shm, idx)->session;
}

static int check_slots(struct shm *shm, struct err *err)
{
    const struct shm_handle_table *t = shm->handles;
    uint32_t live = 0;

    for (uint32_t i = 0; i < t->fresh_handle; i++) {
        const struct shm_handle *h = shm_handle_at(shm, i);

        if (h->kind == SHM_HANDLE_FREE)
            continue;
        live++;
        if (h->kind > SHM_HANDLE_DIR || h->node >= shm->header->sizes.nodes ||
            shm_node_at(shm, h->node)->opens == 0)
            return err_set(err, EUCLEAN, "handle %u: its node %u is not open", i, h->node);
        if (h->kind == SHM_HANDLE_DIR && h->start_len > SHM_START_MAX)
            return err_set(err, EUCLEAN, "handle %u: a start of %u bytes", i, h->start_len);
    }
    if (live != t->live)
        return err_set(err, EUCLEAN, "%u handles live, counted %u", t->live, live);
    return 0;
}

static int handle_check_free(struct shm *shm, struct err *err)
{
    const struct shm_handle_table *t = shm->handles;
    uint32_t n = t->live;

    for (uint32_t at = t->free_handle; at; at = t->slot[at - 1].next_free) {
        if (at > t->fresh_handle || t->slot[at - 1].kind != SHM_HANDLE_FREE ||
            ++n > t->fresh_handle)
            return err_set(err, EUCLEAN, "chain of free handles broken at %u", at);
    }
    if (n != t->fresh_handle)
        return err_set(err, EUCLEAN, "%u handles in use or free, of %u", n, t->fresh_handle);
    return 0;
}

int shm_handle_check(struct shm *shm, struct err *err)
{
    int r;

    shm_lock(shm, shm->meta);
    r = check_slots(shm, err);
    if (r == 0)
        r = handle_check_free(shm, err);
    shm_unlock(shm, shm->meta);
    return r;
}
