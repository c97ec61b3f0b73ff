/* Requests to one S3 bucket on a caller's event loop. Nothing blocks; every request ends in
 * exactly one call of its `done`, unless it was cancelled, which calls nothing.
 *
 * The client retries inside a request's deadline (s3_retry.h says what), so that `done` sees the
 * final outcome. Knows no shared memory: usable as a library.
 */
#ifndef S3_S3_H
#define S3_S3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/loop.h"

#define S3_KEY_MAX 1024 /* bytes of a key, without NUL */
#define S3_ETAG_MAX 72  /* bytes of an ETag in its one form (s3_etag.h), and NUL */
#define S3_ETAG_EMPTY "\"d41d8cd98f00b204e9800998ecf8427e\"" /* of all empty objects */
#define S3_SERVER_MAX 64               /* how a server calls itself, and NUL */
#define S3_CODE_MAX 64                 /* bytes of an S3 error code, and NUL */
#define S3_TYPE_MAX 128                /* bytes of a Content-Type, and NUL */
#define S3_VERSION_MAX 128             /* a version id, and NUL */
#define S3_CLASS_MAX 32                /* a storage class, and NUL */
#define S3_META_MAX 2304               /* user metadata of one object: S3's 2 KiB and separators */
#define S3_TOKEN_MAX 2048              /* a continuation token, and NUL */
#define S3_LIST_MAX 1000               /* entries of one page */
#define S3_REGION_MAX 64               /* a region's name, and NUL */
#define S3_HOST_MAX 128                /* scheme and host, and NUL */
#define S3_TEXT_MAX 256                /* what failed, and NUL */
#define S3_PUT_MAX (UINT64_C(5) << 30) /* bytes of one PUT, and of a part */
#define S3_PARTS_MAX 10000             /* of one upload */
#define S3_UPLOAD_ID_MAX 1024          /* bytes of an upload's id, and NUL */

struct s3_client;
struct s3_req;
struct s3_cred_source;

enum s3_addressing { S3_ADDRESSING_AUTO, S3_ADDRESSING_PATH, S3_ADDRESSING_VIRTUAL };
enum s3_payload_signing { S3_SIGN_AUTO, S3_SIGN_ALWAYS, S3_SIGN_NEVER };

/* What a server does otherwise than S3: bits of one word that all share who talk to it. A bit is
 * set atomically, and never cleared; it changes what is sent, never how an answer is judged. */
enum s3_habit {
    /* of the form of a condition: */
    S3_HABIT_BARE_PUT_MATCH = 1, /* If-Match of a PUT counts without quotes only (Ceph) */
    S3_HABIT_BARE_ETAGS = 2,     /* headers tell ETags without quotes: they are sent back so */
    S3_HABIT_UPPER_ETAGS = 4,    /* the same, in capitals */
    S3_HABIT_FORM = S3_HABIT_BARE_PUT_MATCH | S3_HABIT_BARE_ETAGS | S3_HABIT_UPPER_ETAGS,

    S3_HABIT_WEAK_ETAGS = 8, /* a W/ stands before them */
    /* conditions that it does not know, or refuses though they hold: */
    S3_HABIT_NO_PUT_MATCH = 16,
    S3_HABIT_NO_DELETE_MATCH = 32,
    S3_HABIT_NO_COPY_TARGET = 64,
    S3_HABIT_NO_COPY_SOURCE = 128, /* s3_copy looks with HEAD first */

    S3_HABIT_VIRTUAL_HOST = 256, /* it refuses path addressing: AUTO means VIRTUAL */
    S3_HABIT_CONTRADICTS = 512,  /* an answer in use was not what it had shown before */
    S3_HABIT_NO_VERSIONS = 1024, /* it, or its policy, refuses a GET that names a version */
};

/* Counted up by the client, for whoever watches it; on restarts they go on from where they are. */
struct s3_counters {
    uint64_t *out_bytes; /* of bodies, as handed to the network: repeated ones count again */
    uint64_t *retries;   /* attempts after the first */
    uint64_t *errors;    /* requests that failed; that something is not there is no failure */
};

