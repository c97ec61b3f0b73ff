/* Shared by the files of the server probe. */
#ifndef WORKERS_PROBE_CAS_PROBE_PRIVATE_H
#define WORKERS_PROBE_CAS_PROBE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3/s3.h"
#include "workers/op/key.h"
#include "workers/probe/cas_probe.h"

#define CAS_BODY_MAX S3_UPLOAD_ID_MAX /* of a probe's object: some words, or an upload id */
#define CAS_NAME_MAX 24               /* "0123456789abcdef", and NUL */
#define CAS_WRONG_ETAG "\"00000000000000000000000000000000\""
#define CAS_NOTE ".upload" /* suffix of the key of an upload's note */
#define CAS_TOO_SLOW "the server is too slow for the probe"

/* Result of a check, worst last: of several, the worst is reported. */
enum cas_outcome {
    CAS_RIGHT,
    CAS_UNSURE, /* the response says nothing about conditions: the check may be repeated */
    CAS_DENIED, /* the credentials may not do this */
    CAS_WRONG,  /* a condition was not enforced, or a correct one refused */
};

/* The response to one request. */
struct cas_answer {
    int error; /* as in s3_result */
    enum s3_fail fail;
    int status;
    bool maybe_acted;
    char code[S3_CODE_MAX];
    char etag[S3_ETAG_MAX];
    int64_t mtime_ns;
    char upload_id[S3_UPLOAD_ID_MAX];
    char body[CAS_BODY_MAX]; /* of a GET; at most CAS_BODY_MAX bytes */
    size_t body_len;
};

struct cas_probe;

/* A request in flight, or completed. */
struct cas_ask {
    struct cas_probe *p;
    bool done; /* the response has arrived */
    int r;     /* -errno: it could not be sent */
    struct cas_answer answer;
};

struct cas_race;

struct cas_probe {
    const struct conf *conf;
    struct loop *loop;
    struct s3_client *client;
    uint64_t begin_ns, end_ns;
    unsigned n_requests;
    char root[KEY_CAP];       /* "<prefix>/.stateproxy-probe/" */
    int64_t server_ns;        /* the server's clock minus ours (clock_mono_ns); 0 = unknown */
    bool cleaning;            /* requests are sent even after end_ns */
    struct cas_race *race;    /* the running race; NULL = none */
    struct cas_ask ask;       /* for the requests that are made one at a time */
    struct cas_answer answer; /* the response that is judged */
    char text[ERR_TEXT_MAX];  /* detail of the last check that did not end with CAS_RIGHT */
};

/* ---- cas_ask.c ---- */

/* Each starts a request; cas_wait, or turns of the loop, bring the response. */
void cas_start_put(struct cas_probe *p, struct cas_ask *a, const char *key, const char *body,
                   const char *if_match, const char *if_none_match);
void cas_start_get(struct cas_probe *p, struct cas_ask *a, const char *key);
void cas_start_head(struct cas_probe *p, struct cas_ask *a, const char *key);
void cas_start_delete(struct cas_probe *p, struct cas_ask *a, const char *key,
                      const char *if_match);
void cas_start_create(struct cas_probe *p, struct cas_ask *a, const char *key);
void cas_start_part(struct cas_probe *p, struct cas_ask *a, const char *key, const char *upload_id);
void cas_start_complete(struct cas_probe *p, struct cas_ask *a, const char *key,
                        const char *upload_id, const char *part_etag, const char *if_match,
                        const char *if_none_match);

/* A copy with all metadata replaced. `if_source_match`: of its source; the others: of its target. A
 * refusal because of any is -EEXIST. */
void cas_start_copy(struct cas_probe *p, struct cas_ask *a, const char *from, const char *to,
                    const char *if_source_match, const char *if_match, const char *if_none_match);

/* Turns the loop until the response has arrived. 0 (see p->answer), or -errno: not sent. */
must_use int cas_wait(struct cas_probe *p, struct cas_ask *a);

/* The same requests, blocking, with p->ask. */
must_use int cas_get(struct cas_probe *p, const char *key);
must_use int cas_head(struct cas_probe *p, const char *key);
must_use int cas_delete(struct cas_probe *p, const char *key, const char *if_match);
must_use int cas_part(struct cas_probe *p, const char *key, const char *upload_id);
must_use int cas_complete(struct cas_probe *p, const char *key, const char *upload_id,
                          const char *part_etag, const char *if_match, const char *if_none_match);

/* Copies a result. */
void cas_take(struct cas_answer *to, const struct s3_result *res);

/* Turns the loop for `ns`. */
void cas_pause(struct cas_probe *p, uint64_t ns);

/* A name that was never used: leftovers and delayed requests of an earlier try cannot interfere. */
void cas_fresh_name(char name[CAS_NAME_MAX]);

/* The key for this name. */
void cas_key(const struct cas_probe *p, const char *name, const char *suffix, char out[KEY_CAP]);

/* ---- judging: CAS_RIGHT, or another outcome with p->text; `what` is the request in the operator's
 * words, `r` is what its function returned. ---- */

/* It must succeed. */
enum cas_outcome cas_must_act(struct cas_probe *p, int r, const char *what);

/* Its condition does not hold, so it must fail: 412, or 404 NoSuchKey. `does` describes what a
 * success would do. */
enum cas_outcome cas_must_refuse(struct cas_probe *p, int r, const char *what, const char *does);

/* Judges a failure that is not a refusal because of the condition. */
enum cas_outcome cas_trouble(struct cas_probe *p, const struct cas_answer *a, const char *what);

enum cas_outcome cas_wrong(struct cas_probe *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- cas_checks.c ---- */

enum cas_about {
    CAS_PUT_CHECK,
    CAS_COMPLETE_CHECK,
    CAS_DELETE_CHECK,
    CAS_COPY_CHECK,
    CAS_CHECKS,
};

struct cas_finding {
    enum cas_outcome out;
    char text[ERR_TEXT_MAX]; /* if not CAS_RIGHT */
};

/* Runs all checks concurrently, and repeats each with new names if the responses say nothing;
 * starts the race as soon as the form of PUT conditions is known. Leaves nothing behind if the
 * server permits the DELETEs. */
void cas_check_all(struct cas_probe *p, struct cas_finding found[CAS_CHECKS]);

/* ---- cas_race.c ---- */

/* Starts the race, unless it was started before; it runs in turns of the loop. 0 or -ENOMEM. */
must_use int cas_race_begin(struct cas_probe *p);

/* Waits for its end. CAS_RIGHT if there was none. */
enum cas_outcome cas_race_end(struct cas_probe *p);

/* Finishes the running races and starts no more, without a verdict. */
void cas_race_stop(struct cas_probe *p);

/* ---- cas_copy_race.c ---- */

/* Copies at once onto one key, again and again, each race on one condition of the target. Blocks,
 * for some seconds at most; leaves nothing behind if the server permits the DELETEs. CAS_RIGHT, or
 * another outcome with p->text. */
enum cas_outcome cas_copy_race(struct cas_probe *p);

/* ---- cleaning ---- */

/* Deletes a key, if the server permits it. p->text is unchanged. */
void cas_clean(struct cas_probe *p, const char *key);

/* Ends the upload that is described by the note at key `note`, without Abort, which needs a
 * separate permission. Deletes `key`, and the note if the upload has ended. False if it has not. */
bool cas_end_upload(struct cas_probe *p, const char *key, const char *note);

/* Deletes leftovers of killed probes that are too old to belong to a running one. */
void cas_sweep(struct cas_probe *p);

#endif
