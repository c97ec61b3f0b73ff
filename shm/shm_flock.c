/* The table of file locks. shm_flock_check.c checks its invariants; workers/handlers/op_lock.c
 * handles requests for locks, and waiting. */
#include "shm/shm_flock.h"

#include <assert.h>
#include <errno.h>

size_t shm_flock_size(const struct shm_sizes *s)
{
    return sizeof(struct shm_flock_table) +
           (size_t)s->handles * sizeof(((struct shm_flock_table *)0)->cell[0]);
}

void shm_flock_init(struct shm *shm)
{
    shm->flocks->fresh_lock = shm->flocks->fresh_file = 0;
}

/* ---- chains of slots ---- */

static struct shm_flock_slot *slot_at(struct shm *shm, uint32_t link)
{
    assert(link && link <= shm->header->sizes.handles);
    return &shm->flocks->cell[link - 1].slot;
}

static struct shm_flock_slot *slot_edit(struct shm *shm, uint32_t link)
{
    struct shm_flock_slot *s = slot_at(shm, link);

    shm_save(shm, shm->meta, s, sizeof(*s));
    return s;
}

static uint32_t free_slots(const struct shm *shm)
{
    return shm->header->sizes.handles - shm->flocks->live;
}

/* The caller has made sure that there is one. */
static void add_lock(struct shm *shm, struct shm_flock_file *f, const struct shm_flock *lock)
{
    struct shm_flock_table *t = shm->flocks;
    uint32_t link = t->free_lock;

    if (link) {
        shm_set(shm, shm->meta, t->free_lock, slot_at(shm, link)->next);
    } else {
        link = t->fresh_lock + 1;
        shm_set(shm, shm->meta, t->fresh_lock, link);
    }
    *slot_edit(shm, link) = (struct shm_flock_slot){.lock = *lock, .next = f->first};
    shm_set(shm, shm->meta, f->first, link);
    shm_set(shm, shm->meta, t->live, t->live + 1);
}

/* *at is the link that points to it, and points to the next one afterwards. */
static void remove_lock(struct shm *shm, uint32_t *at)
{
    struct shm_flock_table *t = shm->flocks;
    uint32_t link = *at;
    struct shm_flock_slot *s = slot_edit(shm, link);

    shm_set(shm, shm->meta, *at, s->next);
    s->next = t->free_lock;
    shm_set(shm, shm->meta, t->free_lock, link);
    shm_set(shm, shm->meta, t->live, t->live - 1);
}

/* ---- files ---- */

static uint32_t *node_head(struct shm *shm, uint32_t node)
{
    return &shm->flocks->by_node[node % SHM_FLOCK_BUCKETS];
}

static uint32_t *key_head(struct shm *shm, uint64_t ino)
{
    return &shm->flocks->by_key[shm_flock_key_bucket(ino)];
}

static struct shm_flock_file *file_at(struct shm *shm, uint32_t link)
{
    assert(link && link <= shm->header->sizes.handles);
    return &shm->flocks->cell[link - 1].file;
}

/* The file of a node, and the link that points to it; NULL if it has no locks. */
static struct shm_flock_file *find_file(struct shm *shm, uint32_t node, uint32_t **ret_at)
{
    uint32_t *at = node_head(shm, node);

    while (*at && file_at(shm, *at)->node != node)
        at = &file_at(shm, *at)->next_by_node;
    *ret_at = at;
    return *at ? file_at(shm, *at) : NULL;
}

static struct shm_flock_file *file_of(struct shm *shm, uint32_t node)
{
    uint32_t *at;

    return find_file(shm, node, &at);
}

/* The caller has saved *f. */
static void chain_by_key(struct shm *shm, struct shm_flock_file *f, uint32_t link)
{
    uint32_t *head = key_head(shm, f->ino);

    f->next_by_key = *head;
    shm_set(shm, shm->meta, *head, link);
}

