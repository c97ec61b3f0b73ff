/* See server.h. */
#include "workers/server/server.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "workers/server/cas_kept.h"

#define LIST_MAX 256 /* the names of all habits */

static_assert(SERVER_NAME_MAX == S3_SERVER_MAX, "a name fits");

static const struct habit {
    enum s3_habit habit;
    const char *name;
    const char *means; /* NULL: no effect on files */
} habits[] = {
    {S3_HABIT_BARE_PUT_MATCH, "unquoted-if-match",
     "If-Match of a PUT counts without quotes only, and is sent so"},
    {S3_HABIT_BARE_ETAGS, "unquoted-etags", NULL},
    {S3_HABIT_UPPER_ETAGS, "capital-etags", NULL},
    {S3_HABIT_WEAK_ETAGS, "weak-etags", NULL},
    {S3_HABIT_NO_PUT_MATCH, "no-put-conditions",
     "the server does not keep conditions of PUT: an upload that is held up on its way may undo a "
     "later one"},
    {S3_HABIT_NO_DELETE_MATCH, "no-delete-conditions",
     "the server does not keep conditions of DELETE: what is written in the same moment may be "
     "removed"},
    {S3_HABIT_NO_COPY_TARGET, "no-copy-target-conditions",
     "the server does not know conditions on the target of CopyObject: a change of metadata may "
     "overwrite what is written in the same moment"},
    {S3_HABIT_NO_COPY_SOURCE, "no-copy-source-conditions",
     "the server does not know conditions on the source of CopyObject: rename and changes of "
     "metadata look at the source's version first, and what is written in between is copied too"},
    {S3_HABIT_VIRTUAL_HOST, "virtual-host", NULL},
    {S3_HABIT_NO_VERSIONS, "no-version-reads",
     "the bucket keeps versions, but an earlier one may not be read: a file that is replaced "
     "elsewhere while it is open ends with ESTALE where it was not read yet (to have it read on, "
     "permit s3:GetObjectVersion)"},
    {S3_HABIT_NO_CHECKSUMS, "no-checksums",
     "the server refuses requests with a checksum, so none is sent: TLS, and the ETag where it "
     "is an MD5, or the signature of the body, protect what is uploaded"},
    {S3_HABIT_WANTS_CONDITIONS, "wants-conditions",
     "the bucket refuses changes without a condition: directories, renames and copies ask first "
     "what "
     "is there"},
    {S3_HABIT_NO_TAGS, "no-tags",
     "tags may not be read or written, so a file loses them when it is written or renamed (to have "
     "them kept, permit s3:GetObjectTagging and s3:PutObjectTagging)"},
    {S3_HABIT_BLIND_COMPLETE, "blind-complete",
     "the server answers 200 to CompleteMultipartUpload of an upload that no longer exists, so "
     "each one is followed by a look at what is there"},
    {S3_HABIT_CONTRADICTS, "contradicts", NULL}, /* logged where it was found */
};

#define N_HABITS (sizeof(habits) / sizeof(habits[0]))

void server_tell(enum s3_habit habit)
{
    for (size_t i = 0; i < N_HABITS; i++) {
        if (habits[i].habit == habit && habits[i].means)
            log_notice("server trait learned trait=%s: %s", habits[i].name, habits[i].means);
    }
}

/* A worker in a sandbox cannot: the supervisor does. */
static void forget(const struct worker *w)
{
    if (w->env->sandbox && w->env->sandbox->on)
        fd_event_set(w->env->forget_fd);
    else
        cas_kept_forget(w->conf);
}

void server_contradicts(struct worker *w, const char *key, const char *what)
{
    worker_count(w, SHM_STAT_CONTRADICTIONS, 1);
    if (!s3_habit_learn(w->s3, S3_HABIT_CONTRADICTS))
        return;
    forget(w);
    log_err("the server no longer enforces conditions as it did when probed key=\"%s\": %s; from "
            "now on each write first checks what is there, which leaves a small window; a restart "
            "probes the server again",
            key, what);
}

