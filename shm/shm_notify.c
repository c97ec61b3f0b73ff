/* The ring of kernel notifications. daemon/notifier.c writes them to the kernel. */
#include "shm/shm_notify.h"

#include <errno.h>
#include <string.h>

size_t shm_notify_size(const struct shm_sizes *s)
{
    (void)s;
    return sizeof(struct shm_notify_ring);
}

void shm_notify_init(struct shm *shm)
{
    shm->notify->head = shm->notify->tail = shm->notify->n_pages = 0;
}

/* `len`: bytes of its union that will be stored to. Of a slot only what is in use is saved. */
static struct shm_notify *notify_put(struct shm *shm, enum shm_notify_kind kind, uint32_t count,
                                     uint64_t node_id, size_t len)
{
    struct shm_notify_ring *r = shm->notify;
    struct shm_notify *n;

    if (r->tail - r->head >= SHM_NOTIFY_SLOTS) {
        shm_set(shm, shm->meta, r->dropped, r->dropped + 1);
        return NULL;
    }
    n = &r->slot[r->tail % SHM_NOTIFY_SLOTS];
    shm_save(shm, shm->meta, n, offsetof(struct shm_notify, name) + len);
    n->kind = kind;
    n->n = count;
    n->node_id = node_id;
    shm_set(shm, shm->meta, r->tail, r->tail + 1);
    return n;
}

static uint32_t find_pages(const struct shm_notify_ring *r, uint64_t id)
{
    for (uint32_t i = 0; i < r->n_pages; i++) {
        if (r->pages[i] == id)
            return i;
    }
    return SHM_NIL;
}

static void put_pages(struct shm *shm, uint64_t id)
{
    struct shm_notify_ring *r = shm->notify;

    if (find_pages(r, id) != SHM_NIL)
        return;
    if (r->n_pages == SHM_NOTIFY_PAGES) {
        shm_set(shm, shm->meta, r->pages_lost, 1);
        return;
    }
    shm_set(shm, shm->meta, r->pages[r->n_pages], id);
    shm_set(shm, shm->meta, r->n_pages, r->n_pages + 1);
}

void shm_notify_inode(struct shm *shm, uint32_t node)
{
    (void)notify_put(shm, SHM_NOTIFY_INODE, 0, shm_node_id(shm, node), 0);
    put_pages(shm, shm_node_id(shm, node));
}

void shm_notify_entry(struct shm *shm, uint32_t parent, const char *name, size_t len)
{
    struct shm_notify *n = NULL;

    if (len <= SHM_NAME_MAX)
        n = notify_put(shm, SHM_NOTIFY_ENTRY, (uint32_t)len, shm_node_id(shm, parent), len + 1);
    if (!n)
        return;
    memcpy(n->name, name, len);
    n->name[len] = '\0';
}

void shm_notify_prune(struct shm *shm, const uint64_t *node_ids, uint32_t n_ids)
{
    size_t len = n_ids * sizeof(*node_ids);
    struct shm_notify *n = NULL;

    if (n_ids && n_ids <= SHM_NOTIFY_NODES)
        n = notify_put(shm, SHM_NOTIFY_PRUNE, n_ids, 0, len);
    if (n)
        memcpy(n->nodes, node_ids, len);
}

bool shm_notify_next(struct shm *shm, struct shm_notify *ret)
{
    struct shm_notify_ring *r = shm->notify;
    bool any;

    shm_lock(shm, shm->meta);
    any = r->head != r->tail;
    if (any)
        *ret = r->slot[r->head % SHM_NOTIFY_SLOTS];
    shm_unlock(shm, shm->meta);
    return any;
}

void shm_notify_written(struct shm *shm)
{
    struct shm_notify_ring *r = shm->notify;

    shm_lock(shm, shm->meta);
    if (r->head != r->tail) {
        shm_set(shm, shm->meta, r->head, r->head + 1);
        shm_set(shm, shm->meta, r->written, r->written + 1);
    }
    shm_unlock(shm, shm->meta);
}

bool shm_notify_stale(struct shm *shm, uint32_t node)
{
    const struct shm_notify_ring *r = shm->notify;
    uint64_t id;

    if (r->n_pages == 0 && !r->dropping && !r->pages_lost)
        return false;
    id = shm_node_id(shm, node);
    return r->pages_lost || r->dropping == id || find_pages(r, id) != SHM_NIL;
}

void shm_notify_resume(struct shm *shm)
{
    struct shm_notify_ring *r = shm->notify;

    shm_lock(shm, shm->meta);
    if (r->dropping) {
        put_pages(shm, r->dropping);
        shm_set(shm, shm->meta, r->dropping, 0);
    }
    shm_unlock(shm, shm->meta);
}

uint32_t shm_notify_pages(struct shm *shm, uint64_t *ret_ids)
{
    uint32_t n;

    shm_lock(shm, shm->meta);
    n = shm->notify->n_pages;
    memcpy(ret_ids, shm->notify->pages, n * sizeof(*ret_ids));
    shm_unlock(shm, shm->meta);
    return n;
}

static void take_pages(struct shm *shm, uint32_t i)
{
    struct shm_notify_ring *r = shm->notify;

    shm_set(shm, shm->meta, r->pages[i], r->pages[r->n_pages - 1]);
    shm_set(shm, shm->meta, r->n_pages, r->n_pages - 1);
}

/* If the node's bytes are discarded meanwhile, it is put into the list again. A node that no longer
 * exists has no pages. */
bool shm_notify_drop(struct shm *shm, uint64_t node_id)
{
    struct shm_notify_ring *r = shm->notify;
    uint32_t node, i;
    bool drop = false;

    shm_lock(shm, shm->meta);
    node = shm_node_of_id(shm, node_id);
    i = find_pages(r, node_id);
    if (i != SHM_NIL && node == SHM_NIL) {
        take_pages(shm, i);
    } else if (i != SHM_NIL && shm_node_at(shm, node)->session == SHM_NIL) {
        take_pages(shm, i);
        shm_set(shm, shm->meta, r->dropping, node_id);
        drop = true;
    }
    shm_unlock(shm, shm->meta);
    return drop;
}

void shm_notify_dropped(struct shm *shm)
{
    shm_lock(shm, shm->meta);
    shm_set(shm, shm->meta, shm->notify->dropping, 0);
    shm_set(shm, shm->meta, shm->notify->written, shm->notify->written + 1);
    shm_unlock(shm, shm->meta);
}

int shm_notify_check(struct shm *shm, struct err *err)
{
    uint32_t n, pages;

    shm_lock(shm, shm->meta);
    n = shm->notify->tail - shm->notify->head;
    pages = shm->notify->n_pages;
    shm_unlock(shm, shm->meta);
    if (pages > SHM_NOTIFY_PAGES)
        return err_set(err, EUCLEAN, "pages of %u nodes to drop", pages);
    if (n > SHM_NOTIFY_SLOTS)
        return err_set(err, EUCLEAN, "%u notifications in %u slots", n, SHM_NOTIFY_SLOTS);
    return 0;
}
