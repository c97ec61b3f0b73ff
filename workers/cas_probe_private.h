/* What the files of the server probe share. */
#ifndef WORKERS_CAS_PROBE_PRIVATE_H
#define WORKERS_CAS_PROBE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3/s3.h"
#include "workers/cas_probe.h"
#include "workers/key.h"

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

struct cas_probe {
    const struct conf *conf;
    struct loop *loop;
    struct s3_client *client;
    uint64_t begin_ns, end_ns;
    unsigned n_requests;
    char root[KEY_CAP];      /* "<prefix>/.stateproxy-probe/" */
    char name[CAS_NAME_MAX]; /* of the check at hand, at random */
    int64_t server_ns;       /* the server's clock less ours (clock_mono_ns); 0 = unknown */
    bool cleaning;           /* goes on after end_ns too */
    bool upload_open;        /* one was created, and no Complete of it succeeded yet */
    bool done;               /* the request at hand */
    struct cas_answer answer; /* to it */
    char text[ERR_TEXT_MAX]; /* what the last check that was not right met with */
};

/* ---- cas_ask.c: one request each, to its end. 0 (p->answer tells), or -errno: not sent. ---- */

must_use int cas_put(struct cas_probe *p, const char *key, const char *body,
                     const char *if_match, const char *if_none_match);
must_use int cas_get(struct cas_probe *p, const char *key);
must_use int cas_head(struct cas_probe *p, const char *key);
must_use int cas_delete(struct cas_probe *p, const char *key, const char *if_match);
must_use int cas_create(struct cas_probe *p, const char *key);
must_use int cas_part(struct cas_probe *p, const char *key, const char *upload_id);
must_use int cas_complete(struct cas_probe *p, const char *key, const char *upload_id,
                          const char *part_etag, const char *if_match,
                          const char *if_none_match);

/* Takes note of an answer. */
void cas_take(struct cas_answer *to, const struct s3_result *res);

/* Turns the loop for so long. */
void cas_pause(struct cas_probe *p, uint64_t ns);

/* Keys that nobody has used: what an earlier try left, or is still under way, does not disturb. */
void cas_fresh_name(struct cas_probe *p);

/* A key of the check at hand. */
void cas_key(const struct cas_probe *p, const char *suffix, char out[KEY_CAP]);

/* ---- judging: CAS_RIGHT, or another with p->text; `what` is the request in the operator's words,
 * `r` what its function returned. ---- */

/* It had to succeed. */
enum cas_outcome cas_must_act(struct cas_probe *p, int r, const char *what);

/* Its condition does not hold: 412, or 404 NoSuchKey. `does` is what one that succeeds does. */
enum cas_outcome cas_must_refuse(struct cas_probe *p, int r, const char *what,
                                 const char *does);

/* What a failure other than a refusal for the condition means. */
enum cas_outcome cas_trouble(struct cas_probe *p, const struct cas_answer *a,
                             const char *what);

enum cas_outcome cas_wrong(struct cas_probe *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- the checks; each leaves nothing behind if the server lets it ---- */

enum cas_outcome cas_check_put(struct cas_probe *p);
enum cas_outcome cas_check_complete(struct cas_probe *p);
enum cas_outcome cas_check_delete(struct cas_probe *p);
enum cas_outcome cas_check_race(struct cas_probe *p);

/* ---- cleaning ---- */

/* Deletes a key, if the server lets it. p->text stays. */
void cas_clean(struct cas_probe *p, const char *key);

/* Ends the upload that the note (its key) tells of, without Abort, which is another permission;
 * `key` goes, and the note if the upload is over. False if it is not. */
bool cas_end_upload(struct cas_probe *p, const char *key, const char *note);

/* Deletes what killed probes left, if it is old enough to be no running one's. */
void cas_sweep(struct cas_probe *p);

#endif
