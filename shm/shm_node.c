/* Nodes and the name table: which node a name has, what pins a node, which one is evicted. What the
 * versions mean for reads and writes is decided in workers/. */
#include "shm/shm_node.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "shm/shm_flock.h"

static_assert(sizeof(struct shm_node) == 288, "shm_budget.c counts with it");
static_assert(sizeof(struct shm_node_table) % 64 == 0, "nodes are at cache lines");

#define LONG_SCAN 1024u /* long names that one search for a victim checks */

#define INO_TRIES 8

/* Bytes of an entry of each pool. */
static const size_t name_stride[SHM_NAME_POOLS] = {
    [SHM_NAMES_LONG] = sizeof(struct shm_long_name) + SHM_NAME_LONG + 1,
    [SHM_NAMES_LONGEST] = sizeof(struct shm_long_name) + SHM_NAME_MAX,
};

static uint32_t *node_heads(struct shm *shm)
{
    return (uint32_t *)(shm->nodes + 1);
}

static size_t heads_len(const struct shm_sizes *s)
{
    return ((size_t)s->nodes * sizeof(uint32_t) + 255) & ~(size_t)255;
}

static size_t nodes_off(const struct shm_sizes *s)
{
    return sizeof(struct shm_node_table) + 2 * heads_len(s);
}

uint32_t shm_name_pool_size(const struct shm_sizes *s, enum shm_name_pool_no no)
{
    return no == SHM_NAMES_LONG ? s->long_names : s->longest_names;
}

static size_t pool_off(const struct shm_sizes *s, enum shm_name_pool_no no)
{
    size_t off = nodes_off(s) + (size_t)s->nodes * sizeof(struct shm_node);

    for (unsigned i = 0; i < (unsigned)no; i++)
        off += shm_name_pool_size(s, i) * name_stride[i];
    return off;
}

/* The caller must save it before it stores. */
static struct shm_long_name *long_name_at(struct shm *shm, enum shm_name_pool_no no, uint32_t i)
{
    uint8_t *base = (uint8_t *)shm->nodes + pool_off(&shm->header->sizes, no);

    return (struct shm_long_name *)(base + i * name_stride[no]);
}

const struct shm_long_name *shm_long_name_at(struct shm *shm, enum shm_name_pool_no no, uint32_t i)
{
    return long_name_at(shm, no, i);
}

size_t shm_node_size(const struct shm_sizes *s)
{
    return pool_off(s, SHM_NAME_POOLS);
}

struct shm_node_places shm_node_places(const struct shm_sizes *s)
{
    struct shm_node_places p = {.heads = sizeof(struct shm_node_table),
                                .ino_heads = sizeof(struct shm_node_table) + heads_len(s),
                                .nodes = nodes_off(s)};

    for (unsigned i = 0; i < SHM_NAME_POOLS; i++) {
        p.names[i] = pool_off(s, i);
        p.name_len[i] = name_stride[i];
    }
    return p;
}

/* The caller must save it before it stores. */
static struct shm_node *slot_of(struct shm *shm, uint32_t idx)
{
    uint8_t *base = (uint8_t *)shm->nodes + nodes_off(&shm->header->sizes);

    assert(idx < shm->header->sizes.nodes);
    return (struct shm_node *)base + idx;
}

const struct shm_node *shm_node_at(struct shm *shm, uint32_t idx)
{
    return slot_of(shm, idx);
}

struct shm_node *shm_node_edit(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = slot_of(shm, idx);

    shm_save(shm, shm->meta, n, sizeof(*n));
    return n;
}

void shm_node_init(struct shm *shm)
{
    struct shm_node *root = slot_of(shm, SHM_ROOT);

    *root = (struct shm_node){.state = SHM_NODE_LIVE,
                              .parent = SHM_NIL,
                              .session = SHM_NIL,
                              .long_name = SHM_NIL,
                              .flags = SHM_NODE_DIR,
                              .nlookup = 1,
                              .ino = 1,
                              .mode = SHM_MODE_UNSET,
                              .uid = SHM_MODE_UNSET,
                              .gid = SHM_MODE_UNSET,
                              .atime_ns = SHM_TIME_UNSET,
                              .ctime_ns = SHM_TIME_UNSET};
    shm->nodes->fresh_node = 1;
    shm->nodes->next_content = 1;
    shm->nodes->live = 1;
    shm->nodes->lookups = 1;
}

uint64_t shm_node_id(struct shm *shm, uint32_t idx)
{
    return (uint64_t)shm_node_at(shm, idx)->generation << 32 | (idx + 1);
}

uint32_t shm_node_of_id(struct shm *shm, uint64_t id)
{
    uint32_t low = (uint32_t)id;
    const struct shm_node *n;

    if (low == 0 || low > shm->header->sizes.nodes)
        return SHM_NIL;
    n = shm_node_at(shm, low - 1);
    if (n->state != SHM_NODE_LIVE || n->generation != (uint32_t)(id >> 32))
        return SHM_NIL;
    return low - 1;
}

