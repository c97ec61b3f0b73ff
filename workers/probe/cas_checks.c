/* What the server probe checks with single requests: conditions on PUT, on CompleteMultipartUpload,
 * on DELETE and on both sides of CopyObject, separately, since servers enforce some and ignore
 * others. Each check is a table of steps in rounds; the steps of one round, of all checks, run
 * concurrently, so that the probe takes only a few round trips. Races are in cas_race.c and
 * cas_copy_race.c. */
#include "workers/probe/cas_probe_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "s3/s3_error.h"

#define TRIES 5                    /* tries of a check without a clear result */
#define AGAIN_NS (100 * NS_PER_MS) /* longer for each try */
#define ROUNDS 9
#define STEPS_MAX 8 /* of one check in one round */
#define SLOTS 2     /* ETags that a check stores, uploads that it creates */
#define KEYS_MAX 4  /* keys that a check creates */

enum { NO_ETAG = 0, FIRST, SECOND, WRONG_ETAG }; /* ETags of conditions, and slots that store one */

enum kind { PUT, NOTE, GET, HEAD, DELETE, CREATE, PART, COMPLETE, COMPLETE_OTHER, COPY };

/* The required result of a step. */
enum want { ACT, REFUSE, HOLD, GONE, LEARN };

struct step {
    unsigned round;
    enum kind kind;
    const char *suffix; /* of the key */
    enum want want;
    const char *what; /* the request, in the operator's words; for HOLD and GONE: what went wrong */
    const char *does; /* REFUSE: what it does if it succeeds */
    const char *body; /* body to put, or expected body; COPY: suffix of the source */
    int if_match;
    bool if_none_match;
    int keep;        /* slot for its ETag; 0 = none */
    unsigned upload; /* index of the upload; COPY: ETag of the condition on the source */
};

static const struct step put_steps[] = {
    {1, PUT, ".put", ACT, "PUT If-None-Match:* on a missing key", NULL, "1", 0, true, FIRST, 0},
    {2, PUT, ".put", ACT, "PUT If-Match with the right ETag", NULL, "2", FIRST, false, SECOND, 0},
    {3, PUT, ".put", REFUSE, "PUT If-None-Match:*", "replaces an object that is there", "3", 0,
     true, 0, 0},
    {3, PUT, ".put", REFUSE, "PUT If-Match with a wrong ETag", "replaces the object", "4", FIRST,
     false, 0, 0},
    {3, PUT, ".none", REFUSE, "PUT If-Match", "creates an object that is missing", "5", SECOND,
     false, 0, 0},
    {4, GET, ".put", HOLD, "a PUT that was refused for its condition was stored", NULL, "2", 0,
     false, 0, 0},
    {4, HEAD, ".none", GONE, "a refused PUT If-Match on a missing key was stored", NULL, NULL, 0,
     false, 0, 0},
};

/* The note is written before any part, since parts are billed: from then on a later start can end
 * the upload. */
static const struct step complete_steps[] = {
    {1, PUT, ".part", ACT, "PUT", NULL, "1", 0, false, FIRST, 0},
    {1, CREATE, ".part", ACT, "CreateMultipartUpload", NULL, NULL, 0, false, 0, 0},
    {1, CREATE, ".new", ACT, "CreateMultipartUpload", NULL, NULL, 0, false, 0, 1},
    {2, NOTE, ".part" CAS_NOTE, ACT, "PUT", NULL, NULL, 0, false, 0, 0},
    {2, NOTE, ".new" CAS_NOTE, ACT, "PUT", NULL, NULL, 0, false, 0, 1},
    {3, PART, ".part", ACT, "UploadPart", NULL, NULL, 0, false, 0, 0},
    {3, PART, ".new", ACT, "UploadPart", NULL, NULL, 0, false, 0, 1},
    {4, COMPLETE, ".part", REFUSE, "CompleteMultipartUpload If-None-Match:*",
     "replaces an object that is there", NULL, 0, true, 0, 0},
    {4, COMPLETE, ".new", ACT, "CompleteMultipartUpload If-None-Match:* on a missing key", NULL,
     NULL, 0, true, 0, 1},
    {5, COMPLETE, ".part", REFUSE, "CompleteMultipartUpload If-Match with a wrong ETag",
     "replaces the object", NULL, WRONG_ETAG, false, 0, 0},
    {5, COMPLETE_OTHER, ".new", LEARN, NULL, NULL, NULL, 0, false, 0, 1},
    {6, GET, ".part", HOLD, "a CompleteMultipartUpload that was refused was stored", NULL, "1", 0,
     false, 0, 0},
    {7, COMPLETE, ".part", ACT, "CompleteMultipartUpload If-Match with the right ETag", NULL, NULL,
     FIRST, false, 0, 0},
};