static void unchain_by_key(struct shm *shm, struct shm_flock_file *f, uint32_t link)
{
    uint32_t *at = key_head(shm, f->ino);

    while (*at != link)
        at = &file_at(shm, *at)->next_by_key;
    shm_set(shm, shm->meta, *at, f->next_by_key);
}

/* Adds a file, which must get a lock before the section ends. There are as many files as locks, so
 * one is always free. */
static struct shm_flock_file *file_new(struct shm *shm, uint32_t node)
{
    struct shm_flock_table *t = shm->flocks;
    uint32_t link = t->free_file, *head = node_head(shm, node);
    struct shm_flock_file *f;

    if (link) {
        shm_set(shm, shm->meta, t->free_file, file_at(shm, link)->next_by_node);
    } else {
        link = t->fresh_file + 1;
        shm_set(shm, shm->meta, t->fresh_file, link);
    }
    f = file_at(shm, link);
    shm_save(shm, shm->meta, f, sizeof(*f));
    *f = (struct shm_flock_file){
        .node = node, .next_by_node = *head, .ino = shm_node_at(shm, node)->ino};
    shm_set(shm, shm->meta, *head, link);
    chain_by_key(shm, f, link);
    return f;
}

static void file_free(struct shm *shm, struct shm_flock_file *f)
{
    uint32_t *at, link;

    (void)find_file(shm, f->node, &at);
    link = *at;
    shm_save(shm, shm->meta, f, sizeof(*f));
    shm_set(shm, shm->meta, *at, f->next_by_node);
    unchain_by_key(shm, f, link);
    f->next_by_node = shm->flocks->free_file;
    shm_set(shm, shm->meta, shm->flocks->free_file, link);
}

/* Locks of the file were removed: returns whom to wake. The file is freed with its last lock. */
static uint32_t locks_gone(struct shm *shm, struct shm_flock_file *f)
{
    uint32_t wake = f->waiters;

    if (wake)
        shm_set(shm, shm->meta, f->waiters, 0);
    if (!f->first)
        file_free(shm, f);
    return wake;
}

void shm_flock_renamed(struct shm *shm, uint32_t node)
{
    uint32_t *at;
    struct shm_flock_file *f = find_file(shm, node, &at);

    if (!f)
        return;
    shm_save(shm, shm->meta, f, sizeof(*f));
    unchain_by_key(shm, f, *at);
    f->ino = shm_node_at(shm, node)->ino;
    chain_by_key(shm, f, *at);
}

/* ---- conflicts ---- */

static bool conflict(const struct shm_flock *a, const struct shm_flock *b)
{
    return a->whole == b->whole && a->owner != b->owner &&
           (a->type == SHM_FLOCK_WRITE || b->type == SHM_FLOCK_WRITE) &&
           (a->whole || (a->start <= b->end && b->start <= a->end));
}

/* The lock with the lowest start on the file, or NULL. */
static const struct shm_flock *find_in(struct shm *shm, const struct shm_flock_file *f,
                                       const struct shm_flock *want)
{
    const struct shm_flock *found = NULL;

    for (uint32_t at = f->first; at; at = slot_at(shm, at)->next) {
        const struct shm_flock *l = &slot_at(shm, at)->lock;

        if (conflict(l, want) && (!found || l->start < found->start))
            found = l;
    }
    return found;
}

bool shm_flock_find(struct shm *shm, uint32_t node, const struct shm_flock *want,
                    struct shm_flock *ret)
{
    uint64_t ino = shm_node_at(shm, node)->ino;
    const struct shm_flock *found = NULL;

    if (want->type == SHM_FLOCK_NONE)
        return false;
    for (uint32_t at = *key_head(shm, ino); at; at = file_at(shm, at)->next_by_key) {
        const struct shm_flock *l;

        if (file_at(shm, at)->ino != ino)
            continue;
        l = find_in(shm, file_at(shm, at), want);
        if (l && (!found || l->start < found->start))
            found = l;
    }
    if (found)
        *ret = *found;
    return found;
}