const char *shm_node_name(struct shm *shm, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);

    return n->long_name == SHM_NIL
               ? n->name
               : long_name_at(shm, shm_name_pool_of(n->name_len), n->long_name)->bytes;
}

static uint64_t hash_name(const uint8_t key[crypto_shorthash_KEYBYTES], uint64_t seed,
                          const char *name, size_t len)
{
    uint8_t buf[8 + SHM_NAME_MAX];
    uint8_t out[crypto_shorthash_BYTES];
    uint64_t h;

    memcpy(buf, &seed, 8);
    memcpy(buf + 8, name, len);
    crypto_shorthash(out, buf, 8 + len, key);
    memcpy(&h, out, sizeof(h));
    return h;
}

static bool is_evictable(const struct shm_node *n)
{
    return n->nlookup == 0 && n->children == 0 && n->opens == 0 && n->session == SHM_NIL &&
           n->parent != SHM_NIL && n->busy == 0;
}

/* ---- inode numbers ---- */

/* Always the same: numbers are those of the mount before, and of other mounts of the same prefix.
 * So somebody who can choose names may make two with one number, which harms nobody but him. */
static const uint8_t ino_key[crypto_shorthash_KEYBYTES] = "inode numbers";

/* True if files keep their numbers when they are renamed, and a new one under an old name gets one
 * of its own. Not with compare-and-set, where a name has several nodes, one for each process that
 * writes: their numbers are the same, which locks rely on, as all are made of the name. */
static bool files_keep_inos(const struct shm *shm)
{
    return shm->header->sizes.baselines == 0; /* there are none without compare-and-set */
}

/* (Bit 1 is set in all of them.) */
static uint32_t *ino_chain(struct shm *shm, uint64_t ino)
{
    const struct shm_sizes *s = &shm->header->sizes;
    uint32_t *heads = (uint32_t *)((uint8_t *)node_heads(shm) + heads_len(s));

    return &heads[(ino >> 2) & (s->nodes - 1)];
}

const uint32_t *shm_node_ino_heads(struct shm *shm)
{
    return ino_chain(shm, 0);
}

static void ino_insert(struct shm *shm, uint32_t idx, uint64_t ino)
{
    struct shm_node *n = shm_node_edit(shm, idx);
    uint32_t *head = ino_chain(shm, ino);

    n->ino = ino;
    n->ino_next = *head;
    shm_set(shm, shm->meta, *head, idx + 1);
}

static void ino_remove(struct shm *shm, uint32_t idx)
{
    uint32_t *at = ino_chain(shm, shm_node_at(shm, idx)->ino);

    while (*at && *at != idx + 1)
        at = &slot_of(shm, *at - 1)->ino_next;
    if (*at)
        shm_set(shm, shm->meta, *at, shm_node_at(shm, idx)->ino_next);
}

/* A node of another name has the number; or one that had this name, and is no longer what it means.
 * What nobody uses any more does not count. */
static bool has_ino(struct shm *shm, uint32_t idx, uint32_t parent, const char *name, size_t len)
{
    const struct shm_node *n = shm_node_at(shm, idx);

    if (!(n->flags & SHM_NODE_CURRENT) && is_evictable(n))
        return false;
    return !shm_node_is_named(shm, idx, parent, name, len) || (n->no_name && files_keep_inos(shm));
}

static bool is_taken(struct shm *shm, uint64_t ino, uint32_t parent, const char *name, size_t len)
{
    for (uint32_t at = *ino_chain(shm, ino); at; at = shm_node_at(shm, at - 1)->ino_next) {
        if (shm_node_at(shm, at - 1)->ino == ino && has_ino(shm, at - 1, parent, name, len))
            return true;
    }
    return false;
}

/* (The seed of the next try is nobody's number, as all but the root's have bit 1. With `ino` itself
 * the next number would be that of an entry of this name in the directory that has `ino`.) */
uint64_t shm_node_ino_of(struct shm *shm, uint32_t parent, const char *name, size_t len)
{
    uint64_t ino = hash_name(ino_key, shm_node_at(shm, parent)->ino, name, len) | 2;

    for (int i = 0; i < INO_TRIES && is_taken(shm, ino, parent, name, len); i++)
        ino = hash_name(ino_key, ~ino, name, len) | 2;
    return ino;
}

uint64_t shm_node_name_id(struct shm *shm, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);

    if (n->parent == SHM_NIL)
        return 0;
    return hash_name(ino_key, shm_node_at(shm, n->parent)->ino, shm_node_name(shm, idx),
                     n->name_len);
}

