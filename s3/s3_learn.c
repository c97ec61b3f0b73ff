/* What responses teach the client: see s3_learn.h. */
#include "s3/s3_learn.h"

#include "base/clock.h"
#include "s3/s3_client.h"

#define THROTTLE_PAUSE_NS NS_PER_S
#define TRUST_NS (5 * NS_PER_S)

void s3_client_throttled(struct s3_client *c)
{
    uint64_t now = clock_mono_ns();

    if (c->throttled_ns && now - c->throttled_ns < THROTTLE_PAUSE_NS)
        return; /* one burst of refusals counts once */
    c->throttled_ns = now;
    c->limit = c->limit > 1 ? c->limit / 2 : 1;
    c->in_a_row = 0;
}

/* The server accepted our credentials. */
void s3_client_trust(struct s3_client *c)
{
    c->good_ns = clock_mono_ns();
    c->good_generation = c->generation;
}

void s3_client_succeeded(struct s3_client *c)
{
    if (c->limit < c->conf.max_connections && ++c->in_a_row >= c->limit) {
        c->limit++;
        c->in_a_row = 0;
    }
}

bool s3_habit_has(const struct s3_client *client, enum s3_habit habit)
{
    return (__atomic_load_n(client->conf.habits, __ATOMIC_RELAXED) & habit) == (uint32_t)habit;
}

bool s3_habit_learn(struct s3_client *client, enum s3_habit habit)
{
    if (s3_habit_has(client, habit) || (client->conf.form_is_known && (habit & S3_HABIT_FORM)))
        return false;
    if (__atomic_fetch_or(client->conf.habits, habit, __ATOMIC_RELAXED) & habit)
        return false;
    if (client->conf.on_habit)
        client->conf.on_habit(habit);
    return true;
}

bool s3_client_trusted_lately(const struct s3_client *c)
{
    return c->good_ns && c->good_generation == c->generation &&
           clock_mono_ns() - c->good_ns < TRUST_NS;
}
