/* Version ids: each has eight possible places; the id that is needed least is replaced. */
#include "shm/shm_version_id.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SETS (SHM_VERSION_IDS / SHM_VERSION_WAYS)

static_assert(sizeof(struct shm_version_id) == 128, "as documented");

size_t shm_version_id_size(const struct shm_sizes *s)
{
    (void)s;
    return sizeof(struct shm_version_table);
}

/* The first of the places. (Content numbers are assigned consecutively.) */
static struct shm_version_id *places(struct shm *shm, uint32_t content)
{
    return &shm->version_ids->slot[content % SETS * SHM_VERSION_WAYS];
}

static struct shm_version_id *version_id_find(struct shm *shm, uint32_t bytes_node,
                                              uint32_t content, uint64_t key)
{
    struct shm_version_id *v = places(shm, content);

    for (unsigned i = 0; i < SHM_VERSION_WAYS; i++) {
        if (v[i].key == key && v[i].bytes_node == bytes_node && v[i].content == content)
            return &v[i];
    }
    return NULL;
}

enum need { NEED_NONE, NEED_PERHAPS, NEED_OPEN };

static enum need need_of(struct shm *shm, const struct shm_version_id *v)
{
    const struct shm_node *n = shm_node_at(shm, v->node);

    if (!v->key || n->state != SHM_NODE_LIVE || n->bytes_node != v->bytes_node ||
        n->content != v->content)
        return NEED_NONE;
    return n->opens ? NEED_OPEN : NEED_PERHAPS;
}

/* The place for a new one: the one that is needed least, and was reported longest ago. NULL: files
 * are open on all. */
static struct shm_version_id *free_place(struct shm *shm, uint32_t content)
{
    struct shm_version_id *v = places(shm, content), *best = NULL;
    uint32_t now = shm->version_ids->clock;
    enum need least = NEED_OPEN;

    for (unsigned i = 0; i < SHM_VERSION_WAYS; i++) {
        enum need need = need_of(shm, &v[i]);

        if (need < least || (best && need == least && now - v[i].told > now - best->told)) {
            least = need;
            best = &v[i];
        }
    }
    return best;
}

static bool is_kept(const char *id)
{
    return *id && strcmp(id, "null") != 0 && strlen(id) < SHM_VERSION_ID_MAX;
}

void shm_version_id_told(struct shm *shm, uint32_t node, const char *key, const char *id)
{
    const struct shm_node *n = shm_node_at(shm, node);
    uint64_t h = shm_hash_text(shm, key);
    struct shm_version_id *v;

    if (!is_kept(id))
        return;
    v = version_id_find(shm, n->bytes_node, n->content, h);
    if (v && need_of(shm, v) == NEED_OPEN && !n->opens)
        node = v->node;
    if (!v && !(v = free_place(shm, n->content)))
        return;
    shm_save(shm, shm->meta, v, sizeof(*v));
    *v = (struct shm_version_id){.key = h,
                                 .bytes_node = n->bytes_node,
                                 .content = n->content,
                                 .node = node,
                                 .told = shm->version_ids->clock};
    strcpy(v->id, id);
    shm_set(shm, shm->meta, shm->version_ids->clock, v->told + 1);
}

const struct shm_version_id *shm_version_id_find(struct shm *shm, uint32_t bytes_node,
                                                 uint32_t content, const char *key)
{
    return version_id_find(shm, bytes_node, content, shm_hash_text(shm, key));
}

static struct shm_version_id *version_id_edit(struct shm *shm, const struct shm_version_id *v)
{
    struct shm_version_id *own = &shm->version_ids->slot[v - shm->version_ids->slot];

    shm_save(shm, shm->meta, own, sizeof(*own));
    return own;
}

void shm_version_id_replaced(struct shm *shm, const struct shm_version_id *v)
{
    version_id_edit(shm, v)->replaced = 1;
}

void shm_version_id_forget(struct shm *shm, const struct shm_version_id *v)
{
    *version_id_edit(shm, v) = (struct shm_version_id){0};
}

static int check_place(struct shm *shm, uint32_t at, struct err *err)
{
    struct shm_version_id *v = &shm->version_ids->slot[at];

    if (!v->key)
        return 0;
    if (v->node >= shm->header->sizes.nodes || v->bytes_node >= shm->header->sizes.nodes)
        return err_set(err, EUCLEAN, "version id %u: of no node", at);
    if (!memchr(v->id, '\0', sizeof(v->id)) || !is_kept(v->id))
        return err_set(err, EUCLEAN, "version id %u: not one that is kept", at);
    if (version_id_find(shm, v->bytes_node, v->content, v->key) != v)
        return err_set(err, EUCLEAN, "version id %u: twice, or where it is not found", at);
    return 0;
}

int shm_version_id_check(struct shm *shm, struct err *err)
{
    int r = 0;

    shm_lock(shm, shm->meta);
    for (uint32_t i = 0; i < SHM_VERSION_IDS && r == 0; i++)
        r = check_place(shm, i, err);
    shm_unlock(shm, shm->meta);
    return r;
}
