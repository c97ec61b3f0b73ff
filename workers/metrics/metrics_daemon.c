/* What runs here, since when, and with which credentials. */
#include "workers/metrics/metrics_families.h"

#include <stdio.h>

#include "conf/conf_keys.h"
#include "shm/shm_cred.h"

#define SHORT_LABEL_MAX 64

/* One more label. The text of one label is large: it is put together here, not on the stack of
 * each caller. */
static int put_label(struct buf *labels, const char *name, const char *text)
{
    static char value[EXPOSITION_LABEL_MAX];

    exposition_label(text, value);
    return buf_printf(labels, "%s%s=\"%s\"", labels->len ? "," : "", name, value);
}

static void put_info(struct exposition *x, struct worker *w)
{
    const struct conf *c = w->conf;
    struct buf labels;
    int r;

    buf_init(&labels, 5 * EXPOSITION_LABEL_MAX);
    r = put_label(&labels, "variant", conf_choice_name("variant", (int)c->variant));
    if (r == 0)
        r = put_label(&labels, "bucket", c->bucket);
    if (r == 0)
        r = put_label(&labels, "prefix", c->prefix);
    if (r == 0)
        r = put_label(&labels, "mount", w->shm->header->mount_path);
    if (r == 0)
        r = put_label(&labels, "socket", c->connector.socket);
    exposition_family(x, EXPOSITION_GAUGE, "info", "What is served, and where.");
    if (r == 0)
        exposition_sample(x, "info", labels.data, 1);
    else if (!x->error)
        x->error = r;
    buf_done(&labels);
}

static void put_credentials(struct exposition *x, struct worker *w)
{
    static const char expiry[] = "credentials_expiry_timestamp_seconds";
    struct shm_cred_news news;

    if (!shm_cred_read_news(w->shm, &news))
        return;
    exposition_family(x, EXPOSITION_GAUGE, expiry,
                      "When the credentials in use expire; +Inf: never.");
    if (news.expires_ns)
        exposition_seconds(x, expiry, "", news.expires_ns);
    else
        exposition_word(x, expiry, "", "+Inf");
    exposition_one(x, EXPOSITION_COUNTER, "credentials_refreshes_total",
                   "Credentials that were fetched.", news.refreshes);
    exposition_one(x, EXPOSITION_COUNTER, "credentials_refresh_failures_total",
                   "Attempts to fetch credentials that failed.", news.failures);
}

static void put_workers(struct exposition *x, struct worker *w)
{
    uint64_t restarts = 0;

    for (uint32_t i = 0; i < w->shm->header->sizes.workers; i++) {
        uint64_t n = __atomic_load_n(&shm_stats_of(w->shm, i)->process.starts, __ATOMIC_RELAXED);

        restarts += n ? n - 1 : 0;
    }
    exposition_one(x, EXPOSITION_GAUGE, "workers", "Worker processes.",
                   w->shm->header->sizes.workers);
    exposition_one(x, EXPOSITION_COUNTER, "worker_restarts_total",
                   "Workers that died and were replaced.", restarts);
}

void metrics_daemon(struct exposition *x, struct worker *w)
{
    char labels[SHORT_LABEL_MAX];

    snprintf(labels, sizeof(labels), "version=\"%s\"", PACKAGE_VERSION);
    exposition_family(x, EXPOSITION_GAUGE, "build_info", "The version of the program.");
    exposition_sample(x, "build_info", labels, 1);
    put_info(x, w);
    exposition_family(x, EXPOSITION_GAUGE, "start_time_seconds", "When the daemon was started.");
    exposition_seconds(x, "start_time_seconds", "", w->shm->header->started_ns);
    exposition_one(x, EXPOSITION_GAUGE, "draining", "1 once the daemon was asked to end.",
                   __atomic_load_n(&w->shm->header->draining, __ATOMIC_RELAXED));
    put_workers(x, w);
    put_credentials(x, w);
}
