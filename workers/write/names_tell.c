/* Finds the name of a key in the table of names. No node is made for directories that nobody has
 * looked at: then nothing is cached that could be stale, but for the listing of the last directory
 * that is known. */
#include "workers/write/names_tell.h"

#include <string.h>

#include "base/clock.h"
#include "shm/shm_notify.h"
#include "workers/op/dir_witness.h"
#include "workers/op/validity.h"

struct place {
    uint32_t dir;
    const char *name; /* points into the key */
    size_t len;
    uint32_t node; /* of the name; SHM_NIL */
};

static const char *below_prefix(const struct worker *w, const char *key)
{
    size_t n = strlen(w->conf->prefix);

    if (!n)
        return key;
    return strncmp(key, w->conf->prefix, n) == 0 && key[n] == '/' ? key + n + 1 : NULL;
}

/* True: *ret is where the key is named. False: a directory above it is not known; ret->dir is the
 * last one that is, SHM_NIL if the key is no name. */
static bool find_place(struct worker *w, const char *key, struct place *ret)
{
    const char *at = below_prefix(w, key);
    uint32_t next;
    size_t n;

    for (*ret = (struct place){.dir = SHM_ROOT}; at; at += n + 1, ret->dir = next) {
        n = strcspn(at, "/");
        if (n == 0 || n > SHM_NAME_MAX)
            break;
        next = shm_node_find(w->shm, ret->dir, at, n);
        if (!at[n]) {
            *ret = (struct place){ret->dir, at, n, next};
            return true;
        }
        if (next == SHM_NIL || !(shm_node_at(w->shm, next)->flags & SHM_NODE_DIR))
            return false;
    }
    ret->dir = SHM_NIL;
    return false;
}

/* What is listed in that directory is no longer all. */
static void tell_listing(struct worker *w, const struct place *at)
{
    if (at->dir != SHM_NIL)
        shm_node_list_stale(w->shm, at->dir);
}

static void tell_kernel(struct worker *w, const struct place *at)
{
    if (w->env->mount && at->node != SHM_NIL)
        shm_notify_entry(w->shm, at->dir, at->name, at->len);
}

void names_tell_put(struct worker *w, const char *key, uint64_t size, const char *etag,
                    uint64_t sent_ns)
{
    struct shm_version v = {.size = size,
                            .mtime_ns = (int64_t)clock_wall_ns(),
                            .etag = etag,
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    struct place at;

    if (!find_place(w, key, &at)) {
        tell_listing(w, &at);
        return;
    }
    if (at.node != SHM_NIL && (shm_node_at(w->shm, at.node)->flags & SHM_NODE_DIR))
        return; /* it shadows the object */
    tell_kernel(w, &at);
    if (shm_node_intern(w->shm, at.dir, at.name, at.len, &v, sent_ns) < 0)
        shm_node_list_stale(w->shm, at.dir);
    validity_proves(w, at.dir, sent_ns);
    validity_dir_changed(w, at.dir);
    shm_node_names_changed(w->shm, at.dir, v.mtime_ns);
}

void names_tell_delete(struct worker *w, const char *key)
{
    struct place at;

    if (!find_place(w, key, &at)) {
        tell_listing(w, &at);
        return;
    }
    if (at.node != SHM_NIL && !(shm_node_at(w->shm, at.node)->flags & SHM_NODE_DIR)) {
        tell_kernel(w, &at);
        if (shm_node_at(w->shm, at.node)->session == SHM_NIL)
            shm_node_gone(w->shm, at.node);
    }
    dir_witness_gone(w, at.dir, at.name, at.len);
    validity_dir_changed(w, at.dir);
    shm_node_names_changed(w->shm, at.dir, (int64_t)clock_wall_ns());
}

void names_known_etag(struct worker *w, const char *key, char ret[SHM_ETAG_MAX])
{
    struct place at;

    memset(ret, 0, SHM_ETAG_MAX);
    if (find_place(w, key, &at) && at.node != SHM_NIL)
        memcpy(ret, shm_node_at(w->shm, at.node)->etag, SHM_ETAG_MAX);
}
