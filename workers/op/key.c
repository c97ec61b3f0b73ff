/* Builds S3 keys. Names that S3 servers normalise or reject are not sent: s3/s3_url.c rejects them
 * too. */
#include "workers/op/key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shm/shm_session.h"

int key_add_slash(char key[KEY_CAP])
{
    size_t n = strlen(key);

    if (n + 1 >= KEY_CAP)
        return -ENAMETOOLONG;
    key[n] = '/';
    key[n + 1] = '\0';
    return 0;
}

int key_of_node(struct worker *w, uint32_t node, char out[KEY_CAP])
{
    const char *prefix = w->conf->prefix;
    size_t n = strlen(prefix);
    ssize_t len;

    if (n + 2 > KEY_CAP)
        return -ENAMETOOLONG;
    memcpy(out, prefix, n);
    if (n)
        out[n++] = '/';
    len = shm_node_path(w->shm, node, out + n, KEY_CAP - n);
    if (len < 0)
        return (int)len;
    if (len && (shm_node_at(w->shm, node)->flags & SHM_NODE_DIR))
        return key_add_slash(out);
    return 0;
}

int key_of_session(struct worker *w, uint32_t session, char out[KEY_CAP])
{
    const struct shm_session *s = shm_session_at(w->shm, session);
    size_t len = strnlen(s->xattr, sizeof(s->xattr));

    if (!(s->flags & SHM_SESSION_KEYED))
        return key_of_node(w, s->node, out);
    if (len >= KEY_CAP)
        return -ENAMETOOLONG;
    memcpy(out, s->xattr, len);
    out[len] = '\0';
    return 0;
}

int key_of_name(struct worker *w, uint32_t dir, const char *name, size_t len, char out[KEY_CAP])
{
    size_t n;
    int r;

    if (len > SHM_NAME_MAX)
        return -ENAMETOOLONG;
    if (len == 0 || memchr(name, '/', len) || (len == 1 && name[0] == '.') ||
        (len == 2 && name[0] == '.' && name[1] == '.'))
        return -EINVAL;
    if (!(shm_node_at(w->shm, dir)->flags & SHM_NODE_DIR))
        return -ENOTDIR;
    r = key_of_node(w, dir, out);
    if (r < 0)
        return r;
    n = strlen(out);
    if (n + len >= KEY_CAP)
        return -ENAMETOOLONG;
    memcpy(out + n, name, len);
    out[n + len] = '\0';
    return 0;
}

void key_url(const struct worker *w, const char *key, char ret[KEY_URL_MAX])
{
    snprintf(ret, KEY_URL_MAX, "s3://%s/%s", w->conf->bucket, key);
}

bool key_is_below(struct worker *w, uint32_t node, uint32_t dir)
{
    while (node != SHM_NIL && node != dir)
        node = shm_node_at(w->shm, node)->parent;
    return node == dir;
}

bool key_is_reserved(const struct conf *conf, const char *key, size_t len)
{
    size_t prefix = strlen(conf->prefix), dir = strlen(KEY_RESERVED_DIR);

    if (prefix > 0) {
        if (len <= prefix || memcmp(key, conf->prefix, prefix) != 0 || key[prefix] != '/')
            return false;
        key += prefix + 1;
        len -= prefix + 1;
    }
    return len >= dir && memcmp(key, KEY_RESERVED_DIR, dir) == 0;
}