static const struct step delete_steps[] = {
    {1, PUT, ".del", ACT, "PUT", NULL, "1", 0, false, FIRST, 0},
    {2, DELETE, ".del", REFUSE, "DELETE If-Match with a wrong ETag", "deletes the object", NULL,
     WRONG_ETAG, false, 0, 0},
    {3, GET, ".del", HOLD, "a DELETE that was refused deleted", NULL, "1", 0, false, 0, 0},
    {4, DELETE, ".del", ACT, "DELETE If-Match with the right ETag", NULL, NULL, FIRST, false, 0, 0},
    {5, HEAD, ".del", GONE, "DELETE If-Match does not delete", NULL, NULL, 0, false, 0, 0},
};

static const struct step copy_steps[] = {
    {1, PUT, ".from", ACT, "PUT", NULL, "1", 0, false, FIRST, 0},
    {1, PUT, ".to", ACT, "PUT", NULL, "2", 0, false, SECOND, 0},
    {2, COPY, ".to", REFUSE, "CopyObject If-None-Match:*", "replaces an object that is there",
     ".from", 0, true, 0, FIRST},
    {2, COPY, ".to", REFUSE, "CopyObject If-Match with a wrong ETag", "replaces the object",
     ".from", WRONG_ETAG, false, 0, FIRST},
    {2, COPY, ".none", REFUSE, "CopyObject If-Match", "creates an object that is missing", ".from",
     SECOND, false, 0, FIRST},
    {2, COPY, ".to", REFUSE, "CopyObject with a wrong ETag for its source", "replaces the object",
     ".from", SECOND, false, 0, WRONG_ETAG},
    {3, GET, ".to", HOLD, "a CopyObject that was refused was stored", NULL, "2", 0, false, 0, 0},
    {3, HEAD, ".none", GONE, "a refused CopyObject If-Match on a missing key was stored", NULL,
     NULL, 0, false, 0, 0},
    {4, COPY, ".to", ACT, "CopyObject If-Match with the right ETag", NULL, ".from", SECOND, false,
     0, FIRST},
    {4, COPY, ".new", ACT, "CopyObject If-None-Match:* on a missing key", NULL, ".from", 0, true, 0,
     FIRST},
    {5, GET, ".to", HOLD, "CopyObject If-Match does not copy", NULL, "1", 0, false, 0, 0},
    {5, GET, ".new", HOLD, "CopyObject If-None-Match:* does not copy", NULL, "1", 0, false, 0, 0},
};

#define STEPS(s) .steps = (s), .n_steps = sizeof(s) / sizeof((s)[0])

static const struct table {
    const struct step *steps;
    size_t n_steps;
    const char *keys[KEYS_MAX]; /* keys to be deleted, except notes */
} tables[CAS_CHECKS] = {
    [CAS_PUT_CHECK] = {STEPS(put_steps), .keys = {".put", ".none"}},
    [CAS_COMPLETE_CHECK] = {STEPS(complete_steps), .keys = {".part", ".new"}},
    [CAS_DELETE_CHECK] = {STEPS(delete_steps), .keys = {".del"}},
    [CAS_COPY_CHECK] = {STEPS(copy_steps), .keys = {".from", ".to", ".none", ".new"}},
};