/* Strings are borrowed and must outlive the client. Times in nanoseconds. */
struct s3_client_conf {
    const char *endpoint; /* URL, may have a base path; NULL or "" = AWS's for the region */
    const char *region;
    const char *bucket;
    const char *ca_bundle;   /* file of PEM certificates; NULL or "" = the system's */
    const char *client_cert; /* file of PEM, shown to a server that asks; NULL or "" = none */
    const char *client_key;  /* its key; NULL or "" = in the same file */
    bool tls_insecure;       /* no certificate is checked */
    enum s3_addressing addressing;
    enum s3_payload_signing payload_signing; /* AUTO: signed over plain HTTP only */
    uint64_t connect_timeout_ns;
    uint64_t attempt_timeout_ns; /* an attempt without a byte moving for so long has failed */
    /* Of a whole request, all attempts and waits; counted anew whenever 64 KiB more of the body
     * have moved than ever before, and an attempt whose body moves is not cut by it: it bounds
     * outages, not sizes. */
    uint64_t deadline_ns;
    unsigned max_attempts; /* attempts that the server answered; 1 = no retry of anything */
    unsigned max_connections;
    const struct s3_counters *counters; /* borrowed; NULL = nobody counts */
    uint32_t *habits; /* enum s3_habit; borrowed, may be shared. NULL = this client's own */
    /* S3_HABIT_FORM is as it is: conditions were tried in that form, and in no other. */
    bool form_is_known;
    void (*on_habit)(enum s3_habit habit); /* a new one, told to one of all who share; or NULL */
    bool etags_required; /* an object without an ETag, but for markers (key/), is no answer: -EIO */
    char *server; /* S3_SERVER_MAX bytes, filled once with the name that answers tell; or NULL */
};

/* 0 and *ret_client, or -errno with *err filled (EINVAL: bad endpoint, unreadable CA bundle;
 * ENOMEM). `loop` and `creds` (s3_cred.h) are borrowed. To be called after fork. */
must_use int s3_client_new(struct loop *loop, const struct s3_client_conf *conf,
                           struct s3_cred_source *creds, struct s3_client **ret_client,
                           struct err *err);

/* Cancels what is in flight, calls nothing back. NULL is fine. Not from inside a callback. */
void s3_client_free(struct s3_client *client);

/* True for AWS's own endpoints; NULL or "" is one. */
bool s3_endpoint_is_aws(const char *endpoint);

bool s3_habit_has(const struct s3_client *client, enum s3_habit habit);

/* True if nobody knew it before. */
bool s3_habit_learn(struct s3_client *client, enum s3_habit habit);

/* What an answer says of an object. Zeroed where the answer says nothing. */
struct s3_object {
    uint64_t size;    /* of the whole object, also on a ranged GET */
    int64_t mtime_ns; /* Last-Modified, since the epoch */
    char etag[S3_ETAG_MAX];
    char content_type[S3_TYPE_MAX];   /* "" where none came, or a longer one */
    char version[S3_VERSION_MAX];     /* the same; "" in a bucket without versions */
    char storage_class[S3_CLASS_MAX]; /* "" means STANDARD */
    /* User metadata: name NUL value NUL ..., names in lower case without "x-amz-meta-", values as
     * sent (the caller decodes); what does not fit is left out. */
    size_t meta_len;
    char meta[S3_META_MAX];
};

/* Value of one metadata name, NULL if absent. */
const char *s3_object_meta(const struct s3_object *obj, const char *name);

/* Where a request failed. */
enum s3_fail {
    S3_FAIL_NONE,
    S3_FAIL_ANSWER,      /* the server said no: http_status and code tell */
    S3_FAIL_RESOLVE,     /* the endpoint's (or proxy's) name is unknown */
    S3_FAIL_CONNECT,     /* nobody accepts connections there */
    S3_FAIL_TLS,         /* handshake or certificate */
    S3_FAIL_STALLED,     /* no byte moved for the attempt timeout, or the deadline passed */
    S3_FAIL_BROKEN,      /* the connection broke before the answer was whole */
    S3_FAIL_PROTOCOL,    /* an answer that is no S3 answer */
    S3_FAIL_CREDENTIALS, /* none to be had */
    S3_FAIL_LOCAL,       /* memory, the body's descriptor, or what a callback returned */
};

