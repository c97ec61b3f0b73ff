/* Races of copies: whether the conditions on the target of CopyObject hold for several who come at
 * once. A copy is another code path of a server than a PUT, and has no body that could be held back
 * until all are there: so the requests only start together, and there are more of them than a
 * server handles one after the other.
 *
 * Two sets of sources take turns: what a race copies differs from what is there, and all differ
 * from each other. (With equal bytes the ETag before and after is the same, and a correct server
 * lets two win.) */
#include "workers/probe/cas_probe_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define COPIERS 8
#define SETS 2
#define COPY_RACES 48               /* on one key: one of If-None-Match, then If-Match */
#define COPY_RACES_MIN 8            /* on a slow server: enough */
#define COPY_SLOW_NS (2 * NS_PER_S) /* after this time */

struct copy_race {
    struct cas_probe *p;
    char name[CAS_NAME_MAX];
    char target[KEY_CAP], etag[S3_ETAG_MAX]; /* "" = missing */
    char source[SETS][COPIERS][KEY_CAP], source_etag[SETS][COPIERS][S3_ETAG_MAX];
    struct cas_ask ask[COPIERS];
    char body[COPIERS][40]; /* of PUTs */
};

/* Puts a set of sources. */
static enum cas_outcome put_sources(struct copy_race *race, unsigned set)
{
    char suffix[24], body[COPIERS][32];
    enum cas_outcome out = CAS_RIGHT;

    for (unsigned i = 0; i < COPIERS; i++) {
        snprintf(suffix, sizeof(suffix), ".copy%u-%u", set, i);
        snprintf(body[i], sizeof(body[i]), "copy %u of %u", i, set);
        cas_key(race->p, race->name, suffix, race->source[set][i]);
        cas_start_put(race->p, &race->ask[i], race->source[set][i], body[i], NULL, NULL);
    }
    for (unsigned i = 0; i < COPIERS; i++) {
        int r = cas_wait(race->p, &race->ask[i]);
        enum cas_outcome one = cas_must_act(race->p, r, "PUT");

        if (one > out)
            out = one;
        strcpy(race->source_etag[set][i], race->p->answer.etag);
    }
    return out;
}

static bool copier_lost(const struct cas_answer *a)
{
    return (a->error == -EEXIST || a->error == -ENOENT) && !a->maybe_acted;
}

/* Starts all. In every second pair of races half of them are PUTs: in use a rename meets a close,
 * and a server may order each kind among itself alone. */
static void start_race(struct copy_race *race, unsigned number, const char *match, const char *none)
{
    struct cas_probe *p = race->p;
    unsigned set = number % SETS;

    for (unsigned i = 0; i < COPIERS; i++) {
        snprintf(race->body[i], sizeof(race->body[i]), "put %u in race %u", i, number);
        if (i % 2 && number / SETS % 2)
            cas_start_put(p, &race->ask[i], race->target, race->body[i], match, none);
        else
            cas_start_copy(p, &race->ask[i], race->source[set][i], race->target,
                           race->source_etag[set][i], match, none);
    }
}

/* One race; the winner's ETag becomes that of the target. */
static enum cas_outcome race_once(struct copy_race *race, unsigned number)
{
    const char *name = *race->etag ? "If-Match" : "If-None-Match:*";
    const char *match = *race->etag ? race->etag : NULL, *none = *race->etag ? NULL : "*";
    struct cas_probe *p = race->p;
    unsigned n_won = 0, n_lost = 0;
    char won[S3_ETAG_MAX] = "";

    start_race(race, number, match, none);
    for (unsigned i = 0; i < COPIERS; i++) {
        if (cas_wait(p, &race->ask[i]) < 0)
            continue;
        if (p->answer.error == 0) {
            n_won++;
            strcpy(won, p->answer.etag);
        }
        n_lost += copier_lost(&p->answer);
    }
    if (n_won > 1)
        return cas_wrong(p, "of %d CopyObject %s at once %u were told success", COPIERS, name,
                         n_won);
    if (n_lost == COPIERS)
        return cas_wrong(p, "of %d CopyObject %s at once none was made", COPIERS, name);
    if (n_won == 1 && *won) {
        strcpy(race->etag, won);
        return CAS_RIGHT;
    }
    snprintf(p->text, sizeof(p->text), "a race of CopyObject had no clear result");
    return CAS_UNSURE;
}

static void clean_race(struct copy_race *race)
{
    struct cas_probe *p = race->p;

    p->cleaning = true;
    for (unsigned set = 0; set < SETS; set++) {
        for (unsigned i = 0; i < COPIERS; i++)
            cas_start_delete(p, &race->ask[i], race->source[set][i], NULL);
        for (unsigned i = 0; i < COPIERS; i++) {
            if (cas_wait(p, &race->ask[i]) < 0 || p->answer.error)
                cas_clean(p, race->source[set][i]);
        }
    }
    cas_clean(p, race->target);
    p->cleaning = false;
}

enum cas_outcome cas_copy_race(struct cas_probe *p)
{
    struct copy_race race = {.p = p};
    uint64_t begin_ns = clock_mono_ns();
    enum cas_outcome out = CAS_RIGHT;

    cas_fresh_name(race.name);
    cas_key(p, race.name, ".copies", race.target);
    for (unsigned set = 0; set < SETS; set++) {
        enum cas_outcome one = put_sources(&race, set);

        if (one > out)
            out = one;
    }
    for (unsigned i = 0; i < COPY_RACES && out == CAS_RIGHT; i++) {
        if (i >= COPY_RACES_MIN && clock_mono_ns() - begin_ns > COPY_SLOW_NS)
            break;
        out = race_once(&race, i);
    }
    clean_race(&race);
    return out;
}