/* That of a new node of this name: all nodes of one name have the same. `like`: one of them,
 * SHM_NIL = there is none. Where very many files had this name one after the other, and still are
 * there under others, it is any number that is free. */
static uint64_t new_ino(struct shm *shm, uint32_t like, uint32_t parent, const char *name,
                        size_t len)
{
    uint64_t ino, seed = shm->nodes->next_content;

    if (like != SHM_NIL)
        return shm_node_at(shm, like)->ino;
    ino = shm_node_ino_of(shm, parent, name, len);
    for (int i = 0; i < INO_TRIES && is_taken(shm, ino, parent, name, len); i++)
        ino = hash_name(ino_key, ~(ino ^ seed << 2), name, len) | 2;
    return ino;
}

/* ---- the name table ---- */

static uint32_t *chain_of(struct shm *shm, uint32_t parent, const char *name, size_t len)
{
    uint64_t seed = (uint64_t)shm_node_at(shm, parent)->generation << 32 | parent;

    return &node_heads(
        shm)[hash_name(shm->header->hash_key, seed, name, len) & (shm->header->sizes.nodes - 1)];
}

/* ---- the list of evictable nodes ---- */

static bool in_lru(struct shm *shm, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);

    return n->lru_prev || n->lru_next || shm->nodes->lru_first == idx + 1;
}

static void lru_remove(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = shm_node_edit(shm, idx);
    struct shm_node_table *t = shm->nodes;

    if (n->lru_prev)
        shm_set(shm, shm->meta, slot_of(shm, n->lru_prev - 1)->lru_next, n->lru_next);
    else
        shm_set(shm, shm->meta, t->lru_first, n->lru_next);
    if (n->lru_next)
        shm_set(shm, shm->meta, slot_of(shm, n->lru_next - 1)->lru_prev, n->lru_prev);
    else
        shm_set(shm, shm->meta, t->lru_last, n->lru_prev);
    n->lru_prev = n->lru_next = 0;
    shm_set(shm, shm->meta, t->evictable, t->evictable - 1);
}

/* Current nodes go to the front; detached ones are no longer useful and go to the back, to be
 * evicted first. */
static void lru_push(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = shm_node_edit(shm, idx);
    struct shm_node_table *t = shm->nodes;
    bool front = n->flags & SHM_NODE_CURRENT;

    n->lru_prev = front ? 0 : t->lru_last;
    n->lru_next = front ? t->lru_first : 0;
    if (n->lru_next)
        shm_set(shm, shm->meta, slot_of(shm, n->lru_next - 1)->lru_prev, idx + 1);
    else
        shm_set(shm, shm->meta, t->lru_last, idx + 1);
    if (n->lru_prev)
        shm_set(shm, shm->meta, slot_of(shm, n->lru_prev - 1)->lru_next, idx + 1);
    else
        shm_set(shm, shm->meta, t->lru_first, idx + 1);
    shm_set(shm, shm->meta, t->evictable, t->evictable + 1);
}

/* ---- the name table ---- */

static void count_entry(struct shm *shm, uint32_t dir, uint32_t more)
{
    struct shm_node *d = slot_of(shm, dir);

    shm_set(shm, shm->meta, d->entries, d->entries + more);
}

static void chain_insert(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = shm_node_edit(shm, idx);
    uint32_t *head = chain_of(shm, n->parent, shm_node_name(shm, idx), n->name_len);

    n->hash_next = *head;
    n->flags |= SHM_NODE_CURRENT;
    n->no_name = 0;
    shm_set(shm, shm->meta, *head, idx + 1);
    count_entry(shm, n->parent, 1);
}

static void chain_remove(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = shm_node_edit(shm, idx);
    uint32_t *at = chain_of(shm, n->parent, shm_node_name(shm, idx), n->name_len);

    while (*at && *at != idx + 1)
        at = &slot_of(shm, *at - 1)->hash_next;
    if (*at)
        shm_set(shm, shm->meta, *at, n->hash_next);
    if (n->flags & SHM_NODE_CURRENT)
        count_entry(shm, n->parent, UINT32_MAX); /* one less */
    n->hash_next = 0;
    n->flags &= (uint16_t)~SHM_NODE_CURRENT;
}

bool shm_node_is_named(struct shm *shm, uint32_t idx, uint32_t parent, const char *name, size_t len)
{
    const struct shm_node *n = shm_node_at(shm, idx);

    return n->parent == parent && n->name_len == len &&
           memcmp(shm_node_name(shm, idx), name, len) == 0;
}

uint32_t shm_node_find(struct shm *shm, uint32_t parent, const char *name, size_t len)
{
    uint32_t at;

    if (len == 0 || len > SHM_NAME_MAX)
        return SHM_NIL;
    for (at = *chain_of(shm, parent, name, len); at;) {
        if (shm_node_is_named(shm, at - 1, parent, name, len))
            return at - 1;
        at = shm_node_at(shm, at - 1)->hash_next;
    }
    return SHM_NIL;
}

