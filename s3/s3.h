/* Requests to one S3 bucket on the caller's event loop. Nothing blocks; every request ends with
 * exactly one call of its `done`, unless it is cancelled, which calls nothing.
 *
 * The client retries within a request's deadline (s3_retry.h), so `done` sees the final outcome. It
 * knows nothing of shared memory and can be used as a library. */
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
#define S3_ETAG_MAX 72  /* bytes of a normalised ETag (s3_etag.h), and NUL */
#define S3_ETAG_EMPTY "\"d41d8cd98f00b204e9800998ecf8427e\"" /* the ETag of every empty object */
#define S3_SERVER_MAX 64               /* name that a server gives itself, and NUL */
#define S3_CODE_MAX 64                 /* bytes of an S3 error code, and NUL */
#define S3_TYPE_MAX 128                /* bytes of a Content-Type, and NUL */
#define S3_VERSION_MAX 128             /* a version id, and NUL */
#define S3_CLASS_MAX 32                /* a storage class, and NUL */
#define S3_KEPT_MAX 2560               /* the other headers of one object that are kept */
#define S3_SSE_MAX 16                  /* a way of encryption, and NUL */
#define S3_SSE_KEY_MAX 256             /* a key's id in responses, and NUL */
#define S3_META_MAX 2304               /* user metadata of one object: S3's 2 KiB and separators */
#define S3_TOKEN_MAX 2048              /* a continuation token, and NUL */
#define S3_TAGS_MAX 6144               /* tags as a header: S3 takes 8 KiB of headers in all */
#define S3_LIST_MAX 1000               /* maximum number of entries of one page */
#define S3_REGION_MAX 64               /* a region's name, and NUL */
#define S3_REGION_AUTO "auto"          /* R2's only one; at AWS: the bucket's, whatever that is */
#define S3_HOST_MAX 128                /* scheme and host, and NUL */
#define S3_REQUEST_ID_MAX 64           /* the server's own id of a request, and NUL */
#define S3_TEXT_MAX 256                /* description of a failure, and NUL */
#define S3_PUT_MAX (UINT64_C(5) << 30) /* maximum bytes of one PUT, and of a part */
#define S3_PARTS_MAX 10000             /* maximum number of parts of one upload */
#define S3_OBJECT_MAX (S3_PARTS_MAX * S3_PUT_MAX) /* bytes of an object: 48.8 TiB */
#define S3_UPLOAD_ID_MAX 1024                     /* bytes of an upload id, and NUL */

struct s3_client;
struct s3_req;
struct s3_cred_source;
struct s3_result;

enum s3_addressing { S3_ADDRESSING_AUTO, S3_ADDRESSING_PATH, S3_ADDRESSING_VIRTUAL };
enum s3_payload_signing { S3_SIGN_AUTO, S3_SIGN_ALWAYS, S3_SIGN_NEVER };

/* A checksum that S3 keeps with an object (s3_crc.h). */
enum s3_crc { S3_CRC_NONE, S3_CRC_64NVME, S3_CRC_32C };

/* How a server differs from S3: bits of one word, shared by all clients of that server. A bit is
 * set atomically and never cleared. It changes what is sent, never how a response is judged. */
enum s3_habit {
    /* the form of a condition: */
    S3_HABIT_BARE_PUT_MATCH = 1, /* If-Match of a PUT only works without quotes (Ceph) */
    S3_HABIT_BARE_ETAGS = 2,     /* headers carry ETags without quotes, so they are sent without */
    S3_HABIT_UPPER_ETAGS = 4,    /* the same, in upper case */
    S3_HABIT_FORM = S3_HABIT_BARE_PUT_MATCH | S3_HABIT_BARE_ETAGS | S3_HABIT_UPPER_ETAGS,

    S3_HABIT_WEAK_ETAGS = 8, /* ETags have the prefix W/ */
    /* conditions that it does not know, or refuses although they hold: */
    S3_HABIT_NO_PUT_MATCH = 16,
    S3_HABIT_NO_DELETE_MATCH = 32,
    S3_HABIT_NO_COPY_TARGET = 64,
    S3_HABIT_NO_COPY_SOURCE = 128, /* s3_copy compares with a HEAD first */

