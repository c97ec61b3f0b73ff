/* What responses teach the client: see s3_learn.h. */
#include "s3/s3_learn.h"

#include <string.h>

#include "base/clock.h"
#include "s3/s3_client.h"
#include "s3/s3_request.h"

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

bool s3_client_move(struct s3_client *c, const char *region)
{
    if (s3_endpoint_move(&c->endpoint, region, &c->url) < 0)
        return false;
    c->moves++;
    return true;
}

/* The region is why it refused. (AWS names the bucket's region in other refusals too.) The host of
 * a configured endpoint does not change, so there only the signature can have been wrong. */
static bool is_region_refused(const struct s3_req *req)
{
    static const char *const codes[] = {"AuthorizationHeaderMalformed", "PermanentRedirect",
                                        "TemporaryRedirect", "IllegalLocationConstraintException"};
    const char *endpoint = req->client->conf.endpoint, *code = req->result.code;
    int status = req->reply.complete ? req->reply.status : 0;

    if (endpoint && *endpoint)
        return status == 400 && (!*code || strcmp(code, codes[0]) == 0);
    if (status == 301 || status == 307 || (status == 400 && !*code))
        return true;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (strcmp(code, codes[i]) == 0)
            return status >= 300 && status < 500;
    }
    return false;
}

bool s3_client_was_moved(struct s3_req *req)
{
    struct s3_client *c = req->client;
    const char *region = req->result.region;

    if (req->moved_once || req->stopped || !*region || !is_region_refused(req))
        return false;
    req->moved_once = true;
    if (req->moves != c->moves && strcmp(region, c->url.region) == 0)
        return true; /* another request was faster */
    if (!s3_client_move(c, region))
        return false;
    if (c->conf.on_region)
        c->conf.on_region(c->conf.region_arg, c->url.region);
    return true;
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

bool s3_condition_dropped(struct s3_client *client, bool asked, const struct s3_result *res,
                          enum s3_habit habit)
{
    if (!asked || !res->error || !s3_condition_unknown(res->http_status, res->code))
        return false;
    (void)s3_habit_learn(client, habit);
    return true;
}

bool s3_client_trusted_lately(const struct s3_client *c)
{
    return c->good_ns && c->good_generation == c->generation &&
           clock_mono_ns() - c->good_ns < TRUST_NS;
}
