/* What the files of the server probe share. */
#ifndef WORKERS_PROBE_CAS_PROBE_PRIVATE_H
#define WORKERS_PROBE_CAS_PROBE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3/s3.h"
#include "workers/op/key.h"
#include "workers/probe/cas_probe.h"

#define CAS_BODY_MAX S3_UPLOAD_ID_MAX /* of a probe's object: some words, or an upload's id */
#define CAS_NAME_MAX 24               /* "0123456789abcdef", and NUL */
#define CAS_WRONG_ETAG "\"00000000000000000000000000000000\""
#define CAS_NOTE ".upload" /* what the key of an upload's note ends with */
#define CAS_TOO_SLOW "the server is too slow for the probe"

/* How a check ended, worst last: of several, the worst is told. */
enum cas_outcome {
    CAS_RIGHT,
    CAS_UNSURE, /* the answer says nothing about conditions: it may be asked again */
    CAS_DENIED, /* the credentials may not do this */
    CAS_WRONG,  /* a condition was not kept, or a right one refused */
};

/* The answer to one request. */
struct cas_answer {
    int error; /* as s3_result */
    enum s3_fail fail;
    int status;
    bool maybe_acted;
    char code[S3_CODE_MAX];
    char etag[S3_ETAG_MAX];
    int64_t mtime_ns;
    char upload_id[S3_UPLOAD_ID_MAX];
    char body[CAS_BODY_MAX]; /* of a GET; cut */
    size_t body_len;
};

struct cas_probe;

/* A request on its way, or answered. */
struct cas_ask {
    struct cas_probe *p;
    bool done; /* the answer is there */
    int r;     /* -errno: it could not even be sent */
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
    int64_t server_ns;        /* the server's clock less ours (clock_mono_ns); 0 = unknown */
    bool cleaning;            /* goes on after end_ns too */
    struct cas_race *race;    /* that is under way; NULL = none */
    struct cas_ask ask;       /* of the requests that are made one at a time */
    struct cas_answer answer; /* that is judged */
    char text[ERR_TEXT_MAX];  /* what the last check that was not right met with */
};

/* ---- cas_ask.c ---- */

/* Each starts a request; cas_wait, or turns of the loop, bring the answer. */
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

/* Turns the loop until it is answered. 0 (p->answer tells), or -errno: not sent. */
must_use int cas_wait(struct cas_probe *p, struct cas_ask *a);

/* The same to its end, by p->ask. */
must_use int cas_get(struct cas_probe *p, const char *key);
must_use int cas_head(struct cas_probe *p, const char *key);
must_use int cas_delete(struct cas_probe *p, const char *key, const char *if_match);
must_use int cas_part(struct cas_probe *p, const char *key, const char *upload_id);
must_use int cas_complete(struct cas_probe *p, const char *key, const char *upload_id,
                          const char *part_etag, const char *if_match, const char *if_none_match);

/* Takes note of an answer. */
void cas_take(struct cas_answer *to, const struct s3_result *res);

/* Turns the loop for so long. */
void cas_pause(struct cas_probe *p, uint64_t ns);

/* A name that nobody has used: what an earlier try left, or is still under way, does not
 * disturb. */
void cas_fresh_name(char name[CAS_NAME_MAX]);

/* A key of that name. */
void cas_key(const struct cas_probe *p, const char *name, const char *suffix, char out[KEY_CAP]);

/* ---- judging: CAS_RIGHT, or another with p->text; `what` is the request in the operator's words,
 * `r` what its function returned. ---- */

/* It had to succeed. */
enum cas_outcome cas_must_act(struct cas_probe *p, int r, const char *what);

/* Its condition does not hold: 412, or 404 NoSuchKey. `does` is what one that succeeds does. */
enum cas_outcome cas_must_refuse(struct cas_probe *p, int r, const char *what, const char *does);

/* What a failure other than a refusal for the condition means. */
enum cas_outcome cas_trouble(struct cas_probe *p, const struct cas_answer *a, const char *what);

enum cas_outcome cas_wrong(struct cas_probe *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- cas_checks.c ---- */

enum cas_about { CAS_PUT_CHECK, CAS_COMPLETE_CHECK, CAS_DELETE_CHECK, CAS_CHECKS };

struct cas_finding {
    enum cas_outcome out;
    char text[ERR_TEXT_MAX]; /* where it is not right */
};

/* All checks side by side, each again with fresh names when its answers say nothing; begins the
 * race when it is known how conditions of PUT are to be written. Leaves nothing behind if the
 * server lets it. */
void cas_check_all(struct cas_probe *p, struct cas_finding found[CAS_CHECKS]);

/* ---- cas_race.c ---- */

/* Begins the race, unless it has begun; it goes on in turns of the loop. 0 or -ENOMEM. */
must_use int cas_race_begin(struct cas_probe *p);

/* Waits for its end. CAS_RIGHT where none was begun. */
enum cas_outcome cas_race_end(struct cas_probe *p);

/* Ends it with the races at hand, without a verdict. */
void cas_race_stop(struct cas_probe *p);

/* ---- cleaning ---- */

/* Deletes a key, if the server lets it. p->text stays. */
void cas_clean(struct cas_probe *p, const char *key);

/* Ends the upload that the note (its key) tells of, without Abort, which is another permission;
 * `key` goes, and the note if the upload is over. False if it is not. */
bool cas_end_upload(struct cas_probe *p, const char *key, const char *note);

/* Deletes what killed probes left, if it is old enough to be no running one's. */
void cas_sweep(struct cas_probe *p);

#endif
