/* See version_id.h. The table is shm/shm_version_id.c; fetch.c sends the requests with an id. */
#include "workers/read/version_id.h"

#include <errno.h>
#include <string.h>

#include "shm/shm_version_id.h"

void version_id_told(struct worker *w, uint32_t node, const char *key, const struct s3_object *obj)
{
    const struct shm_node *n = node == SHM_NIL ? NULL : shm_node_at(w->shm, node);

    if (n && *obj->version && !(n->flags & (SHM_NODE_DIR | SHM_NODE_LOCAL)) &&
        n->size > SHM_BLOCK_SIZE && shm_etag_same(n->etag, obj->etag))
        shm_version_id_told(w->shm, node, key, obj->version);
}

/* NULL also for files of one block, whose ids are not noted. */
static const struct shm_version_id *version_id_find(struct worker *w,
                                                    const struct fetch_source *src)
{
    return src->size <= SHM_BLOCK_SIZE || s3_habit_has(w->s3, S3_HABIT_NO_VERSIONS)
               ? NULL
               : shm_version_id_find(w->shm, src->node, src->content, src->key);
}

void version_id_choose(struct worker *w, struct fetch_source *src)
{
    const struct shm_version_id *v = version_id_find(w, src);

    src->version[0] = '\0';
    if (v && v->replaced)
        memcpy(src->version, v->id, sizeof(src->version));
}

bool version_id_go_on(struct worker *w, struct fetch_source *src)
{
    const struct shm_version_id *v;

    worker_lock(w);
    v = version_id_find(w, src);
    if (v) {
        memcpy(src->version, v->id, sizeof(src->version));
        shm_version_id_replaced(w->shm, v);
    }
    worker_unlock(w);
    return v;
}

static void version_id_forget(struct worker *w, const struct fetch_source *src)
{
    const struct shm_version_id *v;

    worker_lock(w);
    v = version_id_find(w, src);
    if (v && strcmp(v->id, src->version) == 0)
        shm_version_id_forget(w->shm, v);
    worker_unlock(w);
}

int version_id_failed(struct worker *w, const struct fetch_source *src, const struct s3_result *res,
                      int error)
{
    if (res->fail == S3_FAIL_ANSWER && s3_version_refused(res->http_status, res->code))
        (void)s3_habit_learn(w->s3, S3_HABIT_NO_VERSIONS);
    else if (error == -ESTALE || error == -ENOENT)
        version_id_forget(w, src);
    else
        return error;
    return -ESTALE;
}