/* What was wrong with TLS. From OUR_CERTIFICATE on no certificate of the server's is meant. */
enum s3_tls_trouble {
    S3_TLS_FINE,
    S3_TLS_EXPIRED,
    S3_TLS_NOT_YET_VALID,
    S3_TLS_OTHER_NAME,
    S3_TLS_UNKNOWN_CA,
    S3_TLS_SELF_SIGNED,
    S3_TLS_OUR_CERTIFICATE, /* cannot be used */
    S3_TLS_REFUSED,         /* the server sent an alert */
    S3_TLS_HANDSHAKE,       /* something else */
};

struct s3_result {
    int error;               /* 0 or -errno (s3_error.h has the table) */
    enum s3_fail fail;       /* of the last attempt; NONE when error is 0 */
    enum s3_tls_trouble tls; /* with S3_FAIL_TLS: what */
    int http_status;         /* of the last answer; 0 = none came */
    char code[S3_CODE_MAX];  /* S3 error code, "" if none */
    char text[S3_TEXT_MAX];  /* for the log: what failed, in a few words */
    bool not_modified;       /* 304 to If-None-Match: error is 0 */
    /* A changing request failed, or succeeded only in a later attempt, and an attempt without a
     * clear answer may have been carried out by the server. */
    bool may_have_acted;
    unsigned attempts;
    char location[S3_HOST_MAX]; /* scheme and host that a redirection names; else "" */
    char region[S3_REGION_MAX]; /* the bucket's, where a refusal named it; else "" */
    /* GET, HEAD; PUT, COPY, a part and a completed upload: etag (and mtime of copies) */
    struct s3_object obj;
    bool truncated;         /* LIST: more follows, behind the entry that was told last */
    const char *next_token; /* LIST: the same place to the server, or NULL; valid during `done` */
    unsigned n_entries;     /* LIST: keys and prefixes told; 0 and truncated: none that is new */
    const char *upload_id;  /* CREATE: valid during `done` */
};

/* A request with a condition was refused in a way that may mean that the server does not know the
 * condition: 501, 405, a 400 that says nothing else. */
bool s3_condition_unknown(int http_status, const char *code);

/* A GET that named a version was refused in a way that the next one will be, too: it is not
 * permitted, or the server does not know versions. */
bool s3_version_refused(int http_status, const char *code);

/* `res` is valid only during the call. The request is gone when this returns; it may start
 * others. */
typedef void s3_done_fn(void *arg, const struct s3_result *res);

/* A GET. `on_head` is called once when a 200/206 came, `on_data` for each piece, in order, each
 * byte once: when an answer breaks off, the rest is asked again with If-Match, so pieces never
 * mix two versions. Either may return a negative errno, which ends the request with it. `off`
 * passed is that in the object. */
struct s3_get {
    const char *key;
    /* NULL, or the id of a version: -ESTALE where it is gone (code NoSuchVersion) */
    const char *version;
    uint64_t off;
    uint64_t len;              /* 0 = to the end (no Range header when off is 0) */
    const char *if_match;      /* NULL or an ETag; 412 -> -ESTALE */
    const char *if_none_match; /* NULL or an ETag; 304 -> not_modified */
    int (*on_head)(void *arg, const struct s3_object *obj);
    int (*on_data)(void *arg, uint64_t off, const void *data, size_t len);
    /* Not NULL: an answer of a whole object (`off` is 0, and `len` reaches to its end) is held
     * against its ETag, where that is an MD5, before the last piece is told. When it is of another
     * version, this is called, the request begins anew, and on_head once more; -EIO when it stays
     * so. (Not without retries: max_attempts.) */
    void (*on_restart)(void *arg);
};

