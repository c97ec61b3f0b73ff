/* The life of a request (s3_request.c):
 *
 *   QUEUED ---> ACTIVE ---> (done)    QUEUED   in client->queue; hashed there, if its body must be
 *     ^           |                   ACTIVE   its easy handle is in the multi handle
 *     |           v                   WAITING  between two attempts
 *     +------- WAITING                GONE     cancelled inside a curl callback, freed after it
 *
 * `easy` is set in ACTIVE and GONE only. `timer` is armed in the first three: deadline, stall,
 * back-off.
 */
#ifndef S3_S3_REQUEST_H
#define S3_S3_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/loop.h"
#include "s3/s3.h"
#include "s3/s3_error.h"
#include "s3/s3_etag.h"
#include "s3/s3_hash.h"
#include "s3/s3_headers.h"
#include "s3/s3_reply.h"
#include "s3/s3_retry.h"
#include "s3/s3_stop.h"
#include "s3/s3_xml.h"

#define S3_PROGRESS_BYTES (64u << 10) /* bytes of a body: less does not count as progress */

struct s3_get_state {
    uint64_t next;          /* offset in the object of the next byte to deliver */
    uint64_t asked_end;     /* exclusive; UINT64_MAX = to the end */
    uint64_t end;           /* as requested; later that of the object */
    uint64_t size;          /* of the object, once headed */
    bool headed;            /* on_head was called */
    bool ranged;            /* this attempt requested a range */
    char etag[S3_ETAG_MAX]; /* the rest is pinned to its ETag */
    char *if_match, *if_none_match;
    int (*on_head)(void *arg, const struct s3_object *obj);
    int (*on_data)(void *arg, uint64_t off, const void *data, size_t len);
    void (*on_restart)(void *arg); /* NULL: not checked against the ETag */
    bool checked;                  /* the object is being checked against its ETag */
    struct s3_etag_check check;
    enum s3_crc summed; /* the same with its checksum: which one */
    uint64_t sum, told; /* of the bytes so far; as the server told it */
};

struct s3_list_state {
    int (*on_entry)(void *arg, const struct s3_list_entry *entry);
    struct s3_page *page;
    char next_token[S3_TOKEN_MAX];
};

struct s3_put_state {
    struct s3_body body;
    struct s3_gate *gate; /* or NULL: where the last byte waits */
    bool held;            /* it waits there */
    struct buf text;      /* COMPLETE: what `body` points to */
    uint64_t at;          /* next byte to send */
    bool all_out;         /* curl has got the last byte */
    bool conditional;
    bool replaces;       /* it has an If-Match */
    uint64_t walk_until; /* the last attempt broke: small steps up to this offset */
    uint64_t next_step;
    bool unread; /* it is read and summed up first */
    struct s3_hash hash;
    uint64_t hashed;
    enum s3_crc checksum; /* sent with it */
    bool doubted;         /* the server refused it with a checksum: this attempt has none */
    bool by_etag;         /* nothing else proves this attempt's bytes: the ETag may (s3_sum.h) */
    uint64_t summed;      /* bytes of it that are in `check` */
    struct s3_etag_check check;
    bool once_wrong;         /* as s3_put has it */
    bool bare;               /* an If-Match goes without quotes */
    char wrong[S3_ETAG_MAX]; /* other bytes than ours, which we have put there; "" = none */
};

/* The key of the request is that of the target, and during the HEAD of the source that of the
 * source: the two are swapped, and so are the headers. */
struct s3_copy_state {
    char *other_key;
    struct s3_headers other_headers;
    size_t other_n_fixed, other_fixed_bytes;
    char *if_source_match, *if_match;
    bool absent;    /* to_key must not exist */
    bool strict;    /* a refusal is final */
    bool is_new;    /* it gets no tags of the source */
    bool no_target; /* the server does not support conditions on the target */
    bool looked;    /* HEAD has compared the source */
    bool unknown;   /* ... because the server does not support if_source_match */
};

enum s3_req_state { S3_REQ_QUEUED, S3_REQ_ACTIVE, S3_REQ_WAITING, S3_REQ_GONE };

/* How the operations differ. Hooks return 0, or -1 after s3_req_stop; NULL = nothing to do. */
struct s3_op {
    enum s3_op_kind kind;
    const char *name; /* name for messages */
    const char *method;
    int (*prepare)(struct s3_req *req); /* adds the headers of this attempt; -errno */
    int (*on_head)(struct s3_req *req); /* a 2xx with its headers, before its body */
    int (*on_body)(struct s3_req *req, const char *data, size_t len);
    int (*on_end)(struct s3_req *req); /* a complete 2xx: fills the result */
    void (*cleanup)(struct s3_req *req);
    /* Gets a refusal first: true if it turned the request into another one (another op). */
    bool (*turn)(struct s3_req *req);
};

