/* The model of test_model.c. */
#include "tests/shm/model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shm/shm_handle.h"
#include "shm/shm_notify.h"
#include "shm/shm_session.h"

void model_init(struct model *m)
{
    memset(m, 0, sizeof(*m));
    m->n[SHM_ROOT] = (struct model_node){
        .live = true, .dir = true, .parent = SHM_NIL, .nlookup = 1, .session = SHM_NIL, .id = 1};
    for (int i = 0; i < MODEL_SESSIONS; i++)
        m->session_node[i] = SHM_NIL;
}

uint32_t model_find(const struct model *m, uint32_t parent, const char *name, size_t len)
{
    for (uint32_t i = 1; i < MODEL_NODES; i++) {
        const struct model_node *n = &m->n[i];

        if (n->live && n->current && n->parent == parent && n->len == len &&
            memcmp(n->name, name, len) == 0)
            return i;
    }
    return SHM_NIL;
}

uint32_t model_children(const struct model *m, uint32_t idx)
{
    uint32_t count = 0;

    for (uint32_t i = 1; i < MODEL_NODES; i++)
        count += m->n[i].live && m->n[i].parent == idx;
    return count;
}

bool model_is_below(const struct model *m, uint32_t idx, uint32_t ancestor)
{
    while (idx != SHM_NIL && idx != ancestor)
        idx = m->n[idx].parent;
    return idx == ancestor;
}

static uint32_t count_live(const struct model *m)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < MODEL_NODES; i++)
        count += m->n[i].live;
    return count;
}

static bool in_pool(const struct model_node *n, enum shm_name_pool_no no)
{
    return n->len > SHM_NAME_INLINE && shm_name_pool_of(n->len) == no;
}

static uint32_t count_long(const struct model *m, enum shm_name_pool_no no)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < MODEL_NODES; i++)
        count += m->n[i].live && in_pool(&m->n[i], no);
    return count;
}

/* ---- the evictable list ---- */

static bool evictable(const struct model *m, uint32_t idx)
{
    const struct model_node *n = &m->n[idx];

    return idx != SHM_ROOT && n->live && !n->nlookup && !n->opens && !n->busy && !n->pins &&
           n->session == SHM_NIL && !model_children(m, idx);
}

static bool listed(const struct model *m, uint32_t idx)
{
    for (uint32_t i = 0; i < m->n_lru; i++) {
        if (m->lru[i] == idx)
            return true;
    }
    return false;
}

static void unlist(struct model *m, uint32_t idx)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < m->n_lru; i++) {
        if (m->lru[i] != idx)
            m->lru[kept++] = m->lru[i];
    }
    m->n_lru = kept;
}

void model_update(struct model *m, uint32_t idx)
{
    if (!evictable(m, idx)) {
        unlist(m, idx);
    } else if (!listed(m, idx) && m->n[idx].current) {
        memmove(m->lru + 1, m->lru, m->n_lru * sizeof(*m->lru));
        m->lru[0] = idx;
        m->n_lru++;
    } else if (!listed(m, idx)) {
        m->lru[m->n_lru++] = idx;
    }
}

static void touch(struct model *m, uint32_t idx)
{
    unlist(m, idx);
    model_update(m, idx);
}

static void evict(struct model *m, uint32_t idx)
{
    assert_true(listed(m, idx));
    unlist(m, idx);
    m->n[idx].live = false;
    model_update(m, m->n[idx].parent);
}

/* The one with a name of this pool that the segment has evicted: any that is evictable. SHM_NIL if
 * none is gone. */
static uint32_t gone_long(const struct model *m, struct shm *shm, enum shm_name_pool_no no)
{
    for (uint32_t i = 0; i < m->n_lru; i++) {
        const struct model_node *n = &m->n[m->lru[i]];

        if (in_pool(n, no) && shm_node_of_id(shm, n->id) == SHM_NIL)
            return m->lru[i];
    }
    return SHM_NIL;
}

static bool any_long_evictable(const struct model *m, enum shm_name_pool_no no)
{
    for (uint32_t i = 0; i < m->n_lru; i++) {
        if (in_pool(&m->n[m->lru[i]], no))
            return true;
    }
    return false;
}

/* Makes room for a long name; false if there cannot be any. */
static bool room_for_long(struct model *m, struct shm *shm, size_t len, bool failed)
{
    enum shm_name_pool_no no = shm_name_pool_of(len);
    uint32_t victim;

    if (len <= SHM_NAME_INLINE || count_long(m, no) < shm_name_pool_size(&shm->header->sizes, no))
        return true;
    if (!any_long_evictable(m, no))
        return false;
    assert_false(failed);
    victim = gone_long(m, shm, no);
    assert_int_not_equal(victim, SHM_NIL);
    evict(m, victim);
    return true;
}

/* ---- the calls ---- */

void model_detach(struct model *m, uint32_t idx)
{
    if (!m->n[idx].current)
        return;
    m->n[idx].current = false;
    touch(m, idx);
}

static bool same_version(const struct model_node *n, const struct shm_version *v)
{
    if (n->dir || v->dir)
        return n->dir && v->dir;
    return strcmp(n->etag, v->etag) == 0;
}

/* Everything up to the place for the new node; false if there is none. */
static bool make_room(struct model *m, struct shm *shm, size_t len, bool failed)
{
    bool useless = m->n_lru && !m->n[m->lru[m->n_lru - 1]].current;

    if (useless || count_live(m) == MODEL_NODES) {
        if (m->n_lru == 0)
            return false;
        evict(m, m->lru[m->n_lru - 1]);
    }
    return room_for_long(m, shm, len, failed);
}

