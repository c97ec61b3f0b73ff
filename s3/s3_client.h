/* The client's internals, shared by the files of s3/; everything outside includes s3.h. */
#ifndef S3_S3_CLIENT_H
#define S3_S3_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "base/loop.h"
#include "s3/s3.h"
#include "s3/s3_cred.h"
#include "s3/s3_endpoint.h"
#include "s3/s3_retry.h"
#include "s3/s3_sigv4.h"
#include "s3/s3_url.h"

#define S3_IDLE_HANDLES 8

struct s3_req_list {
    struct s3_req *first, *last;
};

struct s3_multi_ops;
struct s3_sock;
struct s3_tls;

/* How an object is encrypted; all empty = not known. */
struct s3_sse {
    char name[S3_SSE_MAX];
    char key[S3_SSE_KEY_MAX];
    bool bucket_key;
    bool known; /* an answer has told */
};

struct s3_client {
    struct loop *loop;
    struct s3_client_conf conf;
    struct s3_endpoint endpoint; /* as configured */
    struct s3_url url;
    uint64_t moves; /* how often the region changed */
    struct s3_cred_source *creds;
    struct s3_cred *cred; /* sodium memory; of the attempt being made */

    CURLM *multi;
    const struct s3_multi_ops *multi_ops;
    CURLSH *share;
    struct s3_tls *tls; /* NULL over plain HTTP */
    struct loop_timer curl_timer;
    struct loop_timer kick;
    struct s3_sock *socks;
    CURL *idle[S3_IDLE_HANDLES];
    unsigned n_idle;
    bool in_curl; /* inside a curl call that may call back */

    struct s3_req_list queue, busy;
    unsigned n_reqs, n_active;
    unsigned limit;    /* maximum of n_active; halved by throttling */
    unsigned in_a_row; /* successes since the limit last changed */
    uint64_t throttled_ns;
    struct s3_retry_bucket bucket;
    bool no_lengths;  /* a response came without Content-Length */
    bool odd_etag;    /* of a PUT: the last one that looked like an MD5 was none of what was sent */
    bool other_etags; /* some ETags are certainly no MD5, and none matched: no longer checked */
    struct s3_sse usual_sse;           /* of what was written without a word about it */
    uint32_t own_habits;               /* used if conf.habits is NULL */
    int64_t skew_ns;                   /* by which the server's clock is ahead */
    uint64_t good_ns, good_generation; /* time when the server last accepted these credentials */
    uint64_t generation;               /* generation of the credentials used last */
};

bool s3_client_signs_payload(const struct s3_client *c);

#endif