uint32_t shm_node_named(struct shm *shm, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);

    return n->parent == SHM_NIL
               ? SHM_NIL
               : shm_node_find(shm, n->parent, shm_node_name(shm, idx), n->name_len);
}

uint32_t shm_node_next_of_name(struct shm *shm, uint32_t at, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);
    uint32_t next = at == SHM_NIL ? *ino_chain(shm, n->ino) : shm_node_at(shm, at)->ino_next;

    while (next &&
           (shm_node_at(shm, next - 1)->ino != n->ino ||
            !shm_node_is_named(shm, next - 1, n->parent, shm_node_name(shm, idx), n->name_len)))
        next = shm_node_at(shm, next - 1)->ino_next;
    return next ? next - 1 : SHM_NIL;
}

/* ---- allocation ---- */

static void node_free(struct shm *shm, uint32_t idx);

/* A node with a name in this pool that can be evicted, SHM_NIL if none was found. For when all of
 * the pool are in use. Where it stopped is not saved: a call that fails is undone, and the next one
 * must search further. */
static uint32_t long_victim(struct shm *shm, enum shm_name_pool_no no)
{
    struct shm_name_pool *pool = &shm->nodes->names[no];
    uint32_t total = shm_name_pool_size(&shm->header->sizes, no);

    for (uint32_t i = 0; i < total && i < LONG_SCAN; i++) {
        uint32_t idx = long_name_at(shm, no, pool->hand)->link;

        pool->hand = (pool->hand + 1) % total;
        if (is_evictable(shm_node_at(shm, idx)))
            return idx;
    }
    return SHM_NIL;
}

/* A free entry of the pool, SHM_NIL if there is none. */
static uint32_t long_alloc(struct shm *shm, enum shm_name_pool_no no)
{
    struct shm_node_table *t = shm->nodes;
    struct shm_name_pool *pool = &t->names[no];
    uint32_t i;

    if (!pool->free && pool->fresh >= shm_name_pool_size(&shm->header->sizes, no)) {
        uint32_t victim = long_victim(shm, no);

        if (victim == SHM_NIL)
            return SHM_NIL;
        shm_set(shm, shm->meta, t->evictions, t->evictions + 1);
        node_free(shm, victim);
    }
    if (pool->free) {
        i = pool->free - 1;
        shm_set(shm, shm->meta, pool->free, long_name_at(shm, no, i)->link);
    } else {
        i = pool->fresh;
        shm_set(shm, shm->meta, pool->fresh, i + 1);
    }
    return i;
}

/* Gives the node a name; it has none yet. */
static int name_put(struct shm *shm, uint32_t idx, const char *name, size_t len)
{
    struct shm_node *n = shm_node_edit(shm, idx);
    enum shm_name_pool_no no = shm_name_pool_of(len);
    struct shm_long_name *l;
    uint32_t i;

    n->name_len = (uint16_t)len;
    if (len <= SHM_NAME_INLINE) {
        memmove(n->name, name, len);
        return 0;
    }
    i = long_alloc(shm, no);
    if (i == SHM_NIL)
        return -ENOMEM;
    l = long_name_at(shm, no, i);
    shm_save(shm, shm->meta, l, sizeof(*l) + len);
    l->link = idx;
    memmove(l->bytes, name, len);
    n->long_name = i;
    return 0;
}

static void name_drop(struct shm *shm, struct shm_node *n)
{
    enum shm_name_pool_no no = shm_name_pool_of(n->name_len);
    struct shm_name_pool *pool = &shm->nodes->names[no];

    if (n->long_name == SHM_NIL)
        return;
    shm_set(shm, shm->meta, long_name_at(shm, no, n->long_name)->link, pool->free);
    shm_set(shm, shm->meta, pool->free, n->long_name + 1);
    n->long_name = SHM_NIL;
}

static void update_lru(struct shm *shm, uint32_t idx);
static void forget_entry(struct shm *shm, uint32_t dir);

static void child_gone(struct shm *shm, uint32_t parent)
{
    struct shm_node *p = shm_node_edit(shm, parent);

    p->children--;
    update_lru(shm, parent);
}

/* Frees an evictable node; its directory is no longer known completely. */
static void node_free(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = shm_node_edit(shm, idx);
    struct shm_node_table *t = shm->nodes;
    uint32_t parent = n->parent;

    if (in_lru(shm, idx))
        lru_remove(shm, idx);
    if (n->flags & SHM_NODE_CURRENT) {
        chain_remove(shm, idx);
        forget_entry(shm, parent);
    }
    ino_remove(shm, idx);
    name_drop(shm, n);
    n->state = SHM_NODE_FREE;
    n->hash_next = t->free_node;
    shm_set(shm, shm->meta, t->free_node, idx + 1);
    shm_set(shm, shm->meta, t->live, t->live - 1);
    child_gone(shm, parent);
}

