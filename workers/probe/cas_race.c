/* The race of the server probe: several PUTs with the same condition, all sent except for their
 * last bytes, which then arrive at the same time. A server that checks and acts under one lock lets
 * one of them win. A server that checks first and acts later passes every other check, and is found
 * here.
 *
 * Each key sees a create race, then replace races, each on the winner's version: if the racer that
 * got success is not the one that is stored, nobody wins the next race. Several keys run
 * concurrently, because with some servers the losers wait long. How often a racy server fails
 * varies: if it fails in one of 13 races (as when ten rounds of two races found it in 11 of 14
 * starts), 60 races find it in 99 of 100 starts. */
#include "workers/probe/cas_probe_private.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"

#define RACERS 8
#define LANES 4                       /* races that run concurrently */
#define ON_ONE_KEY 6                  /* races per key: one create race, then replace races */
#define RACES 84                      /* total number */
#define RACES_MIN 12                  /* on a slow server: enough */
#define SLOW_NS (4 * NS_PER_S)        /* after this time */
#define UNSURE_MAX 3                  /* races of a lane without a result before it gives up */
#define PATIENCE_NS (500 * NS_PER_MS) /* for all to be held at the gate: some may have to queue */
#define USED_MAX (RACES / ON_ONE_KEY + LANES * (UNSURE_MAX + 2)) /* keys in total */
#define UNSURE_PAUSE_NS (100 * NS_PER_MS)

struct racer {
    struct lane *lane;
    struct s3_req *req; /* NULL when it has completed */
    char body[32];
    struct cas_answer answer;
};

struct lane {
    struct cas_race *race;
    unsigned number; /* index of the lane */
    bool over;
    unsigned unsure;
    unsigned on_key; /* races on this key so far */
    char key[KEY_CAP];
    char etag[S3_ETAG_MAX]; /* of the winner; before a race: to be replaced, "" = create */
    struct s3_gate gate;
    struct loop_timer patience, pause;
    unsigned n_started, n_done;
    struct racer racers[RACERS];
};

struct used_key {
    struct cas_race *race;
    bool gone;
    char key[KEY_CAP];
};

struct cas_race {
    struct cas_probe *p;
    struct used_key used[USED_MAX];
    unsigned n_used, n_removing;
    uint64_t begin_ns;
    unsigned n_begun, n_right;
    enum cas_outcome out;
    char text[ERR_TEXT_MAX];
    struct lane lanes[LANES];
};

static void begin_race(struct lane *lane);

static struct lane *of_gate(struct s3_gate *gate)
{
    return container_of(gate, struct lane, gate);
}

/* ---- one race ---- */

static void race_look(struct lane *lane)
{
    if (!lane->gate.open && lane->n_started == RACERS && lane->gate.held + lane->n_done == RACERS)
        s3_gate_open(lane->race->p->client, &lane->gate);
}

static void on_held(struct s3_gate *gate)
{
    race_look(of_gate(gate));
}

static void on_patience(struct loop_timer *t)
{
    struct lane *lane = container_of(t, struct lane, patience);

    s3_gate_open(lane->race->p->client, &lane->gate);
}

static void on_pause(struct loop_timer *t)
{
    begin_race(container_of(t, struct lane, pause));
}

static void end_race(struct lane *lane);

static void race_on_done(void *arg, const struct s3_result *res)
{
    struct racer *racer = arg;
    struct lane *lane = racer->lane;

    cas_take(&racer->answer, res);
    racer->req = NULL;
    lane->n_done++;
    race_look(lane);
    if (lane->n_done == lane->n_started)
        end_race(lane);
}