void shm_flock_wait(struct shm *shm, uint32_t node, const struct shm_flock *want, uint32_t worker)
{
    uint64_t ino = shm_node_at(shm, node)->ino;

    for (uint32_t at = *key_head(shm, ino); at; at = file_at(shm, at)->next_by_key) {
        struct shm_flock_file *f = file_at(shm, at);

        if (f->ino == ino && find_in(shm, f, want))
            shm_set(shm, shm->meta, f->waiters, f->waiters | UINT32_C(1) << worker);
    }
}

/* ---- flock(2) ---- */

static int set_whole(struct shm *shm, uint32_t node, const struct shm_flock *want,
                     uint32_t *ret_wake)
{
    struct shm_flock lock = *want, other;
    struct shm_flock_file *f = file_of(shm, node);
    uint32_t *at = f ? &f->first : NULL;

    while (f && *at &&
           !(slot_at(shm, *at)->lock.whole && slot_at(shm, *at)->lock.owner == want->owner))
        at = &slot_at(shm, *at)->next;
    if (f && *at) {
        if (slot_at(shm, *at)->lock.type == want->type)
            return 0;
        remove_lock(shm, at);
        *ret_wake |= locks_gone(shm, f);
    }
    if (want->type == SHM_FLOCK_NONE)
        return 0;
    if (shm_flock_find(shm, node, want, &other))
        return -EAGAIN;
    if (!free_slots(shm))
        return -ENOLCK;
    f = file_of(shm, node);
    lock.start = 0;
    lock.end = SHM_FLOCK_END;
    add_lock(shm, f ? f : file_new(shm, node), &lock);
    return 0;
}

/* ---- ranges ---- */

static bool is_own(const struct shm_flock *l, const struct shm_flock *want)
{
    return !l->whole && l->owner == want->owner;
}

static bool overlaps(const struct shm_flock *l, const struct shm_flock *want)
{
    return l->start <= want->end && want->start <= l->end;
}

/* Widened by a byte on either side, they would overlap. */
static bool touches(const struct shm_flock *l, const struct shm_flock *want)
{
    return overlaps(l, want) || l->end + 1 == want->start || want->end + 1 == l->start;
}

/* What happens to a range of the same owner. */
enum fate {
    FATE_STAYS,
    FATE_GOES,  /* it lies within the new one, or is merged with it */
    FATE_CUT,   /* one of its ends stays */
    FATE_SPLIT, /* both */
};

static enum fate fate_of(const struct shm_flock *l, const struct shm_flock *want)
{
    bool left = l->start<want->start, right = l->end> want->end;

    if (!is_own(l, want))
        return FATE_STAYS;
    if (l->type == want->type)
        return touches(l, want) ? FATE_GOES : FATE_STAYS;
    if (!overlaps(l, want))
        return FATE_STAYS;
    return left && right ? FATE_SPLIT : left || right ? FATE_CUT : FATE_GOES;
}

/* True if the table, and this owner's share, have room for the additional ranges. */
static bool has_room(struct shm *shm, const struct shm_flock_file *f, const struct shm_flock *want)
{
    int64_t own = 0, more = want->type != SHM_FLOCK_NONE;

    for (uint32_t at = f ? f->first : 0; at; at = slot_at(shm, at)->next) {
        const struct shm_flock *l = &slot_at(shm, at)->lock;
        enum fate fate = fate_of(l, want);

        own += is_own(l, want);
        more += fate == FATE_SPLIT;
        more -= fate == FATE_GOES;
    }
    return more <= 0 ||
           (more <= (int64_t)free_slots(shm) && own + more <= (int64_t)SHM_FLOCK_OWNER_MAX);
}

/* Cuts `want` out of the lock in the slot. */
static void cut_out(struct shm *shm, struct shm_flock_file *f, uint32_t link,
                    const struct shm_flock *want)
{
    struct shm_flock *l = &slot_edit(shm, link)->lock;
    struct shm_flock rest = *l;

    if (l->start >= want->start) {
        l->start = want->end + 1;
        return;
    }
    l->end = want->start - 1;
    if (rest.end > want->end) {
        rest.start = want->end + 1;
        add_lock(shm, f, &rest);
    }
}

