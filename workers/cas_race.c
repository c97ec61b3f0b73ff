/* The race of the server probe: several PUTs with the same condition, all there but for their last
 * bytes, which then come at once. A server that looks and acts under one lock lets one of them win;
 * one that looks first and acts later passes every other check and is found here.
 *
 * A round is a create race, then a replace race on the winner's version: so that who was told
 * success is also who is stored, or nobody wins the second one. Two rounds, on two keys, run side
 * by side: with some servers losers wait long. */
#include "workers/cas_probe_private.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define RACERS 8
#define LANES 2      /* rounds side by side */
#define TURNS 5      /* LANES rounds each */
#define TURNS_MIN 2  /* on a slow server */
#define SLOW_NS (4 * NS_PER_S)        /* slow: when this is over */
#define UNSURE_MAX 3                  /* turns that tell nothing, before giving up */
#define PATIENCE_NS (500 * NS_PER_MS) /* for all to be held: some may have to queue */
#define UNSURE_PAUSE_NS (100 * NS_PER_MS)

struct racer {
    struct race *race;
    struct s3_req *req; /* NULL when it has ended */
    char body[16];
    struct cas_answer answer;
};

struct race {
    struct cas_probe *p;
    char key[KEY_CAP];
    char etag[S3_ETAG_MAX]; /* of the winner; before the race: to be replaced, "" = create */
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
    racer->req = NULL;
    racer->race->n_done++;
    look(racer->race);
}

static int start(struct race *race)
{
    struct s3_put put = {.key = race->key,
                         .gate = &race->gate,
                         .if_match = *race->etag ? race->etag : NULL,
                         .if_none_match = *race->etag ? NULL : "*"};
    int r = 0;

    race->gate = (struct s3_gate){.on_held = on_held};
    race->patience = (struct loop_timer){.on_time = on_patience};
    race->n_started = race->n_done = 0;
    for (unsigned i = 0; i < RACERS && r == 0; i++) {
        struct racer *racer = &race->racers[i];

        racer->race = race;
        /* as the winner of the create race none is: equal bodies have equal ETags */
        snprintf(racer->body, sizeof(racer->body), "%s %u",
                 put.if_match ? "replace" : "create", i);
        put.body = (struct s3_body){
            .mem = racer->body, .fd = -1, .len = strlen(racer->body)};
        r = s3_put(race->p->client, &put, on_done, racer, &racer->req);
        race->n_started += r == 0;
    }
    race->p->n_requests += race->n_started;
    loop_timer_set(race->p->loop, &race->patience, r < 0 ? 0 : PATIENCE_NS);
    return r;
}

/* Leaves no request behind that knows the race. */
static void stop(struct race *race)
{
    for (unsigned i = 0; i < RACERS; i++) {
        if (race->racers[i].req)
            s3_cancel(race->racers[i].req);
        race->racers[i].req = NULL;
    }
    loop_timer_cancel(race->p->loop, &race->patience);
}

/* Runs them to their ends. */
static int run(struct cas_probe *p, struct race races[LANES])
{
    int r = 0, turned = 0;

    for (unsigned i = 0; i < LANES; i++) {
        int started = start(&races[i]);

        r = started < 0 ? started : r;
    }
    for (unsigned i = 0; i < LANES; i++) {
        while (races[i].n_done < races[i].n_started && turned == 0)
            turned = loop_turn(p->loop);
    }
    for (unsigned i = 0; i < LANES; i++)
        stop(&races[i]);
    return r < 0 ? r : turned;
}

/* ---- its verdict ---- */

static bool lost(const struct cas_answer *a)
{
    return (a->error == -EEXIST || a->error == -ENOENT) && !a->maybe_acted;
}

static enum cas_outcome judge(struct race *race)
{
    const char *name = *race->etag ? "If-Match" : "If-None-Match:*";
    struct cas_probe *p = race->p;
    unsigned n_won = 0, n_lost = 0;

    for (unsigned i = 0; i < RACERS; i++) {
        const struct cas_answer *a = &race->racers[i].answer;

        if (a->error == 0) {
            n_won++;
            strcpy(race->etag, a->etag);
        } else if (lost(a)) {
            n_lost++;
        } else {
            (void)cas_trouble(p, a, "a PUT of the race");
        }
    }
    if (n_won > 1)
        return cas_wrong(p, "of %d PUTs %s at once %u were told success", RACERS, name,
                         n_won);
    if (n_lost == RACERS)
        return cas_wrong(p, "of %d PUTs %s at once none was stored", RACERS, name);
    /* One success is one, whatever was said to the others (S3 may say "conflict"). Without any, the
     * winner may be one whose answer got lost. */
    return n_won == 1 ? CAS_RIGHT : CAS_UNSURE;
}

/* The races at hand; the worst of their verdicts. */
static enum cas_outcome race_once(struct cas_probe *p, struct race races[LANES])
{
    int r = run(p, races);
    enum cas_outcome out = CAS_RIGHT;

    if (r < 0) {
        snprintf(p->text, sizeof(p->text), "%s", strerror(-r));
        return CAS_UNSURE;
    }
    for (unsigned i = 0; i < LANES && out != CAS_WRONG; i++) {
        enum cas_outcome lane = judge(&races[i]);

        out = lane > out ? lane : out;
    }
    return out;
}

/* ---- all of them ---- */

static enum cas_outcome run_turn(struct cas_probe *p)
{
    struct race races[LANES] = {0};
    enum cas_outcome out;

    cas_fresh_name(p);
    for (unsigned i = 0; i < LANES; i++) {
        races[i].p = p;
        cas_key(p, i ? ".race1" : ".race0", races[i].key);
    }
    out = race_once(p, races);
    if (out == CAS_RIGHT)
        out = race_once(p, races);
    for (unsigned i = 0; i < LANES; i++)
        cas_clean(p, races[i].key);
    return out;
}

enum cas_outcome cas_check_race(struct cas_probe *p)
{
    uint64_t begin = clock_mono_ns();
    unsigned n_unsure = 0;

    for (unsigned n = 0; n < TURNS; n++) {
        uint64_t now = clock_mono_ns();
        enum cas_outcome out;

        if (n - n_unsure >= TURNS_MIN && now - begin > SLOW_NS)
            break;
        if (now > p->end_ns) {
            snprintf(p->text, sizeof(p->text), CAS_TOO_SLOW);
            return CAS_UNSURE;
        }
        out = run_turn(p);
        if (out == CAS_UNSURE && ++n_unsure < UNSURE_MAX)
            cas_pause(p, UNSURE_PAUSE_NS);
        else if (out != CAS_RIGHT)
            return out;
    }
    return CAS_RIGHT;
}
