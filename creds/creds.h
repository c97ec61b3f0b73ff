/* Where AWS credentials come from: the chain of AWS's own clients. Blocking, with deadlines; for a
 * process of its own that does nothing else.
 *
 * Order, and the first that is configured decides: the environment; a web identity (a token file
 * and a role); the profile of the shared files (roles with a source, web identity, SSO, static
 * keys, a program); the container's endpoint; the instance's metadata. One that is configured and
 * fails is an error: nothing falls through to another identity.
 *
 * Logs nothing, keeps nothing: the secret is in the caller's struct creds alone, and what held it
 * on the way is wiped.
 */
#ifndef CREDS_CREDS_H
#define CREDS_CREDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "s3/s3_cred.h"
#include "sandbox/sandbox_user.h"

#define CREDS_PROVIDER_MAX 128 /* with NUL, as the next */
#define CREDS_ACCOUNT_MAX 16
#define CREDS_DAY_MAX 9 /* "20150830" and NUL */

/* What is configured. Strings are borrowed, NULL or "" is "not given". */
struct creds_conf {
    /* environment: all that is needed is here. `expiration`: as AWS's command-line client exports
     * it, "2026-11-29T12:00:00Z" */
    const char *access_key, *secret, *session_token, *expiration;
    /* web identity */
    const char *role_arn, *web_identity_token_file, *role_session_name;
    /* shared files: "" is ~/.aws/config, ~/.aws/credentials, "default" */
    const char *profile, *config_file, *credentials_file;
    const char *home; /* "" = there is no ~ */
    /* container */
    const char *container_relative_uri, *container_full_uri;
    const char *container_token, *container_token_file;
    const char *container_base; /* before a relative URI; "" = http://169.254.170.2 */
    /* instance metadata */
    bool metadata_disabled;
    const char *metadata_endpoint; /* "" = http://169.254.169.254, or [fd00:ec2::254] */
    bool metadata_ipv6;
    /* services */
    const char *sts_endpoint, *sso_endpoint; /* "" = AWS's for the region */
    const char *region;                      /* "" = us-east-1 */
    const char *ca_bundle;                   /* "" = the system's */
    const char *client_cert, *client_key; /* shown to a server that asks; "" = none, in the file of
                                           * client_cert */

    char *const *program_env;                /* of a credential_process */
    const struct sandbox_user *program_user; /* which it becomes; NULL = none */
    int stop_fd;                             /* readable: give up, -ECANCELED; -1 = none */
    uint64_t limit_ns;                       /* of one fetch as a whole */
};

/* Credentials. To be kept in locked memory, and wiped. */
struct creds {
    char access_key[S3_ACCESS_KEY_MAX];
    char secret[S3_SECRET_MAX];
    char session_token[S3_SESSION_TOKEN_MAX]; /* "" = none */
    uint64_t expires_ns;                      /* clock_wall_ns; 0 = never */
    char account[CREDS_ACCOUNT_MAX];          /* "" = not known */
    char provider[CREDS_PROVIDER_MAX];        /* "web identity", "profile \"x\": ..." */
};

/* Once in a process, before the first fetch and before curl, libxml2 or jansson are used for
 * anything else: what they free is wiped from now on. 0 or -ENOMEM. */
must_use int creds_init(void);

/* For a process that will enter a sandbox: forks an agent, which opens the files and runs the
 * programs that `conf` and the shared files name, with the rights of this moment, and ends with
 * this process. It calls `in_agent` first, which wipes what it needs not. 0, or -errno with
 * *err. */
must_use int creds_agent_start(const struct creds_conf *conf, void (*in_agent)(void *ctx),
                               void *ctx, struct err *err);

/* Ends the agent, if there is one, and waits for it (a second at most): who waits for this process
 * would otherwise see it outlive both. No files are opened after that. */
void creds_agent_end(void);

/* True if the agent has ended: this process should end as well, and be replaced. */
bool creds_agent_is_lost(void);

/* Fetches them. 0 and *ret; else *ret has only `provider` ("" = none is configured), and -errno
 * with *err, which names the provider and says what to do:
 *   -EINVAL       what is configured is wrong
 *   -ENOKEY       nothing is configured
 *   -EACCES       the source answered no
 *   -EHOSTUNREACH, -ETIMEDOUT   nobody answered, or with an error of its own: try again
 *   -ECANCELED    stop_fd
 *   -ENOMEM */
must_use int creds_fetch(const struct creds_conf *conf, struct creds *ret, struct err *err);

/* Which provider creds_fetch would ask, without asking it: reads files, uses no network, runs no
 * program. 0 and *ret, a text; or as above. */
must_use int creds_look(const struct creds_conf *conf, char ret[CREDS_PROVIDER_MAX],
                        struct err *err);

/* The key that signs requests to S3 on a day ("20150830") in a region; S3_SIGV4_KEY_LEN bytes. 0,
 * -ENOMEM. */
must_use int creds_derive(const struct creds *creds, const char *day, const char *region,
                          unsigned char *ret_key);

#endif