    S3_HABIT_VIRTUAL_HOST = 256, /* it refuses path addressing: AUTO means VIRTUAL */
    S3_HABIT_CONTRADICTS = 512,  /* a response in use contradicted what the probe found */
    S3_HABIT_NO_VERSIONS = 1024, /* the server, or its policy, refuses a GET by version id */
    S3_HABIT_MD5_ETAGS = 2048, /* an ETag was the MD5 of the bytes: one that is not means others */
    S3_HABIT_NO_CHECKSUMS = 4096, /* it refuses requests with a checksum: none is sent */
    S3_HABIT_CHECKSUMS = 8192,    /* it has taken one */
    /* the bucket's policy refuses changes without a condition: s3_enforce.h */
    S3_HABIT_WANTS_CONDITIONS = 16384,
    S3_HABIT_NO_TAGS = 32768, /* tags may not be read or written: what is written goes without */
    /* Complete of an upload that does not exist is answered 200 where the key has an object */
    S3_HABIT_BLIND_COMPLETE = 65536,
    /* an object is encrypted otherwise than the bucket does by itself: a copy has to say so */
    S3_HABIT_OWN_SSE = 131072,
};

/* Counters that the client increments. They may start at any value. */
struct s3_counters {
    uint64_t *requests;  /* by enum s3_op_kind, S3_N_OPS of them: as asked for, not as attempted */
    uint64_t *in_bytes;  /* of objects, as delivered */
    uint64_t *out_bytes; /* of request bodies, as handed to the network: resent bytes count again */
    uint64_t *retries;   /* attempts after the first */
    uint64_t *errors;    /* failed requests; "does not exist" is not a failure */
    /* Called when a request has its result, with the time since it was asked for, waits and all
     * attempts included; or NULL. `kind`: enum s3_op_kind, as asked for. Not for requests that were
     * cancelled. */
    void (*ended)(void *arg, unsigned kind, uint64_t ns, const struct s3_result *res);
    void *arg;
};

struct s3_tls;
/* What goes with requests beside what they are about. Strings are borrowed; NULL or "" = none. */
struct s3_options {
    const char *bucket_owner; /* 12 digits: the account that must own the bucket */
    bool requester_pays;
    const char *sse;        /* "AES256", "aws:kms", "aws:kms:dsse": of what is written */
    const char *kms_key;    /* with aws:kms */
    const char *bucket_key; /* "true", "false" */
    /* SSE-C: the key of everything that is read and written, and its MD5; both in base64. An object
     * that was stored without a key is read all the same. */
    const char *customer_key, *customer_key_md5;
    const char *storage_class; /* in place of the bucket's default */
    const char *acl;           /* of everything that is written */
    const char *tags;          /* of new objects: a=b&c=d, percent-encoded */
    const char *cache_control; /* of objects that have none */
    /* The Content-Type of a key whose writer gives none; NULL = S3's default. */
    const char *(*type_of)(const void *arg, const char *key);
    const void *type_arg;
};

/* Strings are borrowed and must outlive the client. Times in nanoseconds. */
struct s3_client_conf {
    const char *endpoint; /* URL, may have a base path; NULL or "" = AWS's for the region */
    const char *region;   /* may be S3_REGION_AUTO */
    const char *bucket;   /* a name, an alias or the ARN of an access point */
    bool dualstack, fips, accelerate; /* of AWS's endpoints */
    const char *ca_bundle;            /* file of PEM certificates; NULL or "" = the system's */
    const char *client_cert; /* file of PEM, shown to a server that asks; NULL or "" = none */
    const char *client_key;  /* its key; NULL or "" = in the same file */
    bool tls_insecure;       /* no certificate is checked */
    struct s3_tls *tls;      /* these files as s3_tls_new read them; borrowed. NULL = read now */
    enum s3_addressing addressing;
    enum s3_payload_signing payload_signing; /* AUTO: signed over plain HTTP only */
    enum s3_crc checksum; /* sent with what is stored, while the server takes it */
    bool response_checks; /* whole objects are compared with the checksum that S3 has of them */
    uint64_t connect_timeout_ns;
    uint64_t attempt_timeout_ns; /* an attempt fails when no byte has moved for so long */
    /* For a whole request with all attempts and waits. It restarts whenever 64 KiB more of the body
     * have moved than ever before, and an attempt whose body moves is not cut off: it limits
     * outages, not sizes. */
    uint64_t deadline_ns;
    unsigned max_attempts; /* attempts that the server answered; 1 = no retry of any kind */
    unsigned max_connections;
    const struct s3_options *options;   /* borrowed; NULL = none */
    const struct s3_counters *counters; /* borrowed; NULL = none */
    uint32_t
        *retry_spent; /* of the bucket of s3_retry.h; borrowed, may be shared; 0 at first. NULL =
                            * private to this client */
    uint32_t *habits; /* enum s3_habit; borrowed, may be shared. NULL = private to this client */
    /* S3_HABIT_FORM is final: conditions were tested in that form, no other is tried. */
    bool form_is_known;
    void (*on_habit)(enum s3_habit habit); /* called once for a new habit, by the client that found
                                            * it; or NULL */
    /* Called for a request that ends with a failure, before its `done`; or NULL. A refused
     * condition and "does not exist" are none. */
    void (*on_failure)(const struct s3_result *res);
    /* Called when the server said that the bucket is in another region than requests were signed
     * for: the client uses that one from now on. Or NULL. */
    void (*on_region)(void *arg, const char *region);
    void *region_arg;
    bool etags_required; /* -EIO for a response without an ETag, except for markers (key/) */
    char *server; /* S3_SERVER_MAX bytes, filled once with the server's name from responses; or
                   * NULL */
};