/* ---- what was found ---- */

static uint32_t conditions_of(const struct worker_env *env)
{
    return __atomic_load_n(&env->shm->header->conditions, __ATOMIC_RELAXED);
}

void server_found(const struct worker_env *env, const struct server_traits *traits)
{
    struct shm_header *h = env->shm->header;
    uint32_t found = (traits->probed ? SERVER_PROBED : 0) |
                     (traits->put_conditions ? SERVER_KEEPS_PUT : 0) |
                     (traits->complete_conditions ? SERVER_KEEPS_COMPLETE : 0) |
                     (traits->delete_if_match ? SERVER_KEEPS_DELETE : 0) |
                     (traits->copy_conditions ? SERVER_KEEPS_COPY : 0);

    __atomic_store_n(&h->conditions, found, __ATOMIC_RELAXED);
    __atomic_fetch_or(&h->habits, traits->habits, __ATOMIC_RELAXED);
}

void server_stored(const struct worker_env *env, struct server_traits *traits)
{
    uint32_t found = conditions_of(env);

    traits->probed = found & SERVER_PROBED;
    traits->put_conditions = found & SERVER_KEEPS_PUT;
    traits->complete_conditions = found & SERVER_KEEPS_COMPLETE;
    traits->delete_if_match = found & SERVER_KEEPS_DELETE;
    traits->copy_conditions = found & SERVER_KEEPS_COPY;
    traits->habits = __atomic_load_n(&env->shm->header->habits, __ATOMIC_RELAXED);
}

bool server_keeps(const struct worker *w, enum server_condition condition)
{
    return conditions_of(w->env) & condition;
}

void server_keeps_no_longer(struct worker *w, enum server_condition condition, const char *key)
{
    uint32_t was = __atomic_fetch_and(&w->env->shm->header->conditions, ~(uint32_t)condition,
                                      __ATOMIC_RELAXED);

    if (!(was & condition))
        return;
    forget(w);
    log_notice("conditions on the target of CopyObject are refused key=\"%s\": from now on the "
               "bytes of a renamed file are read and written",
               key);
}

enum shm_probe server_probe(const struct worker_env *env)
{
    return (enum shm_probe)__atomic_load_n(&env->shm->header->probe, __ATOMIC_ACQUIRE);
}

/* ---- in words ---- */

/* Comma-separated names; "none" if empty. */
static void add_name(char list[LIST_MAX], const char *name)
{
    size_t len = strlen(list);

    snprintf(list + len, LIST_MAX - len, "%s%s", len ? "," : "", name);
}

static void list_conditions(uint32_t found, char out[LIST_MAX])
{
    out[0] = '\0';
    if (found & SERVER_KEEPS_PUT)
        add_name(out, "put");
    if (found & SERVER_KEEPS_COMPLETE)
        add_name(out, "complete");
    if (found & SERVER_KEEPS_DELETE)
        add_name(out, "delete");
    if (found & SERVER_KEEPS_COPY)
        add_name(out, "copy");
    if (!*out)
        add_name(out, found & SERVER_PROBED ? "none" : "unknown");
}

static void list_habits(uint32_t known, char out[LIST_MAX])
{
    out[0] = '\0';
    for (size_t i = 0; i < N_HABITS; i++) {
        if (known & habits[i].habit)
            add_name(out, habits[i].name);
    }
    if (!*out)
        add_name(out, "none");
}

void server_describe(const struct worker_env *env, const char *after, const char *between,
                     char *out, size_t cap)
{
    uint32_t known = __atomic_load_n(&env->shm->header->habits, __ATOMIC_RELAXED);
    const char *quote = *after == '=' ? "\"" : "";
    char conditions[LIST_MAX], traits[LIST_MAX];

    list_conditions(conditions_of(env), conditions);
    list_habits(known, traits);
    snprintf(out, cap, "server%s%s%s%s%sconditions%s%s%straits%s%s", after, quote,
             *env->traits.name ? env->traits.name : "unknown", quote, between, after, conditions,
             between, after, traits);
}
