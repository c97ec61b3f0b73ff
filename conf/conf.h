/* The configuration: one YAML file, the environment and the defaults become one immutable struct
 * conf, and every value knows where it came from. The environment overrides the file, and the file
 * overrides the defaults.
 *
 * conf_keys.c declares every key; this struct has one field for each, in the same nesting. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"

#define CONF_HOLDER_NAME_MAX 256 /* with NUL */

enum conf_variant { CONF_S3_BUFFERED_LWW, CONF_S3_BUFFERED_CAS, CONF_S3_PASSTHROUGH };

enum conf_addressing { CONF_ADDRESSING_AUTO, CONF_ADDRESSING_PATH, CONF_ADDRESSING_VIRTUAL };

enum conf_payload_signing { CONF_SIGN_AUTO, CONF_SIGN_ALWAYS, CONF_SIGN_NEVER };

enum conf_checksum { CONF_CHECKSUM_CRC64NVME, CONF_CHECKSUM_CRC32C, CONF_CHECKSUM_NONE };

/* The words of AWS's clients: wherever the server takes them, or where a request needs one. */
enum conf_checksum_when { CONF_CHECKSUM_SUPPORTED, CONF_CHECKSUM_REQUIRED };
enum conf_sse { CONF_SSE_OFF, CONF_SSE_S3, CONF_SSE_KMS, CONF_SSE_KMS_DSSE, CONF_SSE_CUSTOMER };

enum conf_bucket_key { CONF_BUCKET_KEY_AUTO, CONF_BUCKET_KEY_ON, CONF_BUCKET_KEY_OFF };

enum conf_acl {
    CONF_ACL_NONE,
    CONF_ACL_PRIVATE,
    CONF_ACL_PUBLIC_READ,
    CONF_ACL_PUBLIC_READ_WRITE,
    CONF_ACL_AUTHENTICATED_READ,
    CONF_ACL_AWS_EXEC_READ,
    CONF_ACL_OWNER_READ,
    CONF_ACL_OWNER_FULL_CONTROL,
};

enum conf_content_type { CONF_TYPE_SUFFIX, CONF_TYPE_OFF };

enum conf_metadata { CONF_METADATA_FULL, CONF_METADATA_IGNORE };

enum conf_probe { CONF_PROBE_AUTO, CONF_PROBE_REQUIRE, CONF_PROBE_WARN, CONF_PROBE_OFF };

enum conf_sandbox { CONF_SANDBOX_AUTO, CONF_SANDBOX_REQUIRE, CONF_SANDBOX_OFF };

enum conf_metadata_mode { CONF_METADATA_IPV4, CONF_METADATA_IPV6 };

/* How a CSI driver hands the descriptor of its mount over (daemon/driver.h). */
enum conf_fd_protocol {
    CONF_FD_NONE,
    CONF_FD_META_FUSE,
    CONF_FD_GCSFUSE,
    CONF_FD_MOUNTPOINT,
};

enum conf_on_kill { CONF_ON_KILL_DISCARD, CONF_ON_KILL_PUBLISH };

struct conf_origins;

/* Strings belong to the struct and are never NULL ("" = not given), unless noted. Sizes in
 * bytes, times in nanoseconds (`_ns`). Ranges are those of conf_keys.c. */
struct conf {
    const char *bucket;
    const char *prefix; /* no slash at either end; "" = the whole bucket */
    enum conf_variant variant;
    enum conf_metadata metadata;
    enum conf_sandbox sandbox;
    enum conf_content_type content_type; /* metadata.content_type */

    struct {
        const char *region;
        const char *endpoint; /* URL without a slash at its end; "" = AWS's */
        bool dualstack, fips, accelerate;
        const char *expected_bucket_owner; /* twelve digits; "" = not checked */
        bool requester_pays;
        enum conf_sse sse;
        const char *sse_kms_key_id; /* "" = the bucket's, or the account's */
        enum conf_bucket_key sse_bucket_key;
        const char *sse_customer_key_file; /* absolute path; "" = none */
        const char *storage_class;         /* "" = the bucket's default */
        enum conf_acl acl;
        const char *tags;          /* "a=b&c=d", percent-encoded; "" = none */
        const char *cache_control; /* "" = none */
        const char *ca_bundle;     /* absolute path; "" = the system's */
        const char *client_cert;   /* absolute path; "" = none */
        const char *client_key;    /* absolute path; "" = in client_cert's file */
        bool tls_insecure;
        enum conf_addressing addressing;
        enum conf_payload_signing payload_signing;
        uint64_t connect_timeout_ns;
        uint64_t attempt_timeout_ns;
        uint64_t deadline_ns;
        unsigned max_attempts;
        unsigned connections; /* per worker */

        /* In read-only sodium memory, base64 of 32 bytes; NULL = not given. Kept by
         * conf_forget_secrets: the workers send it. */
        const char *sse_customer_key;
        /* In read-only sodium memory. NULL after conf_forget_secrets. */
        const char *access_key_id;
        const char *secret_access_key;
        const char *session_token; /* also NULL when none was given */
    } s3;

    struct {
        enum conf_checksum algorithm; /* of what is sent */
        enum conf_checksum_when request, response;
    } checksum;

    /* Where credentials come from when s3.access_key_id is not given; "" = not given. */
    struct {
        const char *expiration; /* of the keys in s3 */
        const char *role_arn;
        const char *web_identity_token_file; /* absolute path, as all files here */
        const char *role_session_name;
        const char *profile;
        const char *config_file;
        const char *credentials_file;
        const char *container_relative_uri;
        const char *container_full_uri;
        const char *container_token_file;
        const char *container_token; /* as the secrets of s3 */
        bool metadata_disabled;
        const char *metadata_endpoint;
        enum conf_metadata_mode metadata_mode;
        const char *sts_endpoint;
        const char *sso_endpoint;
    } credentials;