/* Puts the node on the evictable list, or removes it, depending on its pins. Frees nothing: freeing
 * a node unpins its parent, and a chain of that would not fit into the undo log. */
static void update_lru(struct shm *shm, uint32_t idx)
{
    bool want = is_evictable(shm_node_at(shm, idx));

    if (want && !in_lru(shm, idx))
        lru_push(shm, idx);
    else if (!want && in_lru(shm, idx))
        lru_remove(shm, idx);
}

/* After a change of CURRENT or a use: moves it to its position in the list. */
static void touch_lru(struct shm *shm, uint32_t idx)
{
    if (in_lru(shm, idx))
        lru_remove(shm, idx);
    update_lru(shm, idx);
}

/* The node that would be evicted next has no name, and nobody uses it. It is reused before memory
 * that never was: the many nodes of a file that is written again and again are all in one chain of
 * numbers. */
static bool last_is_useless(struct shm *shm)
{
    uint32_t last = shm->nodes->lru_last;

    return last && !(shm_node_at(shm, last - 1)->flags & SHM_NODE_CURRENT);
}

static uint32_t node_alloc(struct shm *shm)
{
    struct shm_node_table *t = shm->nodes;
    uint32_t idx;

    if (last_is_useless(shm)) {
        node_free(shm, t->lru_last - 1);
    } else if (!t->free_node && t->fresh_node >= shm->header->sizes.nodes) {
        if (!t->lru_last)
            return SHM_NIL;
        shm_set(shm, shm->meta, t->evictions, t->evictions + 1);
        node_free(shm, t->lru_last - 1);
    }
    if (t->free_node) {
        idx = t->free_node - 1;
        shm_set(shm, shm->meta, t->free_node, shm_node_at(shm, idx)->hash_next);
    } else {
        idx = t->fresh_node;
        shm_set(shm, shm->meta, t->fresh_node, idx + 1);
    }
    shm_set(shm, shm->meta, t->live, t->live + 1);
    return idx;
}

/* ---- versions ---- */

struct shm_version shm_node_version(const struct shm_node *n)
{
    return (struct shm_version){.size = n->size,
                                .mtime_ns = n->mtime_ns,
                                .etag = n->etag,
                                .mode = n->mode,
                                .uid = n->uid,
                                .gid = n->gid,
                                .meta = n->flags & SHM_NODE_META,
                                .type = shm_node_type(n),
                                .rdev = n->rdev,
                                .atime_ns = n->atime_ns,
                                .ctime_ns = n->ctime_ns,
                                .more = n->flags & SHM_NODE_MORE,
                                .xattr = n->flags & SHM_NODE_XATTR,
                                .plain = n->flags & SHM_NODE_PLAIN,
                                .traced = n->traced};
}

void shm_node_copy_meta(struct shm_node *to, const struct shm_node *from)
{
    const uint16_t known = SHM_NODE_MTIME_SET | SHM_NODE_META_FLAGS;

    to->mode = from->mode;
    to->uid = from->uid;
    to->gid = from->gid;
    to->rdev = from->rdev;
    to->mtime_ns = from->mtime_ns;
    to->atime_ns = from->atime_ns;
    to->ctime_ns = from->ctime_ns;
    to->traced = from->traced;
    to->flags = (uint16_t)((to->flags & ~known) | (from->flags & known));
}

static void put_meta(struct shm_node *n, const struct shm_version *v)
{
    n->flags = (uint16_t)((n->flags & ~SHM_NODE_META_FLAGS) | SHM_NODE_META |
                          (v->type ? SHM_NODE_TYPED : 0) | (v->more ? SHM_NODE_MORE : 0) |
                          (v->xattr ? SHM_NODE_XATTR : 0) | (v->plain ? SHM_NODE_PLAIN : 0));
    if (v->type)
        n->mode = v->type | (v->mode == SHM_MODE_UNSET ? 0777 : v->mode & 07777);
    n->traced = v->traced;
    n->rdev = v->rdev;
    n->atime_ns = v->atime_ns;
    n->ctime_ns = v->ctime_ns;
}

static void put_version(struct shm_node *n, const struct shm_version *v, uint64_t now_ns)
{
    if (!v->dir)
        n->size = v->size;
    /* Few responses carry the time of a directory, and it may have moved here since. */
    if (!v->dir || v->mtime_ns > n->mtime_ns)
        n->mtime_ns = v->mtime_ns;
    n->checked_ns = now_ns;
    if (v->meta || v->mode != SHM_MODE_UNSET)
        n->mode = v->mode;
    if (v->meta || v->uid != SHM_MODE_UNSET)
        n->uid = v->uid;
    if (v->meta || v->gid != SHM_MODE_UNSET)
        n->gid = v->gid;
    if (v->meta)
        put_meta(n, v);
    else
        n->flags &= (uint16_t)~SHM_NODE_PLAIN;
    n->flags &= (uint16_t)~SHM_NODE_LOCAL;
    if (v->local)
        n->flags |= SHM_NODE_LOCAL;
    shm_etag_copy(n->etag, v->etag ? v->etag : ""); /* v->etag may be n->etag */
}

