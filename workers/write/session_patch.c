/* Sessions of large files that are changed in place: when, and in which parts they are published.
 * The units are in shm/shm_patch.c, loading them in session_load.c. */
#include "workers/write/session_patch.h"

#include "base/min.h"
#include "shm/shm_patch.h"
#include "shm/shm_upload.h"
#include "workers/read/version_id.h"
#include "workers/server/server.h"
#include "workers/write/session_load.h"
#include "workers/write/stream.h"

#define COPY_STEP (UINT64_C(512) << 20) /* bytes of a part that is copied: up to twice that */

bool session_server_copies(struct worker *w)
{
    const struct shm_header *h = w->shm->header;

    return !__atomic_load_n(&h->no_uploads, __ATOMIC_RELAXED) &&
           !__atomic_load_n(&h->no_part_copy, __ATOMIC_RELAXED) &&
           (!w->variant->expects || server_keeps(w, SERVER_KEEPS_COMPLETE));
}

bool session_may_patch(struct worker *w, const struct shm_session *s)
{
    const struct shm_node *n = shm_node_at(w->shm, s->node);

    return s->size >= w->conf->upload.multipart_threshold && s->size == n->size && *n->etag &&
           !stream_is(s) && !(s->flags & (SHM_SESSION_KEYED | SHM_SESSION_ORPHAN)) &&
           session_server_copies(w);
}

void session_patch_begin(struct worker *w, uint32_t session)
{
    struct shm_session *s = shm_session_edit(w->shm, session);

    if (session_load_reserve(w, session, s->size) < 0)
        return;
    shm_patch_begin(w->shm, session, s->size);
    s->content = SHM_CONTENT_PATCH;
}

struct shm_upload_plan session_patch_plan(struct worker *w, uint32_t session, uint32_t n)
{
    uint64_t size = shm_session_at(w->shm, session)->size;
    uint64_t least = w->conf->upload.part_size;
    struct shm_upload_plan plan = shm_upload_plan(shm_upload_part_size(size, least), false, 0);

    plan.patch = n;
    plan.copy_size = shm_upload_part_size(2 * size, min_u64(COPY_STEP, w->conf->upload.copy_limit));
    plan.copy_size = min_u64(plan.copy_size, SHM_UPLOAD_PART_MAX);
    return plan;
}

bool session_copies_whole(struct worker *w, uint64_t size)
{
    return size <= w->conf->upload.copy_limit &&
           (!w->variant->expects ||
            (server_keeps(w, SERVER_KEEPS_COPY) && !s3_habit_has(w->s3, S3_HABIT_CONTRADICTS)));
}

bool session_copies_parts(struct worker *w, uint64_t size)
{
    if (w->variant->expects && s3_habit_has(w->s3, S3_HABIT_CONTRADICTS))
        return false;
    return session_server_copies(w) && !session_copies_whole(w, size) &&
           (size >= w->conf->upload.multipart_threshold || size > w->conf->upload.copy_limit);
}

/* (Equal parts, none smaller than a step: S3 wants 5 MiB of all but the last.) */
struct shm_upload_plan session_copy_plan(struct worker *w, uint64_t size)
{
    uint64_t least = min_u64(COPY_STEP, w->conf->upload.copy_limit);
    uint64_t each = shm_upload_part_size(size, least);
    struct shm_upload_plan plan = shm_upload_plan(each, false, size);

    if (size / each > plan.copies)
        plan.copies = (uint32_t)(size / each);
    return plan;
}

uint32_t session_patch_parts(struct worker *w, uint32_t session)
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    struct shm_upload_plan plan = session_patch_plan(w, session, 0);
    uint32_t n = 0, copied = 0;
    uint64_t off = 0;

    if (s->content != SHM_CONTENT_PATCH || (s->flags & SHM_SESSION_NO_COPY) ||
        s->size < w->conf->upload.multipart_threshold || !session_server_copies(w) ||
        !shm_patch_fits(w->shm, session, s->size))
        return 0;
    while (off < s->size && n++ < SHM_UPLOAD_PARTS) {
        bool is_copied;

        off += shm_patch_part(w->shm, session, off, s->size, plan.part_size, plan.copy_size,
                              &is_copied);
        copied += is_copied;
    }
    return copied && off == s->size ? n : 0;
}

bool session_patch_adopt(struct worker *w, uint32_t session, const char *key,
                         const struct s3_object *obj, uint64_t asked_ns)
{
    struct shm *shm = w->shm;
    struct shm_session *s;
    struct shm_node *n;
    bool ours;

    worker_lock(w);
    s = shm_session_edit(shm, session);
    ours = s->state == SHM_SESSION_LIVE && s->content == SHM_CONTENT_PATCH && *s->lost_etag &&
           shm_etag_same(s->lost_etag, obj->etag);
    if (ours) {
        n = shm_node_edit(shm, s->node);
        n->size = obj->size;
        n->checked_ns = asked_ns;
        shm_etag_copy(n->etag, obj->etag);
        shm_node_new_content(shm, s->node);
        version_id_told(w, s->node, key, obj);
        if (!w->variant->expects) /* compare-and-set: the next publish asks who has written it */
            shm_etag_copy(s->expect.etag, obj->etag);
        s->lost_etag[0] = '\0';
    }
    worker_unlock(w);
    return ours;
}

bool session_patch_lacks(struct worker *w, uint32_t session)
{
    return shm_session_at(w->shm, session)->content == SHM_CONTENT_PATCH &&
           !session_patch_parts(w, session) && shm_patch_is_short(w->shm, session);
}