static void add(struct model *m, struct shm *shm, uint32_t idx, uint32_t parent, const char *name,
                size_t len, const struct shm_version *v)
{
    struct model_node *n = &m->n[idx];

    assert_true(idx < MODEL_NODES);
    assert_false(n->live);
    *n = (struct model_node){.live = true,
                             .dir = v->dir,
                             .current = true,
                             .parent = parent,
                             .session = SHM_NIL,
                             .id = shm_node_id(shm, idx),
                             .len = len};
    memcpy(n->name, name, len);
    strcpy(n->etag, v->etag ? v->etag : "");
    model_update(m, idx);
}

void model_intern(struct model *m, struct shm *shm, uint32_t parent, const char *name, size_t len,
                  const struct shm_version *v, int64_t r)
{
    struct model before = *m;
    uint32_t at = model_find(m, parent, name, len);

    if (at != SHM_NIL && m->n[at].session != SHM_NIL) {
        assert_int_equal(r, at);
        return;
    }
    if (at != SHM_NIL && same_version(&m->n[at], v)) {
        assert_int_equal(r, at);
        touch(m, at);
        return;
    }
    if (at != SHM_NIL)
        model_detach(m, at);
    m->n[parent].pins++;
    model_update(m, parent);
    if (!make_room(m, shm, len, r < 0)) {
        assert_int_equal(r, -ENOMEM);
        *m = before;
        return;
    }
    assert_true(r > 0);
    add(m, shm, (uint32_t)r, parent, name, len, v);
    m->n[parent].pins--;
}

void model_move(struct model *m, struct shm *shm, uint32_t idx, uint32_t to, const char *name,
                size_t len, int r)
{
    struct model before = *m;
    struct model_node *n = &m->n[idx];
    uint32_t replaced = model_find(m, to, name, len), from = n->parent;

    if (model_is_below(m, to, idx)) {
        assert_int_equal(r, -ELOOP);
        return;
    }
    m->n[to].pins++;
    model_update(m, to);
    if (replaced != SHM_NIL && replaced != idx)
        model_detach(m, replaced);
    n->len = 0;
    if (!room_for_long(m, shm, len, r < 0)) {
        assert_int_equal(r, -ENOMEM);
        *m = before;
        return;
    }
    assert_int_equal(r, 0);
    memcpy(n->name, name, len);
    n->len = len;
    n->parent = to;
    n->current = true;
    m->n[to].pins--;
    m->n[from].pins++; /* until the node has its place in the list */
    touch(m, idx);
    m->n[from].pins--;
    model_update(m, from);
}

/* ---- comparison ---- */

static void compare_node(const struct model *m, struct shm *shm, uint32_t idx)
{
    const struct model_node *a = &m->n[idx];
    const struct shm_node *b = shm_node_at(shm, idx);

    assert_int_equal(b->state, a->live ? SHM_NODE_LIVE : SHM_NODE_FREE);
    if (!a->live)
        return;
    assert_int_equal(shm_node_id(shm, idx), a->id);
    assert_int_equal(b->parent, a->parent);
    assert_int_equal(b->nlookup, a->nlookup);
    assert_int_equal(b->opens, a->opens);
    assert_int_equal(b->busy, a->busy);
    assert_int_equal(b->session, a->session);
    assert_int_equal(b->children, model_children(m, idx));
    if (idx == SHM_ROOT)
        return;
    assert_int_equal(!!(b->flags & SHM_NODE_DIR), a->dir);
    assert_int_equal(!!(b->flags & SHM_NODE_CURRENT), a->current);
    assert_string_equal(b->etag, a->etag);
    assert_int_equal(b->name_len, a->len);
    assert_memory_equal(shm_node_name(shm, idx), a->name, a->len);
    assert_int_equal(shm_node_find(shm, a->parent, a->name, a->len),
                     model_find(m, a->parent, a->name, a->len));
}

static void compare_lru(const struct model *m, struct shm *shm)
{
    uint32_t at = shm->nodes->lru_first;

    for (uint32_t i = 0; i < m->n_lru; i++) {
        assert_int_equal(at, m->lru[i] + 1);
        at = shm_node_at(shm, at - 1)->lru_next;
    }
    assert_int_equal(at, 0);
}

static void compare_path(const struct model *m, struct shm *shm, uint32_t idx)
{
    char expected[8192], got[8192];
    size_t at = sizeof(expected) - 1;

    expected[at] = '\0';
    for (uint32_t i = idx; i != SHM_ROOT; i = m->n[i].parent) {
        if (at != sizeof(expected) - 1)
            expected[--at] = '/';
        at -= m->n[i].len;
        memcpy(expected + at, m->n[i].name, m->n[i].len);
    }
    assert_int_equal(shm_node_path(shm, idx, got, sizeof(got)), sizeof(expected) - 1 - at);
    assert_string_equal(got, expected + at);
}

void model_compare(const struct model *m, struct shm *shm)
{
    for (uint32_t i = 0; i < MODEL_NODES; i++)
        compare_node(m, shm, i);
    compare_lru(m, shm);
    for (uint32_t i = 0; i < MODEL_NODES; i++) {
        if (m->n[i].live && model_children(m, i) == 0)
            compare_path(m, shm, i);
    }
    for (uint32_t i = 0; i < MODEL_HANDLES; i++)
        assert_int_equal(shm_handle_at(shm, i)->kind != SHM_HANDLE_FREE, m->handle[i].live);
    for (uint32_t i = 0; i < MODEL_SESSIONS; i++)
        assert_int_equal(i < shm_session_used(shm) ? shm_session_at(shm, i)->node : SHM_NIL,
                         m->session_node[i]);
    assert_int_equal(shm->notify->tail - shm->notify->head, m->notifications);
}