/* Of the version that the node has. The time of the last change of attributes never goes back: one
 * may be known here alone (a change to what was there already is not stored). */
static void put_news(struct shm_node *n, const struct shm_version *v, uint64_t now_ns)
{
    int64_t ctime_ns = n->ctime_ns;

    put_version(n, v, now_ns);
    if ((n->ctime_ns == SHM_TIME_UNSET ? n->mtime_ns : n->ctime_ns) < ctime_ns)
        n->ctime_ns = ctime_ns;
}

static bool same_version(const struct shm_node *n, const struct shm_version *v)
{
    bool dir = n->flags & SHM_NODE_DIR;

    if (dir || v->dir)
        return dir && v->dir;
    if (v->meta && (shm_node_type(n) != v->type || n->rdev != v->rdev))
        return false; /* the kernel must not see the type of an inode change */
    /* (A server may return the size of one version and the ETag of another: s3/s3_etag.h.) */
    if (v->local || (n->flags & SHM_NODE_LOCAL))
        return v->local && (n->flags & SHM_NODE_LOCAL) && n->size == v->size;
    return n->size == v->size && shm_etag_same(n->etag, v->etag ? v->etag : "");
}

static uint32_t take_content(struct shm *shm)
{
    uint32_t content = shm->nodes->next_content;

    shm_set(shm, shm->meta, shm->nodes->next_content, content + 1);
    return content;
}

/* `flag`: SHM_NODE_PRIVATE, or 0 for a node that the name maps to. On failure half of it is done:
 * the caller rolls back. */
static int64_t node_new(struct shm *shm, uint32_t parent, const char *name, size_t len,
                        const struct shm_version *v, uint64_t now_ns, uint16_t flag, uint64_t ino)
{
    uint32_t idx, generation;
    struct shm_node *n;

    /* The directory itself must not be evicted for its entry. */
    shm_node_edit(shm, parent)->children++;
    update_lru(shm, parent);
    idx = node_alloc(shm);
    if (idx == SHM_NIL)
        return -ENOMEM;
    n = shm_node_edit(shm, idx);
    generation = n->generation + 1;
    *n = (struct shm_node){.state = SHM_NODE_LIVE,
                           .generation = generation,
                           .parent = parent,
                           .session = SHM_NIL,
                           .long_name = SHM_NIL,
                           .mode = SHM_MODE_UNSET,
                           .uid = SHM_MODE_UNSET,
                           .gid = SHM_MODE_UNSET,
                           .atime_ns = SHM_TIME_UNSET,
                           .ctime_ns = SHM_TIME_UNSET,
                           .flags = v->dir ? SHM_NODE_DIR : 0,
                           .content = take_content(shm)};
    if (name_put(shm, idx, name, len) < 0)
        return -ENOMEM;
    if (!v->dir)
        n->bytes_node = idx;
    else if (shm->nodes->evictions) /* the time that it had here may be forgotten */
        n->mtime_ns = shm->nodes->names_changed_ns;
    ino_insert(shm, idx, ino);
    put_version(n, v, now_ns);
    if (flag & SHM_NODE_PRIVATE)
        n->flags |= SHM_NODE_PRIVATE;
    else
        chain_insert(shm, idx);
    lru_push(shm, idx);
    return idx;
}

/* The arguments are copied: they may be in the node that is replaced, which may be reused at
 * once. */
static int64_t node_replace(struct shm *shm, uint32_t old, uint32_t parent, const char *name,
                            size_t len, const struct shm_version *v, uint64_t now_ns, uint16_t flag)
{
    char own_name[SHM_NAME_MAX], own_etag[SHM_ETAG_MAX];
    struct shm_version own = *v;
    uint32_t like = old != SHM_NIL ? old : shm_node_find(shm, parent, name, len);
    uint64_t ino = new_ino(shm, like, parent, name, len);

    memcpy(own_name, name, len);
    shm_etag_copy(own_etag, v->etag ? v->etag : "");
    own.etag = own_etag;
    if (old != SHM_NIL)
        shm_node_gone(shm, old);
    return node_new(shm, parent, own_name, len, &own, now_ns, flag, ino);
}

