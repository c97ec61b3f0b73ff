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
     "the server refuses requests with a checksum, so none is sent: TLS, or the signature of the "
     "body, protects what is uploaded"},
    {S3_HABIT_WANTS_CONDITIONS, "wants-conditions",
     "the bucket refuses changes without a condition: directories, renames and copies ask first "
     "what "
     "is there"},
    {S3_HABIT_NO_TAGS, "no-tags",
     "tags may not be copied, so a renamed file loses them (to have them kept, permit "
     "s3:GetObjectTagging and s3:PutObjectTagging)"},
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

/* Comma-separated names; "none" if empty. */
static void add_name(char list[LIST_MAX], const char *name)
{
    size_t len = strlen(list);

    snprintf(list + len, LIST_MAX - len, "%s%s", len ? "," : "", name);
}

static void list_conditions(const struct server_traits *t, char out[LIST_MAX])
{
    out[0] = '\0';
    if (t->put_conditions)
        add_name(out, "put");
    if (t->complete_conditions)
        add_name(out, "complete");
    if (t->delete_if_match)
        add_name(out, "delete");
    if (!*out)
        add_name(out, t->probed ? "none" : "unknown");
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

    list_conditions(&env->traits, conditions);
    list_habits(known, traits);
    snprintf(out, cap, "server%s%s%s%s%sconditions%s%s%straits%s%s", after, quote,
             *env->traits.name ? env->traits.name : "unknown", quote, between, after, conditions,
             between, after, traits);
}