/* 0 and *ret_client, or -errno with *err filled (EINVAL: bad endpoint, unreadable CA bundle;
 * ENOMEM). `loop` and `creds` (s3_cred.h) are borrowed. To be called after fork. */
must_use int s3_client_new(struct loop *loop, const struct s3_client_conf *conf,
                           struct s3_cred_source *creds, struct s3_client **ret_client,
                           struct err *err);

/* Cancels all requests without callbacks. NULL is allowed. Not from inside a callback. */
void s3_client_free(struct s3_client *client);

/* True for AWS's own endpoints; NULL and "" are such. */
bool s3_endpoint_is_aws(const char *endpoint);

/* The Content-Type that s3_put gives to this key by itself. */
const char *s3_usual_type(const struct s3_client *client, const char *key);

/* The region that requests are signed for now. */
const char *s3_client_region(const struct s3_client *client);

bool s3_habit_has(const struct s3_client *client, enum s3_habit habit);

/* Sets the habit. True if it was not set before. */
bool s3_habit_learn(struct s3_client *client, enum s3_habit habit);

/* Headers: name NUL value NUL ..., names in lower case. */
struct s3_pairs {
    size_t len;
    char text[S3_KEPT_MAX];
};

/* What a response says about an object. Fields that it does not mention are zeroed. */
struct s3_object {
    uint64_t size;    /* of the whole object, also on a ranged GET */
    int64_t mtime_ns; /* Last-Modified, since the epoch */
    char etag[S3_ETAG_MAX];
    char content_type[S3_TYPE_MAX];   /* "" if there was none, or one that is too long */
    char version[S3_VERSION_MAX];     /* the same; "" in a bucket without versions */
    char storage_class[S3_CLASS_MAX]; /* "" means STANDARD */
    bool own_type;      /* somebody set the type: it is not the one that s3_put gives by itself */
    bool own_etag;      /* it is encrypted so that its ETag is no MD5 */
    bool archived;      /* its bytes have to be restored before they can be read */
    unsigned tags;      /* how many, as far as we may know */
    unsigned kept_lost; /* headers that `kept` should have, but cannot */
    /* User metadata: name NUL value NUL ..., names in lower case without "x-amz-meta-", values as
     * sent (the caller decodes); what does not fit is left out. */
    size_t meta_len;
    char meta[S3_META_MAX];
    /* What else its writers said, and a successor says again: Cache-Control, Content-Disposition,
     * -Encoding, -Language, Expires, the redirect of a website, storage class and encryption where
     * they are not the usual ones. Tags are not among the headers. */
    struct s3_pairs kept;
};

/* The value of one metadata name, NULL if absent. */
const char *s3_object_meta(const struct s3_object *obj, const char *name);

