/* See exposition.h. It knows the format, and no metric. */
#include "workers/metrics/exposition.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

typedef unsigned long long ull;

static void expo_keep(struct exposition *x, int r)
{
    if (r < 0 && !x->error)
        x->error = r;
}

void exposition_family(struct exposition *x, enum exposition_type type, const char *name,
                       const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    expo_keep(x, buf_printf(&x->text, "# HELP stateproxy_%s %s\n# TYPE stateproxy_%s %s\n", name,
                            help, name, types[type]));
}

/* The name and the labels of a sample, up to its value. */
static void put_name(struct exposition *x, const char *name, const char *labels)
{
    if (*labels)
        expo_keep(x, buf_printf(&x->text, "stateproxy_%s{%s} ", name, labels));
    else
        expo_keep(x, buf_printf(&x->text, "stateproxy_%s ", name));
}

void exposition_sample(struct exposition *x, const char *name, const char *labels, uint64_t value)
{
    put_name(x, name, labels);
    expo_keep(x, buf_printf(&x->text, "%llu\n", (ull)value));
}

void exposition_seconds(struct exposition *x, const char *name, const char *labels, uint64_t ns)
{
    put_name(x, name, labels);
    expo_keep(x, buf_printf(&x->text, "%llu.%09llu\n", (ull)(ns / NS_PER_S), (ull)(ns % NS_PER_S)));
}

void exposition_word(struct exposition *x, const char *name, const char *labels, const char *value)
{
    put_name(x, name, labels);
    expo_keep(x, buf_printf(&x->text, "%s\n", value));
}

static void put_bucket(struct exposition *x, const char *name, const char *labels,
                       const char *bound, uint64_t value)
{
    expo_keep(x, buf_printf(&x->text, "stateproxy_%s_bucket{%s,le=\"%s\"} %llu\n", name, labels,
                            bound, (ull)value));
}

void exposition_histogram(struct exposition *x, const char *name, const char *labels,
                          const struct shm_timing *t)
{
    char bound[32], full[128];
    uint64_t n = 0;

    for (unsigned i = 0; i < SHM_TIMING_BOUNDS; i++) {
        n += t->bucket[i];
        snprintf(bound, sizeof(bound), "%g", (double)shm_timing_bounds[i] / (double)NS_PER_S);
        put_bucket(x, name, labels, bound, n);
    }
    n += t->bucket[SHM_TIMING_BOUNDS];
    put_bucket(x, name, labels, "+Inf", n);
    snprintf(full, sizeof(full), "%s_sum", name);
    exposition_seconds(x, full, labels, t->ns);
    snprintf(full, sizeof(full), "%s_count", name);
    exposition_sample(x, full, labels, n);
}

void exposition_one(struct exposition *x, enum exposition_type type, const char *name,
                    const char *help, uint64_t value)
{
    exposition_family(x, type, name, help);
    exposition_sample(x, name, "", value);
}

void exposition_label(const char *text, char out[EXPOSITION_LABEL_MAX])
{
    size_t n = 0;

    while (*text && n + UTF8_MAX < EXPOSITION_LABEL_MAX) {
        unsigned len = utf8_len(text);

        if (*text == '"' || *text == '\\' || *text == '\n') {
            out[n++] = '\\';
            out[n++] = *text == '\n' ? 'n' : *text;
        } else if (len) {
            memcpy(out + n, text, len);
            n += len;
        } else {
            memcpy(out + n, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT));
            n += strlen(UTF8_REPLACEMENT);
        }
        text += len ? len : 1;
    }
    out[n] = '\0';
}