struct upload {
    bool open;  /* created, and no Complete of it has succeeded */
    bool noted; /* a later start can end it */
    char id[S3_UPLOAD_ID_MAX];
    char part[S3_ETAG_MAX];
};

struct check {
    const struct table *table;
    struct cas_finding *found;
    unsigned tries;
    bool again; /* repeat without quotes: the form was learned */
    char name[CAS_NAME_MAX];
    char etag[SLOTS][S3_ETAG_MAX];
    struct upload upload[SLOTS];
    const struct step *at[STEPS_MAX]; /* steps of this round */
    struct cas_ask ask[STEPS_MAX];
    size_t n;
};

/* ---- a round ---- */

static const char *etag_of(const struct check *c, int which)
{
    return which == NO_ETAG ? NULL : which == WRONG_ETAG ? CAS_WRONG_ETAG : c->etag[which - FIRST];
}

/* An upload id that the server has never given. */
static void id_of_none(const char *id, char ret[S3_UPLOAD_ID_MAX])
{
    size_t len = strlen(id);

    memcpy(ret, id, len + 1);
    if (len)
        ret[len - 1] = ret[len - 1] == '0' ? '1' : '0';
}

static void checks_start(struct cas_probe *p, struct check *c, const struct step *s,
                         struct cas_ask *a)
{
    struct upload *u = &c->upload[s->kind == COPY ? 0 : s->upload];
    const char *if_match = etag_of(c, s->if_match), *none = s->if_none_match ? "*" : NULL;
    char key[KEY_CAP], from[KEY_CAP], none_such[S3_UPLOAD_ID_MAX];

    cas_key(p, c->name, s->suffix, key);
    switch (s->kind) {
    case PUT:
        cas_start_put(p, a, key, s->body, if_match, none);
        break;
    case NOTE:
        cas_start_put(p, a, key, u->id, NULL, NULL);
        break;
    case GET:
        cas_start_get(p, a, key);
        break;
    case HEAD:
        cas_start_head(p, a, key);
        break;
    case DELETE:
        cas_start_delete(p, a, key, if_match);
        break;
    case CREATE:
        cas_start_create(p, a, key);
        break;
    case PART:
        cas_start_part(p, a, key, u->id);
        break;
    case COMPLETE:
        cas_start_complete(p, a, key, u->id, u->part, if_match, none);
        break;
    case COMPLETE_OTHER:
        id_of_none(u->id, none_such);
        cas_start_complete(p, a, key, none_such, u->part, if_match, none);
        break;
    case COPY:
        cas_key(p, c->name, s->body, from);
        cas_start_copy(p, a, from, key, etag_of(c, (int)s->upload), if_match, none);
        break;
    }
}

static void start_round(struct cas_probe *p, struct check *c, unsigned round)
{
    c->n = 0;
    for (size_t i = 0; i < c->table->n_steps; i++) {
        if (c->table->steps[i].round != round)
            continue;
        c->at[c->n] = &c->table->steps[i];
        checks_start(p, c, c->at[c->n], &c->ask[c->n]);
        c->n++;
    }
}

/* ---- its responses ---- */

/* The object must still have the content `body`. */
static enum cas_outcome must_hold(struct cas_probe *p, int r, const struct step *s)
{
    const struct cas_answer *a = &p->answer;
    enum cas_outcome out;

    if (r == 0 &&
        (a->error == -ENOENT || (a->error == 0 && (a->body_len != strlen(s->body) ||
                                                   memcmp(a->body, s->body, a->body_len) != 0))))
        return cas_wrong(p, "%s", s->what);
    out = cas_must_act(p, r, "GET");
    if (out == CAS_RIGHT && a->mtime_ns)
        p->server_ns = a->mtime_ns - (int64_t)clock_mono_ns();
    return out;
}