int64_t shm_node_private(struct shm *shm, uint32_t parent, const char *name, size_t len,
                         const struct shm_version *v, uint64_t now_ns)
{
    uint32_t mark = shm->meta->log_used;
    int64_t r;

    if (len == 0 || len > SHM_NAME_MAX)
        return -EINVAL;
    r = node_replace(shm, SHM_NIL, parent, name, len, v, now_ns, SHM_NODE_PRIVATE);
    if (r < 0)
        shm_rollback_to(shm, shm->meta, mark);
    return r;
}

int64_t shm_node_intern(struct shm *shm, uint32_t parent, const char *name, size_t len,
                        const struct shm_version *v, uint64_t now_ns)
{
    uint32_t at = shm_node_find(shm, parent, name, len);
    uint32_t mark = shm->meta->log_used;
    int64_t r;

    if (len == 0 || len > SHM_NAME_MAX)
        return -EINVAL;
    if (at != SHM_NIL && shm_node_at(shm, at)->session != SHM_NIL)
        return at;
    if (at != SHM_NIL && same_version(shm_node_at(shm, at), v)) {
        put_news(shm_node_edit(shm, at), v, now_ns);
        touch_lru(shm, at);
        return at;
    }
    r = node_replace(shm, at, parent, name, len, v, now_ns, 0);
    if (r < 0)
        shm_rollback_to(shm, shm->meta, mark);
    return r;
}

void shm_node_gone(struct shm *shm, uint32_t idx)
{
    if (!(shm_node_at(shm, idx)->flags & SHM_NODE_CURRENT))
        return;
    chain_remove(shm, idx);
    touch_lru(shm, idx);
}

void shm_node_unlinked(struct shm *shm, uint32_t idx, int64_t wall_ns)
{
    struct shm_node *n = shm_node_edit(shm, idx);

    n->no_name = 1;
    n->ctime_ns = wall_ns;
    shm_node_gone(shm, idx);
}

void shm_node_regain(struct shm *shm, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);
    uint32_t other;

    if ((n->flags & (SHM_NODE_CURRENT | SHM_NODE_PRIVATE)) || n->parent == SHM_NIL)
        return;
    other = shm_node_find(shm, n->parent, shm_node_name(shm, idx), n->name_len);
    if (other != SHM_NIL)
        shm_node_gone(shm, other);
    chain_insert(shm, idx);
    touch_lru(shm, idx);
}

/* The directory is no longer known completely. */
static void forget_entry(struct shm *shm, uint32_t dir)
{
    shm_node_edit(shm, dir)->flags &= (uint16_t) ~(SHM_NODE_COMPLETE | SHM_NODE_LISTING);
}

void shm_node_detach(struct shm *shm, uint32_t idx)
{
    const struct shm_node *n = shm_node_at(shm, idx);

    if (!(n->flags & SHM_NODE_CURRENT))
        return;
    if (n->parent != SHM_NIL)
        forget_entry(shm, n->parent);
    shm_node_gone(shm, idx);
}

/* True if `idx` is `below` or one of its ancestors. */
static bool is_ancestor(struct shm *shm, uint32_t idx, uint32_t below)
{
    while (below != SHM_NIL && below != idx)
        below = shm_node_at(shm, below)->parent;
    return below == idx;
}

/* On failure half of it is done: the caller rolls back. */
static int move(struct shm *shm, uint32_t idx, uint32_t to_parent, const char *name, size_t len)
{
    uint32_t replaced = shm_node_find(shm, to_parent, name, len);
    struct shm_node *n = shm_node_edit(shm, idx);
    uint32_t from_parent = n->parent;

    /* The new directory must not be freed together with the node that it may replace there. */
    shm_node_edit(shm, to_parent)->children++;
    update_lru(shm, to_parent);
    if (replaced != SHM_NIL && replaced != idx && !(n->flags & SHM_NODE_PRIVATE))
        shm_node_gone(shm, replaced);
    if (n->flags & SHM_NODE_CURRENT)
        chain_remove(shm, idx);
    name_drop(shm, n);
    if (name_put(shm, idx, name, len) < 0)
        return -ENOMEM;
    n->parent = to_parent;
    if (!(n->flags & SHM_NODE_DIR) && !files_keep_inos(shm)) {
        ino_remove(shm, idx);
        ino_insert(shm, idx, new_ino(shm, replaced, to_parent, shm_node_name(shm, idx), len));
    }
    if (!(n->flags & SHM_NODE_PRIVATE))
        chain_insert(shm, idx);
    touch_lru(shm, idx);
    child_gone(shm, from_parent);
    return 0;
}

int shm_node_move(struct shm *shm, uint32_t idx, uint32_t to_parent, const char *name, size_t len)
{
    uint32_t mark = shm->meta->log_used;
    int r;

    if (len == 0 || len > SHM_NAME_MAX)
        return -EINVAL;
    if (is_ancestor(shm, idx, to_parent))
        return -ELOOP;
    r = move(shm, idx, to_parent, name, len);
    if (r < 0)
        shm_rollback_to(shm, shm->meta, mark);
    else
        shm_flock_renamed(shm, idx); /* locks are found by ino, which may have changed */
    return r;
}