struct s3_meta_pair {
    const char *name;  /* without "x-amz-meta-" */
    const char *value; /* ASCII; the caller percent-codes */
};

/* Bytes to send: `len` from `off` in memory, or of a descriptor by pread(2); both are borrowed
 * until `done`. */
struct s3_body {
    const void *mem; /* NULL = from fd */
    int fd;
    uint64_t off;
    uint64_t len;
};

/* Makes several PUTs, all in flight, act at once: each sends all but the last byte of its body and
 * waits. Zeroed, then `on_held` set; borrowed until their `done`. */
struct s3_gate {
    unsigned held;                         /* requests that wait at it */
    bool open;                             /* by s3_gate_open; nothing waits any more */
    void (*on_held)(struct s3_gate *gate); /* one more waits: may open it, or NULL */
};

struct s3_put {
    const char *key;
    struct s3_body body;
    struct s3_gate *gate;     /* NULL; a body of 2 bytes or more waits at it */
    const char *content_type; /* NULL = binary/octet-stream */
    const struct s3_meta_pair *meta;
    size_t n_meta;
    /* 412 -> -EEXIST with code PreconditionFailed; 404 NoSuchKey -> -ENOENT. Never "*". */
    const char *if_match;
    const char *if_none_match; /* "*" or NULL */
    bool bare_match;           /* if_match goes without quotes: a trial (S3_HABIT_BARE_PUT_MATCH) */
};

struct s3_copy {
    const char *from_key; /* same bucket */
    const char *to_key;
    /* NULL or an ETag; 412 -> -ESTALE. A server that does not know it: HEAD, compare, copy. */
    const char *if_source_match;
    /* NULL or an ETag: what to_key must be; 412 -> -ESTALE. AWS looks at it; versitygw, MinIO and
     * others do not, and copy; one that does not know it is not asked. */
    const char *if_match;
    bool replace_meta; /* true: meta and content_type replace the source's */
    const char *content_type;
    const struct s3_meta_pair *meta;
    size_t n_meta;
};

/* A PUT on the condition that nothing is there, or an empty object, whose attempt may have acted
 * (no answer came, or a gateway's) is made again after this time only: an attempt that acts late
 * may find that its condition holds once more, and bring back what has been removed. */
#define S3_SETTLE_NS NS_PER_S

/* That, or half of this client's deadline where it is less. */
uint64_t s3_settle_ns(const struct s3_client *c);

struct s3_delete {
    const char *key;
    const char *if_match; /* NULL or an ETag; 412 -> -EEXIST */
    bool once; /* no attempt follows one that the server may have carried out (may_have_acted) */
};

/* Multipart uploads: created, parts sent in any order and side by side, completed (or aborted,
 * which is another permission). An upload that was neither stays, and is paid for. */

/* The answer has result.upload_id. A repeated attempt may leave one more, empty upload. */
struct s3_create {
    const char *key;
    const char *content_type; /* NULL = binary/octet-stream */
    const struct s3_meta_pair *meta;
    size_t n_meta;
};

/* Sending it again replaces it. -ESTALE with code NoSuchUpload: the upload is over. */
struct s3_part {
    const char *key, *upload_id;
    unsigned number; /* 1..S3_PARTS_MAX */
    struct s3_body body;
};

struct s3_part_copy {
    const char *key, *upload_id;
    unsigned number;
    const char *from_key;        /* same bucket */
    uint64_t off, len;           /* len 0 = all of it (off is 0 then) */
    const char *if_source_match; /* NULL or an ETag; 412 -> -ESTALE, code PreconditionFailed */
};

struct s3_part_done {
    unsigned number;
    const char *etag; /* as the answer gave it */
};

/* Conditions as of s3_put: 412 -> -EEXIST with code PreconditionFailed (the upload goes on to be),
 * 404 NoSuchKey -> -ENOENT; -EBUSY: another change came in between, the upload is to be made anew.
 * -ESTALE with code NoSuchUpload: the upload is over (versitygw: -EINVAL, code InvalidPart); with
 * may_have_acted, perhaps because an earlier attempt completed it: a HEAD of the key tells. */