static enum cas_outcome must_be_missing(struct cas_probe *p, int r, const struct step *s)
{
    if (r == 0 && p->answer.error == 0)
        return cas_wrong(p, "%s", s->what);
    if (r == 0 && p->answer.error == -ENOENT)
        return CAS_RIGHT;
    return cas_must_act(p, r, "HEAD");
}

/* p->answer is the response to the step. */
static enum cas_outcome checks_judge(struct cas_probe *p, int r, const struct step *s)
{
    enum cas_outcome out = CAS_RIGHT;

    switch (s->want) {
    case ACT:
        out = cas_must_act(p, r, s->what);
        if (out == CAS_RIGHT && s->kind == PUT && !*p->answer.etag)
            out = cas_wrong(p, "PUT answers without an ETag");
        break;
    case REFUSE:
        out = cas_must_refuse(p, r, s->what, s->does);
        break;
    case HOLD:
        out = must_hold(p, r, s);
        break;
    case GONE:
        out = must_be_missing(p, r, s);
        break;
    case LEARN:
        if (r == 0 && p->answer.error == 0)
            (void)s3_habit_learn(p->client, S3_HABIT_BLIND_COMPLETE);
        break;
    }
    return out;
}

static void checks_note(struct check *c, const struct step *s, const struct cas_answer *a)
{
    struct upload *u = &c->upload[s->kind == COPY ? 0 : s->upload];

    if (a->error)
        return;
    if (s->keep)
        strcpy(c->etag[s->keep - FIRST], a->etag);
    if (s->kind == CREATE) {
        strcpy(u->id, a->upload_id);
        u->open = true;
    }
    if (s->kind == PART)
        strcpy(u->part, a->etag);
    u->noted |= s->kind == NOTE;
    if (s->kind == COMPLETE)
        u->open = false;
}

static void take_answers(struct cas_probe *p, struct check *c)
{
    for (size_t i = 0; i < c->n; i++) {
        int r = cas_wait(p, &c->ask[i]);
        enum cas_outcome out;

        p->text[0] = '\0';
        if (r == 0)
            checks_note(c, c->at[i], &p->answer);
        out = checks_judge(p, r, c->at[i]);
        if (out > c->found->out) {
            c->found->out = out;
            memcpy(c->found->text, p->text, ERR_TEXT_MAX);
        }
    }
}

/* ---- the form of conditions ---- */

/* A correct ETag was refused, and HEAD confirms that it is correct: Ceph only accepts it without
 * quotes. True if the whole check has to be repeated in that form, so that the refusal of wrong
 * ETags is tested in it too. */
static bool learn_form(struct cas_probe *p, struct check *c, unsigned round)
{
    const struct cas_answer *a = &c->ask[0].answer;
    char key[KEY_CAP];

    if (round != 2 || c->found->out != CAS_WRONG || a->maybe_acted ||
        (a->status != 412 && a->error != -ENOENT) ||
        s3_habit_has(p->client, S3_HABIT_BARE_PUT_MATCH))
        return false;
    cas_key(p, c->name, ".put", key);
    if (cas_head(p, key) < 0 || p->answer.error || strcmp(p->answer.etag, etag_of(c, FIRST)) != 0)
        return false;
    return s3_habit_learn(p->client, S3_HABIT_BARE_PUT_MATCH);
}

/* ---- one try ---- */

static void checks_begin(struct check *c)
{
    c->found->out = CAS_RIGHT;
    c->found->text[0] = '\0';
    c->again = false;
    memset(c->upload, 0, sizeof(c->upload));
    cas_fresh_name(c->name);
}

static void end_uploads(struct cas_probe *p, struct check *c)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        const char *suffix = c->table->keys[i];
        char key[KEY_CAP], of_note[KEY_CAP + sizeof(CAS_NOTE)];

        if (!*c->upload[i].id)
            continue;
        cas_key(p, c->name, suffix, key);
        snprintf(of_note, sizeof(of_note), "%s" CAS_NOTE, key);
        if (c->upload[i].open && c->upload[i].noted)
            (void)cas_end_upload(p, key, of_note); /* else a later start tries */
        else if (c->upload[i].noted)
            cas_clean(p, of_note);
    }
}