static int race_start(struct lane *lane)
{
    struct cas_race *race = lane->race;
    struct cas_probe *p = race->p;
    struct s3_put put = {.key = lane->key,
                         .gate = &lane->gate,
                         .if_match = *lane->etag ? lane->etag : NULL,
                         .if_none_match = *lane->etag ? NULL : "*"};
    int r = 0;

    lane->gate = (struct s3_gate){.on_held = on_held};
    lane->n_started = lane->n_done = 0;
    for (unsigned i = 0; i < RACERS && r == 0; i++) {
        struct racer *racer = &lane->racers[i];

        racer->lane = lane;
        /* unlike any earlier one of this key: equal bodies have equal ETags, and even a correct
         * server would let two win */
        snprintf(racer->body, sizeof(racer->body), "race %u of %u, %u", lane->on_key, lane->number,
                 i);
        put.body = (struct s3_body){.mem = racer->body, .fd = -1, .len = strlen(racer->body)};
        r = s3_put(p->client, &put, race_on_done, racer, &racer->req);
        lane->n_started += r == 0;
    }
    p->n_requests += lane->n_started;
    loop_timer_set(p->loop, &lane->patience, r < 0 ? 0 : PATIENCE_NS);
    return lane->n_started ? 0 : r;
}

/* ---- its verdict ---- */

static bool lost(const struct cas_answer *a)
{
    return (a->error == -EEXIST || a->error == -ENOENT) && !a->maybe_acted;
}

static enum cas_outcome race_judge(struct lane *lane)
{
    const char *name = *lane->etag ? "If-Match" : "If-None-Match:*";
    struct cas_probe *p = lane->race->p;
    unsigned n_won = 0, n_lost = 0;
    enum cas_outcome trouble = CAS_UNSURE;

    for (unsigned i = 0; i < lane->n_started; i++) {
        const struct cas_answer *a = &lane->racers[i].answer;

        if (a->error == 0) {
            n_won++;
            strcpy(lane->etag, a->etag);
        } else if (lost(a)) {
            n_lost++;
        } else if (cas_trouble(p, a, "a PUT of the race") == CAS_DENIED) {
            trouble = CAS_DENIED;
        }
    }
    if (n_won > 1)
        return cas_wrong(p, "of %d PUTs %s at once %u were told success", RACERS, name, n_won);
    if (n_lost == RACERS)
        return cas_wrong(p, "of %d PUTs %s at once none was stored", RACERS, name);
    /* One success is enough, whatever the others got (S3 may return "conflict"). Without any, the
     * winner may be one whose response was lost. */
    return n_won == 1 ? CAS_RIGHT : trouble;
}

/* ---- a lane ---- */

static void worse(struct cas_race *race, enum cas_outcome out)
{
    if (out <= race->out)
        return;
    race->out = out;
    memcpy(race->text, race->p->text, sizeof(race->text));
}

static void race_on_deleted(void *arg, const struct s3_result *res)
{
    struct used_key *used = arg;

    used->race->n_removing--;
    used->gone = !res->error;
}

/* The lane has finished with its key, which is deleted while others race. */
static void leave_key(struct lane *lane)
{
    struct cas_race *race = lane->race;
    struct used_key *used = &race->used[race->n_used];

    if (race->n_used < USED_MAX) {
        race->n_used++;
        used->race = race;
        strcpy(used->key, lane->key);
        race->p->n_requests++;
        if (s3_delete(race->p->client, &(struct s3_delete){.key = used->key}, race_on_deleted, used,
                      NULL) == 0)
            race->n_removing++;
    }
    lane->key[0] = '\0';
}

static void end_lane(struct lane *lane, enum cas_outcome out)
{
    worse(lane->race, out);
    lane->over = true;
    loop_timer_cancel(lane->race->p->loop, &lane->patience);
    if (*lane->key)
        leave_key(lane);
}

/* True if enough is known, or it takes too long. */
static bool is_enough(const struct cas_race *race)
{
    uint64_t now = clock_mono_ns();

    return race->out != CAS_RIGHT || race->n_begun >= RACES ||
           (race->n_right >= RACES_MIN && now - race->begin_ns > SLOW_NS);
}