/* Makes room for `want` among the owner's own ranges, and extends it by those that it is merged
 * with. True if anything was released that others may wait for. */
static bool clear_range(struct shm *shm, struct shm_flock_file *f, struct shm_flock *want)
{
    const struct shm_flock asked = *want;
    bool gave_up = false;

    for (uint32_t *at = &f->first; *at;) {
        struct shm_flock_slot *s = slot_at(shm, *at);
        enum fate fate = fate_of(&s->lock, &asked);

        gave_up |= fate != FATE_STAYS && s->lock.type != asked.type;
        if (fate == FATE_CUT || fate == FATE_SPLIT)
            cut_out(shm, f, *at, &asked);
        if (fate != FATE_GOES) {
            at = &s->next;
            continue;
        }
        if (s->lock.type == asked.type) {
            want->start = s->lock.start < want->start ? s->lock.start : want->start;
            want->end = s->lock.end > want->end ? s->lock.end : want->end;
        }
        remove_lock(shm, at);
    }
    return gave_up;
}

static int set_range(struct shm *shm, uint32_t node, const struct shm_flock *want,
                     uint32_t *ret_wake)
{
    struct shm_flock_file *f = file_of(shm, node);
    struct shm_flock lock = *want, other;
    bool gave_up = false;

    if (shm_flock_find(shm, node, want, &other))
        return -EAGAIN;
    if (!has_room(shm, f, want))
        return -ENOLCK;
    if (!f && want->type == SHM_FLOCK_NONE)
        return 0;
    if (f)
        gave_up = clear_range(shm, f, &lock);
    else
        f = file_new(shm, node);
    if (want->type != SHM_FLOCK_NONE)
        add_lock(shm, f, &lock);
    if (gave_up)
        *ret_wake |= locks_gone(shm, f);
    return 0;
}

int shm_flock_set(struct shm *shm, uint32_t node, const struct shm_flock *want, uint32_t *ret_wake)
{
    *ret_wake = 0;
    return want->whole ? set_whole(shm, node, want, ret_wake)
                       : set_range(shm, node, want, ret_wake);
}

/* ---- closing ---- */

/* Removes the locks of the file for which `goes` is true, up to SHM_FLOCK_OWNER_MAX. */
static uint32_t flock_drop(struct shm *shm, uint32_t node, uint64_t id,
                           bool (*goes)(const struct shm_flock *l, uint64_t id), uint32_t *ret_wake)
{
    struct shm_flock_file *f = file_of(shm, node);
    uint32_t n = 0;

    if (!f)
        return 0;
    for (uint32_t *at = &f->first; *at && n < SHM_FLOCK_OWNER_MAX;) {
        if (goes(&slot_at(shm, *at)->lock, id)) {
            remove_lock(shm, at);
            n++;
        } else {
            at = &slot_at(shm, *at)->next;
        }
    }
    if (n)
        *ret_wake |= locks_gone(shm, f);
    return n;
}

static bool is_range_of(const struct shm_flock *l, uint64_t owner)
{
    return !l->whole && l->owner == owner;
}

static bool is_through(const struct shm_flock *l, uint64_t handle)
{
    return l->handle == handle;
}

uint32_t shm_flock_drop_owner(struct shm *shm, uint32_t node, uint64_t owner)
{
    uint32_t wake = 0;

    (void)flock_drop(shm, node, owner, is_range_of, &wake); /* no owner has more */
    return wake;
}

bool shm_flock_drop_handle(struct shm *shm, uint32_t node, uint32_t handle, uint32_t *ret_wake)
{
    *ret_wake = 0;
    return flock_drop(shm, node, handle, is_through, ret_wake) == SHM_FLOCK_OWNER_MAX;
}