/* At which stage a request failed. */
enum s3_fail {
    S3_FAIL_NONE,
    S3_FAIL_ANSWER,      /* the server refused it: see http_status and code */
    S3_FAIL_RESOLVE,     /* the host name of the endpoint (or proxy) cannot be resolved */
    S3_FAIL_CONNECT,     /* no connection could be established */
    S3_FAIL_TLS,         /* handshake or certificate */
    S3_FAIL_STALLED,     /* no byte moved for the attempt timeout, or the deadline passed */
    S3_FAIL_BROKEN,      /* the connection broke before the answer was whole */
    S3_FAIL_PROTOCOL,    /* the response is not an S3 response */
    S3_FAIL_CREDENTIALS, /* no credentials are available */
    S3_FAIL_LOCAL,       /* memory, reading the body, or an error that a callback returned */
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
    int error;                          /* 0 or -errno (s3_error.h has the table) */
    enum s3_fail fail;                  /* of the last attempt; NONE when error is 0 */
    enum s3_tls_trouble tls;            /* with S3_FAIL_TLS: what */
    int http_status;                    /* of the last answer; 0 = none came */
    char code[S3_CODE_MAX];             /* S3 error code, "" if none */
    char text[S3_TEXT_MAX];             /* for the log: what failed, in a few words */
    char request_id[S3_REQUEST_ID_MAX]; /* x-amz-request-id of the last answer, "" if none came */
    bool not_modified;                  /* 304 to If-None-Match: error is 0 */
    /* A changing request failed, or succeeded only in a later attempt, and an attempt without a
     * clear answer may have been carried out by the server. */
    bool may_have_acted;
    /* PUT: after an attempt the server said that it has stored other bytes. With an error they may
     * still be there, under the metadata that were sent. */
    bool stored_other;
    unsigned attempts;
    char location[S3_HOST_MAX]; /* scheme and host of a redirection; else "" */
    char region[S3_REGION_MAX]; /* the bucket's region, if a refusal names it; else "" */
    /* GET, HEAD; PUT, COPY, a part and a completed upload: etag (and mtime of copies) */
    struct s3_object obj;
    bool truncated;         /* LIST: more entries follow after the last one reported */
    const char *next_token; /* LIST: the server's token for that place, or NULL; valid during
                             * `done` */
    unsigned n_entries;     /* LIST: entries reported; 0 and truncated: the page had nothing new */
    const char *upload_id;  /* CREATE: valid during `done` */
    bool tags_lost;         /* TAGS: they take more than S3_TAGS_MAX bytes */
    const char *tags;       /* TAGS: a=b&c=d, percent-encoded, or NULL: none; valid during `done` */
    /* PUT, a part: what was sent with it; CREATE: what its parts and s3_complete have to name */
    enum s3_crc checksum;
    uint64_t crc; /* PUT, a part */
};

/* The server refused a request with a condition in a way that may mean that it does not support the
 * condition: 501, 405, or a 400 without a specific code. */
bool s3_condition_unknown(int http_status, const char *code);

/* The same of the answer to a request that had a condition (`asked`; false: it had none). True: the
 * habit that says so has been noted, and the request is to be sent again without it. */
bool s3_condition_dropped(struct s3_client *client, bool asked, const struct s3_result *res,
                          enum s3_habit habit);

/* The object's bytes are archived, and have to be restored before they can be read. */
bool s3_is_archived(const char *code);

/* The server refused a GET by version id, or of tags, in a way that will repeat: it is not
 * permitted, or the server does not support them. */
bool s3_version_refused(int http_status, const char *code);

/* `res` is valid only during the call. The request is freed when this returns; it may start
 * others. */
typedef void s3_done_fn(void *arg, const struct s3_result *res);

/* A GET. `on_head` is called once when a 200/206 has arrived, `on_data` for each piece, in order,
 * each byte once: when a response breaks off, the rest is requested with If-Match, so that pieces
 * never mix two versions. Either may return a negative errno, which ends the request with that
 * error. `off` is the offset in the object. */
struct s3_get {
    const char *key;
    /* NULL, or a version id: -ESTALE if it no longer exists (code NoSuchVersion) */
    const char *version;
    uint64_t off;
    uint64_t len;              /* 0 = to the end (no Range header when off is 0) */
    const char *if_match;      /* NULL or an ETag; 412 -> -ESTALE */
    const char *if_none_match; /* NULL or an ETag; 304 -> not_modified */
    int (*on_head)(void *arg, const struct s3_object *obj);
    int (*on_data)(void *arg, uint64_t off, const void *data, size_t len);
    /* Not NULL: a response with the whole object (`off` is 0, and `len` reaches to its end) is
     * checked against its ETag, if that is an MD5, before the last piece is delivered. If it does
     * not match, this is called, the request restarts, and on_head is called once more; -EIO if the
     * mismatch persists. (Not without retries: max_attempts.) */
    void (*on_restart)(void *arg);
};

struct s3_meta_pair {
    const char *name;  /* without "x-amz-meta-" */
    const char *value; /* ASCII; the caller percent-encodes */
};

/* Bytes to send: `len` bytes from offset `off`, in memory or read with pread(2) from a descriptor.
 * Both are borrowed until `done`. */
struct s3_body {
    const void *mem; /* NULL = from fd */
    int fd;
    uint64_t off;
    uint64_t len;
};