static bool is_over(const struct check *c)
{
    return c->found->out != CAS_RIGHT || c->again;
}

/* Sends the DELETEs of all keys concurrently; retries the failed ones. */
static void clean(struct cas_probe *p, struct check *checks, const bool tried[CAS_CHECKS])
{
    struct cas_ask ask[CAS_CHECKS][KEYS_MAX];
    char key[KEY_CAP];

    p->cleaning = true;
    for (unsigned i = 0; i < CAS_CHECKS; i++) {
        for (unsigned k = 0; tried[i] && k < KEYS_MAX && checks[i].table->keys[k]; k++) {
            cas_key(p, checks[i].name, checks[i].table->keys[k], key);
            cas_start_delete(p, &ask[i][k], key, NULL);
        }
    }
    for (unsigned i = 0; i < CAS_CHECKS; i++) {
        for (unsigned k = 0; tried[i] && k < KEYS_MAX && checks[i].table->keys[k]; k++) {
            int r = cas_wait(p, &ask[i][k]);

            cas_key(p, checks[i].name, checks[i].table->keys[k], key);
            if (r < 0 || s3_may_heal(p->answer.error))
                cas_clean(p, key);
        }
    }
    p->cleaning = false;
}

/* Learns the form of conditions; starts the race once a correct If-Match has succeeded, since the
 * form is known then. */
static void look_at_form(struct cas_probe *p, struct check *c, unsigned round)
{
    if (learn_form(p, c, round))
        c->again = true;
    else if (round == 2 && c->found->out == CAS_RIGHT && cas_race_begin(p) < 0)
        c->found->out = CAS_UNSURE;
}

static void run_rounds(struct cas_probe *p, struct check *checks, const bool runs[CAS_CHECKS])
{
    for (unsigned round = 1; round <= ROUNDS; round++) {
        bool live[CAS_CHECKS];

        for (unsigned i = 0; i < CAS_CHECKS; i++) {
            live[i] = runs[i] && !is_over(&checks[i]);
            if (live[i])
                start_round(p, &checks[i], round);
        }
        for (unsigned i = 0; i < CAS_CHECKS; i++) {
            if (live[i])
                take_answers(p, &checks[i]);
        }
        if (live[CAS_PUT_CHECK])
            look_at_form(p, &checks[CAS_PUT_CHECK], round);
    }
}

/* Chooses the checks that have no clear result yet. */
static bool choose(struct check *checks, bool runs[CAS_CHECKS], unsigned *ret_pause)
{
    bool any = false;

    *ret_pause = 0;
    for (unsigned i = 0; i < CAS_CHECKS; i++) {
        struct check *c = &checks[i];

        runs[i] = c->again || (c->found->out == CAS_UNSURE && c->tries < TRIES);
        if (!runs[i])
            continue;
        if (!c->again && c->tries > *ret_pause)
            *ret_pause = c->tries;
        c->tries += !c->again;
        any = true;
    }
    return any;
}

void cas_check_all(struct cas_probe *p, struct cas_finding found[CAS_CHECKS])
{
    struct check checks[CAS_CHECKS] = {0};
    bool runs[CAS_CHECKS];
    unsigned pause;

    for (unsigned i = 0; i < CAS_CHECKS; i++) {
        checks[i].table = &tables[i];
        checks[i].found = &found[i];
        found[i].out = CAS_UNSURE;
    }
    while (choose(checks, runs, &pause)) {
        if (pause > 0)
            cas_pause(p, pause * AGAIN_NS);
        for (unsigned i = 0; i < CAS_CHECKS; i++) {
            if (runs[i])
                checks_begin(&checks[i]);
        }
        run_rounds(p, checks, runs);
        for (unsigned i = 0; i < CAS_CHECKS; i++) {
            if (runs[i])
                end_uploads(p, &checks[i]);
        }
        clean(p, checks, runs);
    }
}
