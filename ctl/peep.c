/* See peep.h. Everything that may be read half-changed is bounded. */
#include "ctl/peep.h"

#include <stdio.h>
#include <string.h>

#include "shm/shm_node.h"
#include "shm/shm_session.h"

#define DEPTH_MAX 512

/* Puts one name of a path before what is at *at. False if there is no room, or the node changes
 * while it is read. All numbers are read once, then checked, then used. */
static bool peep_name(struct shm *shm, uint32_t node, char *path, size_t *at)
{
    const struct shm_node *n = shm_node_at(shm, node);
    const volatile uint32_t *long_name = &n->long_name;
    uint32_t l = *long_name;
    size_t len = *(const volatile uint16_t *)&n->name_len;
    size_t max = l == SHM_NIL ? SHM_NAME_INLINE : SHM_NAME_MAX;
    enum shm_name_pool_no no = shm_name_pool_of(len);

    if (len == 0 || len > max || len + 1 > *at ||
        (l != SHM_NIL && l >= shm_name_pool_size(&shm->header->sizes, no)))
        return false;
    *at -= len;
    memcpy(path + *at, l == SHM_NIL ? n->name : shm_long_name_at(shm, no, l)->bytes, len);
    path[--*at] = '/';
    return true;
}

const char *peep_path(struct shm *shm, uint32_t node, char buf[PEEP_PATH_MAX])
{
    size_t at = PEEP_PATH_MAX - 1;

    buf[at] = '\0';
    for (unsigned depth = 0; node != SHM_ROOT; depth++) {
        if (node >= shm->header->sizes.nodes || depth == DEPTH_MAX ||
            !peep_name(shm, node, buf, &at))
            return "?";
        node = *(const volatile uint32_t *)&shm_node_at(shm, node)->parent;
    }
    return buf[at] ? buf + at : "/";
}

const char *peep_session(struct shm *shm, uint32_t session, char buf[PEEP_PATH_MAX])
{
    const struct shm_session *s = shm_session_at(shm, session);

    if (!(s->flags & SHM_SESSION_KEYED))
        return peep_path(shm, *(const volatile uint32_t *)&s->node, buf);
    snprintf(buf, PEEP_PATH_MAX, "%.*s", PEEP_PATH_MAX - 1, s->xattr);
    return buf;
}
