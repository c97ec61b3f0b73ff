/* The verdict of the server probe: runs the checks and the race, and describes their results.
 *
 * A server that does not enforce the conditions
 *   of PUT, alone or in the race,   is refused: updates would be lost.
 *   of CompleteMultipartUpload      is accepted, with a notice: files are written with one PUT.
 *   of DELETE                       is accepted, with a notice: HEAD, compare, DELETE leave a small
 *                                   window;
 *   of CopyObject, on its target    is accepted, as few do: a rename moves the bytes through here.
 */
#include "workers/probe/cas_probe_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "workers/op/key.h"
#include "workers/server/cas_kept.h"

#define LIMIT_NS (12 * NS_PER_S)  /* for all checks; cleaning takes extra time */
#define REQUEST_NS (5 * NS_PER_S) /* for one request */
#define CONNECTIONS 40            /* enough for the races and a round of checks */

bool cas_probe_wanted(const struct conf *conf)
{
    return conf->variant == CONF_S3_BUFFERED_CAS && conf->cas.probe != CONF_PROBE_OFF &&
           !conf->mount.read_only && !cas_probe_is_documented(conf);
}

bool cas_probe_is_documented(const struct conf *conf)
{
    return conf->cas.probe == CONF_PROBE_AUTO && s3_endpoint_is_aws(conf->s3.endpoint);
}

bool cas_probe_copies_are_documented(const struct conf *conf)
{
    static const char directory[] = "--x-s3";
    size_t len = strlen(conf->bucket), tail = sizeof(directory) - 1;

    return cas_probe_is_documented(conf) && strncmp(conf->bucket, "arn:", 4) != 0 &&
           !(len > tail && strcmp(conf->bucket + len - tail, directory) == 0);
}

/* ---- running ---- */

static void run_all(struct cas_probe *p, struct cas_finding f[CAS_CHECKS])
{
    enum cas_outcome race;

    cas_check_all(p, f);
    if (f[CAS_PUT_CHECK].out != CAS_RIGHT)
        cas_race_stop(p);
    p->text[0] = '\0';
    if (f[CAS_PUT_CHECK].out == CAS_RIGHT && f[CAS_COPY_CHECK].out == CAS_RIGHT) {
        f[CAS_COPY_CHECK].out = cas_copy_race(p);
        memcpy(f[CAS_COPY_CHECK].text, p->text, ERR_TEXT_MAX);
    }
    cas_sweep(p); /* while the race is running */
    p->text[0] = '\0';
    race = cas_race_end(p);
    if (race > f[CAS_PUT_CHECK].out) {
        f[CAS_PUT_CHECK].out = race;
        memcpy(f[CAS_PUT_CHECK].text, p->text, ERR_TEXT_MAX);
    }
}

static int probe_begin(struct cas_probe *p, const struct s3_client_conf *base,
                       struct s3_cred_source *creds, struct err *err)
{
    struct s3_client_conf cc = *base;

    cc.max_attempts = 1; /* no retry */
    cc.max_connections = CONNECTIONS;
    cc.deadline_ns = cc.attempt_timeout_ns = REQUEST_NS;
    p->begin_ns = clock_mono_ns();
    p->end_ns = p->begin_ns + LIMIT_NS;
    snprintf(p->root, sizeof(p->root), "%s%s" KEY_RESERVED_DIR, p->conf->prefix,
             *p->conf->prefix ? "/" : "");
    return s3_client_new(p->loop, &cc, creds, &p->client, err);
}

/* ---- reporting ---- */

static const char *server_name(const struct conf *conf)
{
    return *conf->s3.endpoint ? conf->s3.endpoint : "AWS S3";
}

/* Describes in one sentence why updates may be lost; *ret_advice says what to do. 0 if they are
 * safe. */
static int explain(const struct cas_probe *p, const struct cas_finding *put,
                   const char **ret_advice, struct err *err)
{
    const char *server = server_name(p->conf);

    switch (put->out) {
    case CAS_RIGHT:
        return 0;
    case CAS_DENIED:
        *ret_advice = "set cas.probe: off";
        return err_set(err, EINVAL,
                       "the probe of %.120s for s3-buffered-cas needs Get, Put, Delete and "
                       "List below the prefix: %s",
                       server, put->text);
    case CAS_UNSURE:
        *ret_advice = "start again, or set cas.probe: warn";
        return err_set(err, EHOSTUNREACH,
                       "whether %.120s keeps conditions could not be found out: %s", server,
                       put->text);
    case CAS_WRONG:
        break;
    }
    *ret_advice = "to go on all the same, set cas.probe: warn";
    return err_set(err, EINVAL, "%.120s would lose updates, so it cannot serve s3-buffered-cas: %s",
                   server, put->text);
}

static void probe_tell(const struct cas_probe *p, const struct cas_finding f[CAS_CHECKS],
                       const struct err *err)
{
    unsigned ms = (unsigned)((clock_mono_ns() - p->begin_ns) / NS_PER_MS);

    if (f[CAS_COMPLETE_CHECK].out != CAS_RIGHT)
        log_notice("conditions of CompleteMultipartUpload are not reliable detail=\"%s\": files "
                   "are written with one PUT, whose conditions are kept, up to 5 GiB",
                   f[CAS_COMPLETE_CHECK].text);
    if (f[CAS_DELETE_CHECK].out != CAS_RIGHT)
        log_notice("conditions of DELETE are not reliable detail=\"%s\": a file is "
                   "removed after a look at its version, and a change in between is lost",
                   f[CAS_DELETE_CHECK].text);
    if (f[CAS_COPY_CHECK].out != CAS_RIGHT)
        log_debug("conditions on the target of CopyObject are not kept detail=\"%s\"",
                  f[CAS_COPY_CHECK].text);
    if (err->code)
        log_warn("continuing, because cas.probe is warn: %s", err->text);
    else
        log_notice("the server enforces conditions: probed with %u requests in %u ms",
                   p->n_requests, ms);
}

bool cas_probe_is_kept(const struct conf *conf, struct server_traits *ret_traits)
{
    if (!cas_kept_read(conf, ret_traits))
        return false;
    log_notice("the server enforces conditions: found by an earlier start dir=\"%s\"",
               conf->cas.state_dir);
    return true;
}

int cas_probe(const struct conf *conf, struct loop *loop, const struct s3_client_conf *base,
              struct s3_cred_source *creds, struct server_traits *ret_traits, struct err *err)
{
    struct cas_probe p = {.conf = conf, .loop = loop};
    struct cas_finding f[CAS_CHECKS] = {0};
    struct err found = {0};
    const char *advice = "";
    int r;

    r = probe_begin(&p, base, creds, err);
    if (r < 0)
        return r;
    run_all(&p, f);
    s3_client_free(p.client);
    r = explain(&p, &f[CAS_PUT_CHECK], &advice, &found);
    if (r < 0 && conf->cas.probe != CONF_PROBE_WARN)
        return err_set(err, found.code, "%s: %s", found.text, advice);
    probe_tell(&p, f, &found);
    ret_traits->probed = true;
    ret_traits->put_conditions = f[CAS_PUT_CHECK].out == CAS_RIGHT;
    ret_traits->complete_conditions = f[CAS_COMPLETE_CHECK].out == CAS_RIGHT;
    ret_traits->delete_if_match = f[CAS_DELETE_CHECK].out == CAS_RIGHT;
    ret_traits->copy_conditions =
        f[CAS_PUT_CHECK].out == CAS_RIGHT && f[CAS_COPY_CHECK].out == CAS_RIGHT;
    ret_traits->fresh = true;
    return 0;
}