static void begin_race(struct lane *lane)
{
    struct cas_probe *p = lane->race->p;

    if (is_enough(lane->race)) {
        end_lane(lane, CAS_RIGHT);
        return;
    }
    if (clock_mono_ns() > p->end_ns) {
        snprintf(p->text, sizeof(p->text), CAS_TOO_SLOW);
        end_lane(lane, CAS_UNSURE);
        return;
    }
    if (!*lane->key) {
        char name[CAS_NAME_MAX], suffix[16];

        cas_fresh_name(name);
        snprintf(suffix, sizeof(suffix), ".race%u", lane->number);
        cas_key(p, name, suffix, lane->key);
        lane->etag[0] = '\0';
        lane->on_key = 0;
    }
    lane->race->n_begun++;
    lane->on_key++;
    if (race_start(lane) < 0) {
        snprintf(p->text, sizeof(p->text), "a PUT could not be sent");
        end_lane(lane, CAS_UNSURE);
    }
}

static void end_race(struct lane *lane)
{
    struct cas_race *race = lane->race;
    struct loop *loop = race->p->loop;
    enum cas_outcome out = race_judge(lane);

    loop_timer_cancel(loop, &lane->patience);
    if (out == CAS_UNSURE && ++lane->unsure < UNSURE_MAX) {
        race->n_begun--;
        leave_key(lane);
        loop_timer_set(loop, &lane->pause, UNSURE_PAUSE_NS);
        return;
    }
    if (out != CAS_RIGHT) {
        end_lane(lane, out);
        return;
    }
    race->n_right++;
    if (lane->on_key == ON_ONE_KEY)
        leave_key(lane);
    begin_race(lane);
}

/* ---- all of them ---- */

int cas_race_begin(struct cas_probe *p)
{
    struct cas_race *race = p->race ? NULL : calloc(1, sizeof(*race));

    if (p->race)
        return 0;
    if (!race)
        return -ENOMEM;
    race->p = p;
    race->begin_ns = clock_mono_ns();
    p->race = race;
    for (unsigned i = 0; i < LANES; i++) {
        race->lanes[i].race = race;
        race->lanes[i].number = i;
        race->lanes[i].patience.on_time = on_patience;
        race->lanes[i].pause.on_time = on_pause;
        begin_race(&race->lanes[i]);
    }
    return 0;
}

static bool goes_on(const struct cas_race *race)
{
    for (unsigned i = 0; i < LANES; i++) {
        if (!race->lanes[i].over)
            return true;
    }
    return false;
}

/* Cancels all requests that refer to the race. */
static void stop_lane(struct lane *lane)
{
    for (unsigned i = 0; i < RACERS; i++) {
        if (lane->racers[i].req)
            s3_cancel(lane->racers[i].req);
        lane->racers[i].req = NULL;
    }
    loop_timer_cancel(lane->race->p->loop, &lane->patience);
    loop_timer_cancel(lane->race->p->loop, &lane->pause);
    if (*lane->key)
        cas_clean(lane->race->p, lane->key);
}

/* Deletes the keys whose first DELETE failed. */
static void remove_rest(struct cas_race *race)
{
    int r = 0;

    while (race->n_removing > 0 && r == 0)
        r = loop_turn(race->p->loop);
    for (unsigned i = 0; i < race->n_used; i++) {
        if (!race->used[i].gone)
            cas_clean(race->p, race->used[i].key);
    }
}

static int run_to_end(struct cas_race *race)
{
    int r = 0;

    while (goes_on(race) && r == 0)
        r = loop_turn(race->p->loop);
    return r;
}

static void put_away(struct cas_probe *p)
{
    for (unsigned i = 0; i < LANES; i++)
        stop_lane(&p->race->lanes[i]);
    remove_rest(p->race);
    free(p->race);
    p->race = NULL;
}

/* Requests in flight are completed: a cancelled PUT might take effect after the DELETE of its
 * key. */
void cas_race_stop(struct cas_probe *p)
{
    if (!p->race)
        return;
    worse(p->race, CAS_UNSURE);
    (void)!run_to_end(p->race);
    put_away(p);
}

enum cas_outcome cas_race_end(struct cas_probe *p)
{
    enum cas_outcome out;

    if (!p->race)
        return CAS_RIGHT;
    out = run_to_end(p->race) < 0 ? CAS_UNSURE : p->race->out;
    memcpy(p->text, p->race->text, sizeof(p->text));
    put_away(p);
    return out;
}