/* Makes several concurrent PUTs take effect at the same time: each sends all but the last byte of
 * its body and waits. Zeroed, then `on_held` set; borrowed until their `done`. */
struct s3_gate {
    unsigned held;                         /* requests that wait at the gate */
    bool open;                             /* set by s3_gate_open: no request waits any more */
    void (*on_held)(struct s3_gate *gate); /* one more request waits: may open the gate; or NULL */
};

struct s3_put {
    const char *key;
    struct s3_body body;
    struct s3_gate *gate;     /* or NULL; a body of 2 bytes or more waits at it */
    const char *content_type; /* NULL = by s3_options.type_of, or binary/octet-stream */
    const struct s3_meta_pair *meta;
    size_t n_meta;
    const struct s3_pairs *kept; /* headers to send too, or NULL */
    /* NULL, or those that s3_tags returned; valid until `done`. Refused with 403: sent without. */
    const char *tags;
    /* 412 -> -EEXIST with code PreconditionFailed; 404 NoSuchKey -> -ENOENT. Never "*". */
    const char *if_match;
    const char *if_none_match; /* "*" or NULL */
    bool bare_match;           /* if_match is sent without quotes: a trial
                                * (S3_HABIT_BARE_PUT_MATCH) */
    /* An answer that says that other bytes were stored ends it: -EIO with stored_other. Otherwise
     * it is repeated, under the ETag of that answer if it has a condition: which may be another
     * writer's, where a server looks it up after the PUT. */
    bool once_wrong;
};

struct s3_copy {
    const char *from_key; /* same bucket */
    const char *to_key;
    /* NULL or an ETag; 412 -> -ESTALE. For a server that does not support it: HEAD, compare,
     * copy. */
    const char *if_source_match;
    /* NULL or an ETag: what to_key must be; 412 -> -ESTALE. AWS enforces it. versitygw, MinIO and
     * others ignore it and copy; it is not sent to a server that refuses it as unknown. */
    const char *if_match;
    /* "*" or NULL: to_key must not exist; 412 -> -ESTALE with http_status 412 (that is another for
     * a source of another version). Not sent where if_match would not be. */
    const char *if_none_match;
    /* A refusal is final: no condition is dropped, nor the source compared with a HEAD instead. */
    bool strict;
    bool replace_meta; /* true: meta, content_type and `kept` replace the source's */
    bool is_new;       /* a new file with the source's bytes: it does not get the source's tags */
    const char *content_type;
    const struct s3_meta_pair *meta;
    size_t n_meta;
    /* Headers to send too, or NULL. Without replace_meta only those that a copy loses by itself:
     * class, encryption, redirect. */
    const struct s3_pairs *kept;
    const char *tags; /* as of s3_put: in place of those of the source */
};

/* *kept is what a copy of an object of this class (s3_list_entry) has to be given to stay in it
 * (s3_copy.kept): nothing for the default, or an archive. */
void s3_class_keep(struct s3_pairs *kept, const char *storage_class);

/* A PUT on the condition that nothing is there, or an empty object, is only retried after this time
 * if the failed attempt may have taken effect (no response, or one of a gateway): an attempt that
 * takes effect late may find its condition true again, and bring back what has been deleted
 * meanwhile. */
#define S3_SETTLE_NS NS_PER_S

/* S3_SETTLE_NS, or half of this client's deadline if that is less. */
uint64_t s3_settle_ns(const struct s3_client *c);

struct s3_delete {
    const char *key;
    const char *if_match; /* NULL or an ETag; 412 -> -EEXIST */
    bool once; /* no retry after an attempt that the server may have carried out (may_have_acted) */
};

/* Multipart uploads: created, parts sent in any order and concurrently, then completed, or aborted
 * (which needs a separate permission). An upload that is neither persists, and is billed. */

/* Returns result.upload_id, and in result.checksum the kind of checksum that S3 expects of each
 * part (S3_CRC_NONE: of none). A retry may leave another, empty upload behind. */
struct s3_create {
    const char *key;
    bool checksum;            /* each part will be sent with one */
    const char *content_type; /* as for s3_put, and the next */
    const struct s3_meta_pair *meta;
    size_t n_meta;
    const struct s3_pairs *kept;
    const char *tags;
};

/* Sending a part again replaces it. -ESTALE with code NoSuchUpload: the upload has ended. */
struct s3_part {
    const char *key, *upload_id;
    unsigned number; /* 1..S3_PARTS_MAX */
    struct s3_body body;
    enum s3_crc checksum; /* as s3_create returned it; result.crc is the part's */
};