/* ---- pins ---- */

void shm_node_ref(struct shm *shm, uint32_t idx, uint64_t count)
{
    struct shm_node *n = shm_node_edit(shm, idx);

    n->nlookup += count;
    shm_set(shm, shm->meta, shm->nodes->lookups, shm->nodes->lookups + count);
    update_lru(shm, idx);
}

void shm_node_forget(struct shm *shm, uint32_t idx, uint64_t count)
{
    struct shm_node *n = shm_node_edit(shm, idx);

    if (count > n->nlookup)
        count = n->nlookup;
    n->nlookup -= count;
    shm_set(shm, shm->meta, shm->nodes->lookups, shm->nodes->lookups - count);
    update_lru(shm, idx);
}

void shm_node_open(struct shm *shm, uint32_t idx)
{
    shm_node_edit(shm, idx)->opens++;
    update_lru(shm, idx);
}

void shm_node_close(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = shm_node_edit(shm, idx);

    if (n->opens)
        n->opens--;
    update_lru(shm, idx);
}

void shm_node_set_session(struct shm *shm, uint32_t idx, uint32_t session)
{
    shm_node_edit(shm, idx)->session = session;
    update_lru(shm, idx);
}

void shm_node_set_busy(struct shm *shm, uint32_t idx, uint32_t tag)
{
    shm_node_edit(shm, idx)->busy = tag;
    update_lru(shm, idx);
}

void shm_node_names_changed(struct shm *shm, uint32_t dir, int64_t wall_ns)
{
    struct shm_node *n;

    if (dir == SHM_NIL)
        return;
    n = shm_node_edit(shm, dir);
    n->mtime_ns = n->ctime_ns = wall_ns;
    n->flags |= SHM_NODE_MTIME_SET; /* of the metadata that are learned later, they are older */
    shm_set(shm, shm->meta, shm->nodes->names_changed_ns, wall_ns);
}

void shm_node_new_content(struct shm *shm, uint32_t idx)
{
    struct shm_node *n = shm_node_edit(shm, idx);

    n->content = take_content(shm);
    if (!(n->flags & SHM_NODE_DIR))
        n->bytes_node = idx;
}

void shm_node_list_stale(struct shm *shm, uint32_t dir)
{
    struct shm_node *n = shm_node_edit(shm, dir);

    n->listed_ns = 0;
    n->content = take_content(shm);
    n->flags &= (uint16_t)~SHM_NODE_COMPLETE;
}

void shm_node_dir_moved(struct shm *shm, uint32_t dir, uint64_t now_ns)
{
    shm_node_edit(shm, dir)->moved_ns = now_ns;
}

bool shm_node_was_moved(struct shm *shm, uint32_t dir, uint64_t since_ns)
{
    for (; dir != SHM_NIL; dir = shm_node_at(shm, dir)->parent) {
        if (shm_node_at(shm, dir)->moved_ns >= since_ns)
            return true;
    }
    return false;
}

uint64_t shm_node_listed_ns(struct shm *shm, uint32_t dir)
{
    uint64_t listed_ns = shm_node_at(shm, dir)->listed_ns;

    return shm_node_was_moved(shm, dir, listed_ns) ? 0 : listed_ns;
}

/* ---- paths ---- */

ssize_t shm_node_path(struct shm *shm, uint32_t idx, char *out, size_t cap)
{
    size_t at = cap, len;

    if (cap == 0)
        return -ENAMETOOLONG;
    while (idx != SHM_ROOT) {
        const struct shm_node *n = shm_node_at(shm, idx);
        size_t need = n->name_len + 1u; /* its slash, or the NUL at the end */

        if (need > at)
            return -ENAMETOOLONG;
        at--;
        out[at] = at == cap - 1 ? '\0' : '/';
        at -= n->name_len;
        memcpy(out + at, shm_node_name(shm, idx), n->name_len);
        idx = n->parent;
    }
    len = at == cap ? 0 : cap - at - 1;
    memmove(out, out + at, len);
    out[len] = '\0';
    return (ssize_t)len;
}

uint32_t shm_node_kernel_only(struct shm *shm, uint32_t *cursor, uint32_t scan)
{
    uint32_t total = shm->nodes->fresh_node;

    for (; scan && total; scan--) {
        uint32_t idx = (*cursor)++ % total;
        const struct shm_node *n = shm_node_at(shm, idx);

        if (n->state == SHM_NODE_LIVE && n->nlookup && n->children == 0 && n->opens == 0 &&
            n->session == SHM_NIL && idx != SHM_ROOT && n->busy == 0)
            return idx;
    }
    return SHM_NIL;
}