struct s3_req {
    struct s3_client *client;
    struct s3_req *prev, *next; /* in client->queue (QUEUED) or client->busy */
    enum s3_req_state state;
    const struct s3_op *op;
    enum s3_op_kind asked; /* its kind before `turn` */
    uint64_t asked_ns;
    s3_done_fn *done;
    void *arg;
    char *key; /* NULL: the bucket */
    struct buf query;
    struct s3_headers headers; /* the first n_fixed are used in all attempts */
    size_t n_fixed, fixed_bytes;
    char payload_hash[S3_HASH_HEX_MAX];

    /* time */
    struct loop_timer timer;
    struct loop_timer resume; /* a paused upload continues */
    uint64_t mark_ns;         /* the deadline counts from here */
    uint64_t attempt_mark_ns; /* the same for an attempt whose body moves; 0 = it did not */
    uint64_t move_ns;         /* time when the last byte moved */
    uint64_t high, high_mark; /* greatest offset in the body, ever; when mark_ns was set */
    uint64_t moved;           /* offset in the body in this attempt, at attempt_mark_ns */
    uint64_t body_bytes;      /* bytes of the response body in this attempt */
    struct s3_retry retry;

    /* credentials */
    uint64_t cred_generation;  /* of the attempt; 0 = it had none */
    bool cred_renewable;       /* the same: others may come */
    uint64_t renew_until_ns;   /* WAITING: for others until then; 0 = it does not */
    struct s3_verdict before;  /* of the last attempt that failed */
    struct s3_verdict refused; /* WAITING for others: what the request ends with if none come */

    /* the attempt at hand */
    CURL *easy;
    struct curl_slist *list;
    unsigned sends; /* how often curl sent it: more than once after a dead connection */
    struct s3_reply reply;
    struct s3_xml *xml;
    bool stopped; /* a hook ended the attempt with `verdict` */
    struct s3_verdict verdict;
    char curl_error[CURL_ERROR_SIZE];
    bool once;        /* no retry after an attempt with unknown outcome */
    bool settles;     /* the retry after an attempt with unknown outcome waits: S3_SETTLE_NS */
    bool maybe_acted; /* the outcome of an attempt is unknown */
    bool guess;       /* HEAD: a 404 without a code is trusted */
    bool turned;      /* op was exchanged once */
    bool plain;       /* what is read was stored without the customer's key */
    bool no_tags;     /* a copy without the source's tags; something new without its own */
    const char *tags; /* PUT, CREATE, COPY: s3_put.tags; borrowed */
    struct s3_enforce *enforce; /* owned; NULL: see s3_enforce.h */
    bool moved_once;            /* it was sent to another region */
    uint64_t moves;             /* client->moves when the attempt began */
    bool empty;                 /* HEAD: a range of its first byte was refused */
    bool whole;                 /* a 2xx delivered everything requested, however it may end */
    bool held_on;               /* GET: its caller takes no bytes for now */

    struct s3_result result;
    char upload_id[S3_UPLOAD_ID_MAX]; /* CREATE: result points here */
    enum s3_crc upload_checksum;      /* CREATE: asked for */
    bool upload_doubted;              /* CREATE: the server refused it with a checksum */
    union {
        struct s3_get_state get;
        struct s3_list_state list_state;
        struct s3_put_state put;
        struct s3_copy_state copy;
        char *found_tags; /* TAGS: owned; result points here */
    };
};

/* 0 and *ret_req, or -errno (-EINVAL, -ENAMETOOLONG for the key, -ENOMEM). `key` NULL: the bucket.
 * The request has an empty body and no headers; s3_req_submit or s3_req_free follows. */
must_use int s3_req_new(struct s3_client *c, const struct s3_op *op, const char *key,
                        s3_done_fn *done, void *arg, struct s3_req **ret_req);

/* Frees a request that was not submitted. */
void s3_req_free(struct s3_req *req);

/* Queues it; the headers added so far are those of every attempt. */
void s3_req_submit(struct s3_req *req, struct s3_req **ret_req);

/* The request leaves the queue, and its attempt begins; a failure before curl has it ends it. */
void s3_req_start(struct s3_req *req);

/* Frees the requests that were cancelled inside curl. Not from inside curl. */
void s3_req_reap_gone(struct s3_client *c);

/* True if the attempt at hand was sent, so that the server may have carried it out. It does not
 * carry out a request before it has all of its body, unless it says that it has. */
bool s3_req_is_out(const struct s3_req *req);

/* curl has finished an attempt, or it was stopped: retries, or ends the request. */
void s3_req_ended(struct s3_req *req, CURLcode curl);

/* Ends the request outside an attempt. Without `text` that of the last attempt stays. */
void s3_req_fail(struct s3_req *req, int error, enum s3_fail fail, const char *text);

#endif