struct s3_part_copy {
    const char *key, *upload_id;
    unsigned number;
    const char *from_key;        /* same bucket */
    uint64_t off, len;           /* len 0 = the whole object (off is 0 then) */
    const char *if_source_match; /* NULL or an ETag; 412 -> -ESTALE, code PreconditionFailed */
};

struct s3_part_done {
    unsigned number;
    const char *etag;  /* as in the response for the part */
    uint64_t crc, len; /* with a checksum: its own, and its bytes */
};

/* Conditions as for s3_put: 412 -> -EEXIST with code PreconditionFailed (the upload stays open),
 * 404 NoSuchKey -> -ENOENT; -EBUSY: there was a concurrent change, the upload has to be repeated
 * from the start. -ESTALE with code NoSuchUpload: the upload has ended (versitygw: -EINVAL, code
 * InvalidPart); with may_have_acted, perhaps because an earlier attempt completed it: a HEAD of the
 * key shows it. */
struct s3_complete {
    const char *key, *upload_id;
    const struct s3_part_done *parts; /* in ascending order of number */
    size_t n_parts;                   /* 1..S3_PARTS_MAX */
    /* As s3_create returned it: S3 compares the parts' and the object's with what it has. Not with
     * parts that were copied. */
    enum s3_crc checksum;
    const char *if_match;      /* NULL or an ETag, never "*" */
    const char *if_none_match; /* "*" or NULL */
    bool bare_match;           /* as for s3_put */
};

struct s3_list_entry {
    const char *key; /* whole key, decoded, NUL-terminated; keys with a NUL are left out */
    size_t key_len;
    bool is_prefix; /* a CommonPrefix; size, mtime and etag are then empty */
    uint64_t size;
    int64_t mtime_ns;
    const char *etag;          /* "" = the listing has none */
    const char *storage_class; /* "" = STANDARD, or the listing does not say */
};

struct s3_list {
    const char *prefix;
    const char *delimiter;   /* NULL or "/" */
    const char *start_after; /* NULL or a key: only entries after it are reported */
    const char *token; /* NULL, or a continuation token, which is sent in place of start_after; "":
                        * neither is sent */
    unsigned max_keys; /* 1..1000, 0 = 1000: never more are reported */
    /* Called for each entry, in byte order of keys, each once, when the response is complete. A
     * negative errno ends the request. */
    int (*on_entry)(void *arg, const struct s3_list_entry *entry);
};

/* Each starts a request. 0 and *ret_req (valid until `done` or s3_cancel; may be NULL if not
 * wanted), or -errno (-ENOMEM, -EINVAL for a key that must not be sent) without calling `done`.
 * Strings are copied, bodies are not. `done` is never called before the function has returned. */
must_use int s3_get(struct s3_client *c, const struct s3_get *get, s3_done_fn *done, void *arg,
                    struct s3_req **ret_req);
must_use int s3_head(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
                     struct s3_req **ret_req);
/* The object's tags. -ENOENT: no such key; a refusal: s3_tags_refused. */
must_use int s3_tags(struct s3_client *c, const char *key, s3_done_fn *done, void *arg,
                     struct s3_req **ret_req);
/* True if `res` of s3_tags says that tags may not be read, or that the server has none: that is
 * learned (S3_HABIT_NO_TAGS), and what is written goes without. */
bool s3_tags_refused(struct s3_client *c, const struct s3_result *res);
/* HEAD, but -ENOENT may be wrong if the server rejects our credentials (the response to a HEAD
 * has no code): for callers that follow up with a LIST. */
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

/* s3_multipart.c. Also -EINVAL for invalid part numbers and ETags, -EFBIG for a part that is too
 * large. Aborting an upload that has ended: -ESTALE with code NoSuchUpload. */
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

/* Releases the requests at the gate, in the next turn of the loop; no request waits at it from now
 * on. */
void s3_gate_open(struct s3_client *c, struct s3_gate *gate);

/* Ends a request without calling `done`. Not from inside its own callbacks. */
void s3_cancel(struct s3_req *req);

/* A GET: no more bytes are delivered until s3_go_on (those of the piece at hand still are). Its
 * deadline and the attempt timeout stand still meanwhile. Callable from its callbacks. */
void s3_hold_on(struct s3_req *req);
void s3_go_on(struct s3_req *req);

/* Number of requests in flight, waiting ones included. */
unsigned s3_in_flight(const struct s3_client *c);

#endif
