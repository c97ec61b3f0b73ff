/* Who the workers are, and which ports they need. What the sandbox does with it is in sandbox/. */
#include "daemon/confine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/child_ask.h"

#define TRY_MS 10000
#define PORT_DNS 53
#define PORT_HTTP 80
#define PORT_HTTPS 443
#define LACKS_MAX 160
/* What a worker may allocate: many times what it needs, so only a leak gets there. */
#define WORKER_MEMORY (UINT64_C(64) << 20)
#define CONNECTION_MEMORY (UINT64_C(1) << 20)
#define QUERY_MEMORY (UINT64_C(160) << 20) /* what queries keep, a document as a tree */

/* ---- the user ---- */

static void run_try(const void *arg, void *answer)
{
    *(int *)answer = sandbox_user_become(arg);
}

/* A container may not be allowed to change the user, or may not have the number. Then workers stay
 * who they are; without capabilities they are all the same. */
static void drop_if_impossible(struct sandbox_user *user)
{
    int result = -EIO, r = child_ask(run_try, user, TRY_MS, &result, sizeof(result));

    if (r == 0 && result == 0)
        return;
    log_notice("workers stay user %u: changing to %u is not possible here: %s", geteuid(),
               (unsigned)user->uid, strerror(r < 0 ? -r : -result));
    *user = (struct sandbox_user){.set = false};
}

static int confine_user(const struct conf *conf, struct sandbox *sb, struct err *err)
{
    if (*conf->workers.user)
        return sandbox_user_find(conf->workers.user, &sb->user, err);
    if (!sb->on)
        return 0;
    sandbox_user_default(*conf->mount.path ? conf->mount.path : conf->connector.socket, &sb->user);
    if (sb->user.set)
        drop_if_impossible(&sb->user);
    return 0;
}

/* ---- ports ---- */

static void find_ports(const struct conf *conf, char *const *env, struct sandbox *sb)
{
    struct sandbox_ports *w = &sb->worker_ports, *k = &sb->keeper_ports;

    sandbox_ports_add(w, PORT_DNS);
    if (*conf->s3.endpoint)
        sandbox_ports_add_url(w, conf->s3.endpoint, PORT_HTTP);
    else
        sandbox_ports_add(w, PORT_HTTPS);
    sandbox_ports_add_proxies(w, env);

    sandbox_ports_add(k, PORT_DNS);
    sandbox_ports_add(k, PORT_HTTPS);
    sandbox_ports_add(k, PORT_HTTP); /* metadata services */
    sandbox_ports_add_url(k, conf->credentials.sts_endpoint, PORT_HTTP);
    sandbox_ports_add_url(k, conf->credentials.sso_endpoint, PORT_HTTP);
    sandbox_ports_add_url(k, conf->credentials.metadata_endpoint, PORT_HTTP);
    sandbox_ports_add_url(k, conf->credentials.container_full_uri, PORT_HTTP);
    sandbox_ports_add_proxies(k, env);
}

int confine_init(const struct conf *conf, char *const *env, struct sandbox *ret, struct err *err)
{
    struct sandbox sb = {.on = conf->sandbox != CONF_SANDBOX_OFF};
    char lacks[LACKS_MAX];
    int r = confine_user(conf, &sb, err);

    if (r < 0)
        return r;
    sandbox_look(&sb);
    sb.worker_memory = WORKER_MEMORY + conf->s3.connections * CONNECTION_MEMORY;
    if (*conf->connector.socket)
        sb.worker_memory += QUERY_MEMORY;
    find_ports(conf, env, &sb);
    if (conf->sandbox == CONF_SANDBOX_REQUIRE && !sandbox_is_whole(&sb)) {
        sandbox_lacks(&sb, lacks, sizeof(lacks));
        return err_set(err, EINVAL, "sandbox: require, and this system cannot restrict %s", lacks);
    }
    *ret = sb;
    return 0;
}

/* ---- what holds ---- */

static unsigned long uid_of(const struct sandbox *sb)
{
    return sb->user.set ? sb->user.uid : geteuid();
}

void confine_describe(const struct sandbox *sb, char *out, size_t cap)
{
    char lacks[LACKS_MAX];

    sandbox_lacks(sb, lacks, sizeof(lacks));
    if (!sb->on)
        snprintf(out, cap, "sandbox=off user=%lu", uid_of(sb));
    else if (*lacks)
        snprintf(out, cap, "sandbox=part user=%lu unrestricted=\"%s\"", uid_of(sb), lacks);
    else
        snprintf(out, cap, "sandbox=on user=%lu", uid_of(sb));
}

void confine_explain(const struct sandbox *sb, char *out, size_t cap)
{
    char lacks[LACKS_MAX];

    sandbox_lacks(sb, lacks, sizeof(lacks));
    if (!sb->on)
        snprintf(out, cap, "sandbox: off, workers run as user %lu", uid_of(sb));
    else if (*lacks)
        snprintf(out, cap,
                 "sandbox: workers run as user %lu without capabilities; this system cannot "
                 "restrict %s",
                 uid_of(sb), lacks);
    else
        snprintf(out, cap,
                 "sandbox: workers run as user %lu without capabilities; files, ports and system "
                 "calls are restricted",
                 uid_of(sb));
}
