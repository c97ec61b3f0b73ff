/* See unpublished.h. */
#include "daemon/unpublished.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "shm/shm_session.h"
#include "workers/op/key.h"

struct unpublished_file {
    char key[KEY_CAP]; /* "" if the file has no name any more */
    uint64_t bytes;    /* of the whole file, or those of a body that have come */
    const char *why;
    const char *todo;
};

/* A body that has not come to its end leaves its session clean: it is not to be published. */
static bool counts(const struct shm_session *s, enum unpublished_scope scope)
{
    if (s->state != SHM_SESSION_LIVE || (s->flags & SHM_SESSION_ORPHAN))
        return false;
    return shm_session_dirty(s) || (scope == UNPUBLISHED_LOST && (s->flags & SHM_SESSION_KEYED) &&
                                    s->refs && s->published_seq == 0);
}

static void name_it(const struct worker_env *env, const struct shm_session *s, char *out)
{
    const char *prefix = env->conf->prefix;
    int n;

    if (s->flags & SHM_SESSION_KEYED) {
        snprintf(out, KEY_CAP, "%.*s", KEY_CAP - 1, s->xattr);
        return;
    }
    n = snprintf(out, KEY_CAP, "%s%s", prefix, *prefix ? "/" : "");
    if (n < 0 || n >= KEY_CAP ||
        shm_node_path(env->shm, s->node, out + n, (size_t)(KEY_CAP - n)) < 0)
        out[0] = '\0';
}

/* In words for an operator: what the bytes waited for, and what brings them back. */
static void explain(const struct shm_session *s, struct unpublished_file *f)
{
    bool client = s->flags & SHM_SESSION_KEYED;

    f->todo = client ? "its client got no answer: send it again"
                     : "S3 keeps its last published content: write it again";
    if (s->publish.state == SHM_JOB_RUNNING)
        f->why = "its upload did not end in time";
    else if (client && !shm_session_dirty(s))
        f->why = "its body did not come to an end";
    else if (s->write_error)
        f->why = "a write to it failed";
    else if (s->publish.error)
        f->why = "its upload failed";
    else if (s->refs)
        f->why = "a program still had it open";
    else
        f->why = "its upload had not begun";
}

/* Finds the next one, from session *at on; *at is set to the one after it. */
static bool next_file(const struct worker_env *env, enum unpublished_scope scope, uint32_t *at,
                      struct unpublished_file *f)
{
    struct shm *shm = env->shm;
    bool found = false;

    shm_lock(shm, shm->meta);
    while (!found && *at < shm->header->sizes.sessions) {
        const struct shm_session *s = shm_session_at(shm, (*at)++);

        found = counts(s, scope);
        if (!found)
            continue;
        f->bytes = s->size;
        explain(s, f);
        name_it(env, s, f->key);
    }
    shm_unlock(shm, shm->meta);
    return found;
}

unsigned unpublished(const struct worker_env *env, enum unpublished_scope scope, struct err *err)
{
    struct unpublished_file f;
    unsigned n = 0;
    uint32_t at = 0;

    while (next_file(env, scope, &at, &f)) {
        if (n++ == 0)
            err_set(err, EBUSY, "\"%s\"", f.key);
        if (scope == UNPUBLISHED_LOST)
            log_err("not published key=\"%s\" bytes=%llu reason=\"%s\": %s", f.key,
                    (unsigned long long)f.bytes, f.why, f.todo);
    }
    if (n)
        err_prefix(err, "%u files, including", n);
    return n;
}
