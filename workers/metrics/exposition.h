/* Writing metrics in the text format of Prometheus, version 0.0.4: families, samples, labels. A
 * failure is kept, so that only the end has to look. */
#ifndef WORKERS_METRICS_EXPOSITION_H
#define WORKERS_METRICS_EXPOSITION_H

#include <stdint.h>

#include "base/buf.h"
#include "shm/shm_timing.h"

#define EXPOSITION_LABEL_MAX 4400 /* bytes of the value of a label in its written form, with NUL */

struct exposition {
    struct buf text; /* buf_init and buf_done by the caller */
    int error;       /* of the first buf_… that failed */
};

enum exposition_type { EXPOSITION_COUNTER, EXPOSITION_GAUGE, EXPOSITION_HISTOGRAM };

/* Begins a family: all its samples follow. `name` without "stateproxy_", which all get. */
void exposition_family(struct exposition *x, enum exposition_type type, const char *name,
                       const char *help);

/* A sample: `labels` as op="read", or "". */
void exposition_sample(struct exposition *x, const char *name, const char *labels, uint64_t value);
/* The same of a time, in seconds. */
void exposition_seconds(struct exposition *x, const char *name, const char *labels, uint64_t ns);
/* The same of a value in words, such as +Inf. */
void exposition_word(struct exposition *x, const char *name, const char *labels, const char *value);

/* The buckets, the sum and the count. */
void exposition_histogram(struct exposition *x, const char *name, const char *labels,
                          const struct shm_timing *t);

/* A family with one sample. */
void exposition_one(struct exposition *x, enum exposition_type type, const char *name,
                    const char *help, uint64_t value);

/* The value of a label in its written form: quotes, backslashes and newlines are escaped, a byte
 * that is not UTF-8 becomes U+FFFD. Cut where it does not fit. */
void exposition_label(const char *text, char out[EXPOSITION_LABEL_MAX]);

#endif
