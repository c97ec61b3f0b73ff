/* The race of the server probe: several PUTs with the same condition, all there but for their last
 * bytes, which then come at once. A server that looks and acts under one lock lets one of them win;
 * one that looks first and acts later passes every other check and is found here.
 *
 * A round is a create race, then a replace race on the winner's version: so that who was told
 * success is also who is stored, or nobody wins the second one. */
#include "workers/cas_probe_private.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define RACERS 8
#define ROUNDS 10
#define ROUNDS_MIN 3                   /* on a slow server */
#define ROUNDS_NS (4 * NS_PER_S)       /* slow: when this is over */
#define UNSURE_MAX 3                   /* races that tell nothing, before giving up */
#define PATIENCE_NS (500 * NS_PER_MS)  /* for all to be held: some may have to queue */
#define UNSURE_PAUSE_NS (100 * NS_PER_MS)

struct racer {
    struct race *race;
    char body[16];
    struct cas_answer answer;
};

struct race {
    struct cas_probe *p;
    struct s3_gate gate;
    struct loop_timer patience;
    unsigned n_started, n_done;
    struct racer racers[RACERS];
};

/* ---- one race ---- */

static void look(struct race *race)
{
    if (!race->gate.open && race->n_started == RACERS &&
        race->gate.held + race->n_done == RACERS)
        s3_gate_open(race->p->client, &race->gate);
}

static void on_held(struct s3_gate *gate)
{
    look((struct race *)((char *)gate - offsetof(struct race, gate)));
}

static void on_patience(struct loop_timer *t)
{
    struct race *race = (struct race *)((char *)t - offsetof(struct race, patience));

    s3_gate_open(race->p->client, &race->gate);
}

static void on_done(void *arg, const struct s3_result *res)
{
    struct racer *racer = arg;

    cas_take(&racer->answer, res);
    racer->race->n_done++;
    look(racer->race);
}

static int start(struct race *race, struct s3_put *put)
{
    int r = 0;

    for (unsigned i = 0; i < RACERS && r == 0; i++) {
        struct racer *racer = &race->racers[i];

        racer->race = race;
        /* as the winner of the create race none is: equal bodies have equal ETags */
        snprintf(racer->body, sizeof(racer->body), "%s %u",
                 put->if_match ? "replace" : "create", i);
        put->body = (struct s3_body){
            .mem = racer->body, .fd = -1, .len = strlen(racer->body)};
        r = s3_put(race->p->client, put, on_done, racer, NULL);
        race->n_started += r == 0;
    }
    return r;
}

/* Runs it to its end, whatever happens: requests that go on know the race. */
static int run(struct race *race, struct s3_put *put)
{
    struct cas_probe *p = race->p;
    int r, turned = 0;

    race->gate.on_held = on_held;
    race->patience.on_time = on_patience;
    put->gate = &race->gate;
    r = start(race, put);
    p->n_requests += race->n_started;
    loop_timer_set(p->loop, &race->patience, r < 0 ? 0 : PATIENCE_NS);
    while (race->n_done < race->n_started && turned == 0)
        turned = loop_turn(p->loop);
    loop_timer_cancel(p->loop, &race->patience);
    return r < 0 ? r : turned;
}

/* ---- its verdict ---- */

static bool lost(const struct cas_answer *a)
{
    return (a->error == -EEXIST || a->error == -ENOENT) && !a->maybe_acted;
}

static enum cas_outcome judge(struct race *race, const char *name,
                              char ret_etag[S3_ETAG_MAX])
{
    struct cas_probe *p = race->p;
    unsigned n_won = 0, n_lost = 0;
    enum cas_outcome out = CAS_RIGHT;

    for (unsigned i = 0; i < RACERS; i++) {
        const struct cas_answer *a = &race->racers[i].answer;

        if (a->error == 0) {
            n_won++;
            strcpy(ret_etag, a->etag);
        } else if (lost(a)) {
            n_lost++;
        } else {
            (void)cas_trouble(p, a, "a PUT of the race");
            out = CAS_UNSURE; /* a winner without an answer, perhaps */
        }
    }
    if (n_won > 1)
        return cas_wrong(p, "of %d PUTs %s at once %u were told success", RACERS,
                         name, n_won);
    if (n_lost == RACERS)
        return cas_wrong(p, "of %d PUTs %s at once none was stored", RACERS, name);
    /* S3 itself may say "conflict" to a loser; one success is one success */
    return n_won == 1 ? CAS_RIGHT : out;
}

static enum cas_outcome race_once(struct cas_probe *p, const char *key,
                                  char etag[S3_ETAG_MAX])
{
    struct race race = {.p = p};
    struct s3_put put = {.key = key,
                         .if_match = *etag ? etag : NULL,
                         .if_none_match = *etag ? NULL : "*"};
    const char *name = *etag ? "If-Match" : "If-None-Match:*";
    int r = run(&race, &put);

    if (r < 0) {
        snprintf(p->text, sizeof(p->text), "%s", strerror(-r));
        return CAS_UNSURE;
    }
    return judge(&race, name, etag);
}

/* ---- all of them ---- */

static enum cas_outcome run_round(struct cas_probe *p, const char *key)
{
    char etag[S3_ETAG_MAX] = "";
    enum cas_outcome out = race_once(p, key, etag);

    if (out == CAS_RIGHT)
        out = race_once(p, key, etag);
    cas_clean(p, key);
    return out;
}

enum cas_outcome cas_check_race(struct cas_probe *p)
{
    uint64_t begin = clock_mono_ns();
    unsigned n_unsure = 0;
    char key[KEY_CAP];

    cas_key(p, ".race", key);
    for (unsigned n = 0; n < ROUNDS; n++) {
        uint64_t now = clock_mono_ns();
        enum cas_outcome out;

        if (n - n_unsure >= ROUNDS_MIN && now - begin > ROUNDS_NS)
            break;
        if (now > p->end_ns) {
            snprintf(p->text, sizeof(p->text), CAS_TOO_SLOW);
            return CAS_UNSURE;
        }
        out = run_round(p, key);
        if (out == CAS_UNSURE && ++n_unsure < UNSURE_MAX)
            cas_pause(p, UNSURE_PAUSE_NS);
        else if (out != CAS_RIGHT)
            return out;
    }
    return CAS_RIGHT;
}