struct s3_complete {
    const char *key, *upload_id;
    const struct s3_part_done *parts; /* numbers ascending */
    size_t n_parts;                   /* 1..S3_PARTS_MAX */
    const char *if_match;             /* NULL or an ETag, never "*" */
    const char *if_none_match;        /* "*" or NULL */
};

struct s3_list_entry {
    const char *key; /* whole key, decoded, NUL-terminated; a key with NUL is left out */
    size_t key_len;
    bool is_prefix; /* a CommonPrefix; size, mtime, etag are then empty */
    uint64_t size;
    int64_t mtime_ns;
    const char *etag; /* "" = none was told */
};

struct s3_list {
    const char *prefix;
    const char *delimiter;   /* NULL or "/" */
    const char *start_after; /* NULL or a key: nothing is told that is not behind it */
    const char *token; /* NULL, or a continuation token, sent in place of start_after; "": neither
                        * is sent */
    unsigned max_keys; /* 1..1000, 0 = 1000: more are never told */
    /* Each entry, sorted by the bytes of its key, each once, when the answer is whole. Negative
     * errno ends the request. */
    int (*on_entry)(void *arg, const struct s3_list_entry *entry);
};

/* Each starts a request. 0 and *ret_req (valid until `done` or s3_cancel; may be NULL if not
 * wanted), or -errno (-ENOMEM, -EINVAL for a key that must not be sent) without calling `done`.
 * Strings are copied, bodies are not. `done` is never called before the function returned. */
must_use int s3_get(struct s3_client *c, const struct s3_get *get, s3_done_fn *done, void *arg,
                    struct s3_req **ret_req);
must_use int s3_head(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
                     struct s3_req **ret_req);
/* The same, but -ENOENT may be wrong where the server does not take our credentials (a HEAD has no
 * code): for those who ask on, by a LIST. */
must_use int s3_head_guess(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
                           struct s3_req **ret_req);
must_use int s3_put(struct s3_client *c, const struct s3_put *put, s3_done_fn *done, void *arg,
                    struct s3_req **ret_req);
must_use int s3_delete(struct s3_client *c, const struct s3_delete *del, s3_done_fn *done,
                       void *arg, struct s3_req **ret_req);
must_use int s3_copy(struct s3_client *c, const struct s3_copy *copy, s3_done_fn *done, void *arg,
                     struct s3_req **ret_req);
must_use int s3_list(struct s3_client *c, const struct s3_list *list, s3_done_fn *done, void *arg,
                     struct s3_req **ret_req);

/* s3_multipart.c. -EINVAL also for numbers and ETags that cannot be, -EFBIG for a part that is too
 * large. An abort of an upload that is over: -ESTALE with code NoSuchUpload. */
must_use int s3_create(struct s3_client *c, const struct s3_create *create, s3_done_fn *done,
                       void *arg, struct s3_req **ret_req);
must_use int s3_part(struct s3_client *c, const struct s3_part *part, s3_done_fn *done, void *arg,
                     struct s3_req **ret_req);
must_use int s3_part_copy(struct s3_client *c, const struct s3_part_copy *copy, s3_done_fn *done,
                          void *arg, struct s3_req **ret_req);
must_use int s3_complete(struct s3_client *c, const struct s3_complete *complete, s3_done_fn *done,
                         void *arg, struct s3_req **ret_req);
must_use int s3_abort(struct s3_client *c, const char *key, const char *upload_id, s3_done_fn *done,
                      void *arg, struct s3_req **ret_req);

/* Lets go what waits at the gate, in the next turn of the loop; nothing waits at it from now on. */
void s3_gate_open(struct s3_client *c, struct s3_gate *gate);

/* Ends a request without calling `done`. Not from inside its own callbacks. */
void s3_cancel(struct s3_req *req);

/* Requests in flight, waiting ones included. */
unsigned s3_in_flight(const struct s3_client *c);

#endif
