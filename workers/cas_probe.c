/* The verdict of the server probe: runs the checks, each again with fresh keys when its answers say
 * nothing, and makes sentences of how they ended.
 *
 * A server that does not keep the conditions
 *   of PUT, alone or in the race,   is refused: updates get lost.
 *   of CompleteMultipartUpload      is refused too. This version publishes with PUT only, and the
 *                                   sentence says so, but a server that is safe until files grow is
 *                                   a trap: it takes a word of the operator (cas.probe: warn).
 *   of DELETE                       is served, with a notice: HEAD, compare, DELETE leave a small
 *                                   window.
 */
#include "workers/cas_probe_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"

#define TRIES 5 /* of a check without a clear answer */
#define AGAIN_NS (100 * NS_PER_MS) /* longer each time */
#define LIMIT_NS (12 * NS_PER_S)   /* for all checks; cleaning comes on top */
#define REQUEST_NS (5 * NS_PER_S)  /* for one request */
#define CONNECTIONS 32 /* enough for the races after the server asked for less, which halves it */

bool cas_probe_wanted(const struct conf *conf)
{
    return conf->variant == CONF_S3_BUFFERED_CAS && conf->cas.probe != CONF_PROBE_OFF &&
           !conf->mount.read_only;
}

bool cas_probe_owns(const struct conf *conf, const char *key, size_t len)
{
    size_t prefix = strlen(conf->prefix), dir = strlen(CAS_PROBE_DIR);

    if (prefix > 0) {
        if (len <= prefix || memcmp(key, conf->prefix, prefix) != 0 ||
            key[prefix] != '/')
            return false;
        key += prefix + 1;
        len -= prefix + 1;
    }
    return len >= dir && memcmp(key, CAS_PROBE_DIR, dir) == 0;
}

/* ---- running ---- */

struct findings {
    enum cas_outcome put, complete, del;
    char put_text[ERR_TEXT_MAX], complete_text[ERR_TEXT_MAX], del_text[ERR_TEXT_MAX];
};

void cas_fresh_name(struct cas_probe *p)
{
    uint64_t n = 0;

    if (getrandom(&n, sizeof(n), 0) != sizeof(n))
        n = clock_wall_ns();
    snprintf(p->name, sizeof(p->name), "%016llx", (unsigned long long)n);
}

/* A check, until it has an answer. */
static enum cas_outcome run(struct cas_probe *p, enum cas_outcome (*check)(struct cas_probe *),
                            char ret_text[ERR_TEXT_MAX])
{
    enum cas_outcome out = CAS_UNSURE;

    for (unsigned i = 0; i < TRIES && out == CAS_UNSURE; i++) {
        if (i > 0)
            cas_pause(p, i * AGAIN_NS);
        cas_fresh_name(p);
        p->text[0] = '\0';
        out = check(p);
    }
    memcpy(ret_text, p->text, ERR_TEXT_MAX);
    return out;
}

static void run_all(struct cas_probe *p, struct findings *f)
{
    f->put = run(p, cas_check_put, f->put_text);
    if (f->put == CAS_RIGHT)
        f->put = run(p, cas_check_race, f->put_text);
    f->complete = run(p, cas_check_complete, f->complete_text);
    f->del = run(p, cas_check_delete, f->del_text);
    cas_sweep(p);
}

static int begin(struct cas_probe *p, const struct s3_client_conf *base,
                 struct s3_cred_source *creds, struct err *err)
{
    struct s3_client_conf cc = *base;

    cc.max_attempts = 1; /* no retry */
    cc.max_connections = CONNECTIONS;
    cc.deadline_ns = cc.attempt_timeout_ns = REQUEST_NS;
    p->begin_ns = clock_mono_ns();
    p->end_ns = p->begin_ns + LIMIT_NS;
    snprintf(p->root, sizeof(p->root), "%s%s" CAS_PROBE_DIR, p->conf->prefix,
             *p->conf->prefix ? "/" : "");
    return s3_client_new(p->loop, &cc, creds, &p->client, err);
}

/* ---- telling ---- */

static const char *server_name(const struct conf *conf)
{
    return *conf->s3.endpoint ? conf->s3.endpoint : "AWS S3";
}

/* The first finding about what may lose updates, as a sentence; *ret_advice says what to do. 0 if
 * there is none. */
static int explain(const struct cas_probe *p, const struct findings *f,
                   const char **ret_advice, struct err *err)
{
    bool put = f->put != CAS_RIGHT;
    const char *text = put ? f->put_text : f->complete_text;
    const char *server = server_name(p->conf);

    switch (put ? f->put : f->complete) {
    case CAS_RIGHT:
        return 0;
    case CAS_DENIED:
        *ret_advice = "set cas.probe: off";
        return err_set(err, EINVAL,
                       "the probe of %.50s for s3-buffered-cas needs Get, Put, Delete and "
                       "List below the prefix: %.80s",
                       server, text);
    case CAS_UNSURE:
        *ret_advice = "start again, or set cas.probe: warn";
        return err_set(err, EHOSTUNREACH,
                       "whether %.50s keeps conditions could not be found out: %.80s", server,
                       text);
    case CAS_WRONG:
        break;
    }
    *ret_advice = "to go on all the same, set cas.probe: warn";
    if (put)
        return err_set(err, EINVAL,
                       "%.50s would lose updates, so it cannot serve s3-buffered-cas: %.90s",
                       server, text);
    return err_set(err, EINVAL,
                   "%.30s: %.80s; not safe for large files later (this version writes with "
                   "PUT, which is right)",
                   server, text);
}

static void tell(const struct cas_probe *p, const struct findings *f, const struct err *err)
{
    unsigned ms = (unsigned)((clock_mono_ns() - p->begin_ns) / NS_PER_MS);

    if (f->del != CAS_RIGHT)
        log_notice("conditions of DELETE cannot be relied on detail=\"%s\": a file is "
                   "removed after a look at its version, and a change in between is lost",
                   f->del_text);
    if (err->code)
        log_warn("going on all the same, as cas.probe is warn: %s", err->text);
    else
        log_notice("the server keeps conditions: probed with %u requests in %u ms",
                   p->n_requests, ms);
}

int cas_probe(const struct conf *conf, struct loop *loop, const struct s3_client_conf *base,
              struct s3_cred_source *creds, struct server_traits *ret_traits,
              struct err *err)
{
    struct cas_probe p = {.conf = conf, .loop = loop};
    struct findings f = {0};
    struct err found = {0};
    const char *advice = "";
    int r = begin(&p, base, creds, err);

    if (r < 0)
        return r;
    run_all(&p, &f);
    s3_client_free(p.client);
    r = explain(&p, &f, &advice, &found);
    if (r < 0 && conf->cas.probe == CONF_PROBE_REQUIRE)
        return err_set(err, found.code, "%.186s: %s", found.text, advice);
    tell(&p, &f, &found);
    ret_traits->probed = true;
    ret_traits->put_conditions = f.put == CAS_RIGHT;
    ret_traits->complete_conditions = f.complete == CAS_RIGHT;
    ret_traits->delete_if_match = f.del == CAS_RIGHT;
    return 0;
}