    struct {
        /* absolute, normal form; or /dev/fd/N; "" = no mount. With fd_socket only a name. */
        const char *path;
        int fd;                            /* N of /dev/fd/N, else -1 */
        const char *fd_socket;             /* absolute; "" = none */
        enum conf_fd_protocol fd_protocol; /* NONE without fd_socket, and only then */
        uint64_t fd_timeout_ns;
        bool create; /* the directory, if it is not there */
        bool allow_other;
        bool default_permissions;
        bool read_only;
        bool noexec;
        const char *source; /* as the kernel shows it; "" = stateproxy */
        uid_t uid;
        gid_t gid;
        mode_t file_mode; /* permission bits only */
        mode_t dir_mode;
        uint64_t read_ahead;
    } mount;

    struct {
        const char *socket; /* absolute; "" = none */
        mode_t mode;
        unsigned presign_ttl; /* seconds */
    } connector;

    struct {
        const char *listen; /* an absolute path, or an address of TCP; "" = none */
        mode_t mode;        /* of the path */
    } metrics;

    struct {
        unsigned max_keys;
        unsigned max_fetch_keys;
        uint64_t max_fetch_bytes;
        unsigned max_result_rows;
    } query;

    struct {
        unsigned count;   /* 0 = from the CPU quota */
        const char *user; /* "" = one without rights, or the starting user (sandbox.h) */
    } workers;

    struct {
        uint64_t limit; /* 0 = from the cgroup */
    } memory;

    struct {
        uint64_t memory;   /* of one session, before it goes to its file */
        const char *dir;   /* absolute */
        unsigned sessions; /* files open for writing at once */
    } buffer;

    struct {
        uint64_t multipart_threshold;
        uint64_t part_size;
        uint64_t copy_limit;
        unsigned concurrency; /* parts of one file */
        bool early;           /* while the file is written */
    } upload;

    struct {
        uint64_t whole_limit;
        uint64_t part_size;
        uint64_t random_size;
        unsigned concurrency; /* GETs in flight for one file */
    } read;

    struct {
        uint64_t speculate; /* 0 = never */
    } lookup;

    struct {
        enum conf_on_kill on_kill;
    } write;

    struct {
        enum conf_probe probe; /* of the variant s3-buffered-cas */
        const char *state_dir; /* absolute; "" = what was found is not kept */
        unsigned baselines;
    } cas;

    struct {
        uint64_t open_ttl_ns;
    } cache;

    struct {
        uint64_t ttl_ns;
        uint64_t entry_ttl_ns;
        uint64_t negative_ttl_ns;
        bool marker;
    } directories;

    struct {
        enum log_level level;
        enum log_format format;
    } log;

    struct {
        const char *socket; /* absolute; never "", see conf_control.h */
    } control;

    struct {
        uint64_t drain_timeout_ns;
        bool fdstore;
        const char *holder;          /* "" = none */
        const char *holder_name;     /* never "" */
        uint64_t request_timeout_ns; /* 0 = none */
    } daemon;

    struct conf_origins *origins; /* of conf.c */
};

/* Loads `file` (NULL = none) and `env` ("NAME=value" strings, NULL-terminated; NULL = none).
 * 0 and *ret_conf (conf_free), or -errno with *err filled: the first thing that is wrong, as
 * "file:line:column: key: what, what was expected". Opens no file but `file`. */
must_use int conf_load(const char *file, char *const *env, struct conf **ret_conf, struct err *err);
void conf_free(struct conf *conf);

/* The value of s3.acl as S3 has it, NULL for none. */
const char *conf_acl_name(const struct conf *conf);

/* Wipes the credentials: for a process that was forked and needs none. (What workers send
 * stays.) */
void conf_forget_secrets(struct conf *conf);

/* Wipes the values of secrets where they lie in the environment, so that /proc/PID/environ of this
 * process and its children does not show them, and takes the variables out of `env`. After
 * conf_load, which has copied them. */
void conf_wipe_env(char **env);

/* Writes the secrets of `conf` to `fd` as "NAME=value" strings, each with its NUL, by the variables
 * that conf_wipe_env has taken out: conf_load takes them again. 0 or -errno of write(2). */
must_use int conf_write_secrets(const struct conf *conf, int fd);

/* Where the value of `key` ("s3.region") came from: "default", "file:line:column", "env NAME".
 * NULL for an unknown key. Valid as long as the struct. */
const char *conf_origin(const struct conf *conf, const char *key);

/* --print-config: a file that means the same, each value with its origin, secrets left out. */
void conf_print(const struct conf *conf, FILE *out);

/* The values that a restart in place must not change: "key=value" lines, in the order of the table,
 * without secrets. The caller frees them; NULL: no memory. */
char *conf_fixed_text(const struct conf *conf);

/* Room for conf_fixed_id, with NUL. */
#define CONF_FIXED_ID_MAX 17

/* A hash of these lines, in hexadecimal digits: whether two configurations differ in one of them. 0
 * or -ENOMEM. */
must_use int conf_fixed_id(const struct conf *conf, char ret[CONF_FIXED_ID_MAX]);

/* --help: every key with its type, default, range, environment names and meaning. */
void conf_print_keys(FILE *out);

/* --print-sample: etc/stateproxy.yaml. */
void conf_print_sample(FILE *out);

#endif
