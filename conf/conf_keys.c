/* The table of keys, and what is derived from a row. It holds no state: conf.c fills a struct conf
 * by it. */
#include "conf/conf_keys.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "conf/conf_check.h"
#include "conf/conf_control.h"
#include "conf/conf_value.h"

#define KiB UINT64_C(1024)
#define MiB (UINT64_C(1024) * KiB)
#define GiB (UINT64_C(1024) * MiB)
#define TiB (UINT64_C(1024) * GiB)
#define MINUTE (60 * NS_PER_S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

#define PATH_BYTES_MAX 4095
#define FIELD(f) .offset = offsetof(struct conf, f)
#define PATH_TEXT "an absolute path without . and .."

/* A field of an enum type is written as an int, one of a mode or id as an unsigned. */
static_assert(sizeof(enum conf_variant) == sizeof(int), "");
static_assert(sizeof(enum conf_addressing) == sizeof(int), "");
static_assert(sizeof(enum conf_metadata) == sizeof(int), "");
static_assert(sizeof(enum conf_on_kill) == sizeof(int), "");
static_assert(sizeof(enum conf_probe) == sizeof(int), "");
static_assert(sizeof(enum conf_payload_signing) == sizeof(int), "");
static_assert(sizeof(enum conf_checksum) == sizeof(int), "");
static_assert(sizeof(enum conf_checksum_when) == sizeof(int), "");
static_assert(sizeof(enum conf_sse) == sizeof(int), "");
static_assert(sizeof(enum conf_bucket_key) == sizeof(int), "");
static_assert(sizeof(enum conf_acl) == sizeof(int), "");
static_assert(sizeof(enum conf_content_type) == sizeof(int), "");
static_assert(sizeof(enum log_level) == sizeof(int), "");
static_assert(sizeof(enum log_format) == sizeof(int), "");
static_assert(sizeof(mode_t) == sizeof(unsigned), "");
static_assert(sizeof(uid_t) == sizeof(unsigned), "");
static_assert(sizeof(gid_t) == sizeof(unsigned), "");

/* Tables, a few lines a row. */
/* clang-format off */

static const struct conf_choice variants[] = {
    {"s3-buffered-lww", CONF_S3_BUFFERED_LWW},
    {"s3-buffered-cas", CONF_S3_BUFFERED_CAS},
    {"s3-passthrough", CONF_S3_PASSTHROUGH},
    {NULL, 0},
};

static const struct conf_choice metadatas[] = {
    {"full", CONF_METADATA_FULL},
    {"ignore", CONF_METADATA_IGNORE},
    {NULL, 0},
};

static const struct conf_choice fd_protocols[] = {
    {"none", CONF_FD_NONE},
    {"meta-fuse", CONF_FD_META_FUSE},
    {"gcsfuse", CONF_FD_GCSFUSE},
    {"mountpoint", CONF_FD_MOUNTPOINT},
    {NULL, 0},
};

static const struct conf_choice on_kills[] = {
    {"discard", CONF_ON_KILL_DISCARD},
    {"publish", CONF_ON_KILL_PUBLISH},
    {NULL, 0},
};

static const struct conf_choice probes[] = {
    {"auto", CONF_PROBE_AUTO},
    {"require", CONF_PROBE_REQUIRE},
    {"warn", CONF_PROBE_WARN},
    {"off", CONF_PROBE_OFF},
    {NULL, 0},
};

static const struct conf_choice metadata_modes[] = {
    {"ipv4", CONF_METADATA_IPV4},
    {"ipv6", CONF_METADATA_IPV6},
    {NULL, 0},
};

static const struct conf_choice sandboxes[] = {
    {"auto", CONF_SANDBOX_AUTO},
    {"require", CONF_SANDBOX_REQUIRE},
    {"off", CONF_SANDBOX_OFF},
    {NULL, 0},
};

static const struct conf_choice addressings[] = {
    {"auto", CONF_ADDRESSING_AUTO},
    {"path", CONF_ADDRESSING_PATH},
    {"virtual", CONF_ADDRESSING_VIRTUAL},
    {NULL, 0},
};

static const struct conf_choice sses[] = {
    {"off", CONF_SSE_OFF},
    {"s3", CONF_SSE_S3},
    {"kms", CONF_SSE_KMS},
    {"kms-dsse", CONF_SSE_KMS_DSSE},
    {"customer", CONF_SSE_CUSTOMER},
    {NULL, 0},
};

static const struct conf_choice bucket_keys[] = {
    {"auto", CONF_BUCKET_KEY_AUTO},
    {"on", CONF_BUCKET_KEY_ON},
    {"off", CONF_BUCKET_KEY_OFF},
    {NULL, 0},
};

static const struct conf_choice acls[] = {
    {"none", CONF_ACL_NONE},
    {"private", CONF_ACL_PRIVATE},
    {"public-read", CONF_ACL_PUBLIC_READ},
    {"public-read-write", CONF_ACL_PUBLIC_READ_WRITE},
    {"authenticated-read", CONF_ACL_AUTHENTICATED_READ},
    {"aws-exec-read", CONF_ACL_AWS_EXEC_READ},
    {"bucket-owner-read", CONF_ACL_OWNER_READ},
    {"bucket-owner-full-control", CONF_ACL_OWNER_FULL_CONTROL},
    {NULL, 0},
};

static const struct conf_choice content_types[] = {
    {"suffix", CONF_TYPE_SUFFIX},
    {"off", CONF_TYPE_OFF},
    {NULL, 0},
};

static const struct conf_choice signings[] = {
    {"auto", CONF_SIGN_AUTO},
    {"always", CONF_SIGN_ALWAYS},
    {"never", CONF_SIGN_NEVER},
    {NULL, 0},
};

static const struct conf_choice checksums[] = {
    {"crc64nvme", CONF_CHECKSUM_CRC64NVME},
    {"crc32c", CONF_CHECKSUM_CRC32C},
    {"none", CONF_CHECKSUM_NONE},
    {NULL, 0},
};

/* AWS documents them in both cases. */
static const struct conf_choice checksum_whens[] = {
    {"when_supported", CONF_CHECKSUM_SUPPORTED},
    {"when_required", CONF_CHECKSUM_REQUIRED},
    {"WHEN_SUPPORTED", CONF_CHECKSUM_SUPPORTED},
    {"WHEN_REQUIRED", CONF_CHECKSUM_REQUIRED},
    {NULL, 0},
};

static const struct conf_choice formats[] = {
    {"text", LOG_TEXT},
    {"logfmt", LOG_LOGFMT},
    {"json", LOG_JSON},
    {NULL, 0},
};

static const struct conf_choice levels[] = {
    {"err", LOG_ERR},
    {"warn", LOG_WARN},
    {"notice", LOG_NOTICE},
    {"debug", LOG_DEBUG},
    {NULL, 0},
};

/* Keys of one section stand together, those outside sections first. */
const struct conf_key conf_keys[] = {
    {.name = "bucket", FIELD(bucket), .type = CONF_STRING, .required = true,
     .env = {"STATE_BUCKET"}, .max = 255, .check = conf_check_bucket,
     .expected = "a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens",
     .example = "my-bucket",
     .doc = "the S3 bucket; or the alias or ARN of an access point"},
    {.name = "prefix", FIELD(prefix), .type = CONF_STRING, .def = "",
     .env = {"STATE_PREFIX"}, .max = 512, .check = conf_check_prefix,
     .expected = "a key prefix such as models/v2, without empty, . or .. components",
     .doc = "the key prefix that is mounted, \"\" = the whole bucket"},
    {.name = "variant", FIELD(variant), .type = CONF_ENUM, .def = "s3-buffered-lww",
     .env = {"STATE_VARIANT", "ASYA_CONNECTOR"}, .choices = variants,
     .doc = "how writes reach S3: whole files at close, and the last writer wins (-lww), or "
            "close fails with EEXIST if the file has changed since this writer read it (-cas)"},
    {.name = "metadata", FIELD(metadata), .type = CONF_ENUM, .def = "full",
     .choices = metadatas,
     .doc = "full: mode, owner, times, symbolic links and extended attributes are stored as "
            "object metadata (x-amz-meta-mode, -uid, -gid, -mtime, -xattr, compatible with s3fs "
            "and rclone); ignore: they are neither written nor read"},
    {.name = "sandbox", FIELD(sandbox), .type = CONF_ENUM, .def = "auto",
     .choices = sandboxes,
     .doc = "what processes that read from the network may do: auto restricts them as far as this "
            "kernel can, require does not start where it lacks something, off lets them do what "
            "workers.user may"},
    {.name = "metadata.content_type", FIELD(content_type), .type = CONF_ENUM, .def = "suffix",
     .choices = content_types,
     .doc = "the Content-Type of new files. suffix: by the suffix of the name, as /etc/mime.types "
            "has it, or else a table of the common ones; off: S3's default. A type that "
            "somebody set is kept"},

    {.name = "s3.region", FIELD(s3.region), .type = CONF_STRING, .def = "us-east-1",
     .env = {"AWS_REGION", "AWS_DEFAULT_REGION"}, .max = 64, .check = conf_check_region,
     .expected = "a region such as us-east-1",
     .doc = "the region that requests are signed for. If the server names another one, that is "
            "used. auto: at AWS, the bucket's, which is asked for; at another endpoint it is sent "
            "as it is (R2)"},
    {.name = "s3.endpoint", FIELD(s3.endpoint), .type = CONF_STRING, .def = "",
     .env = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}, .max = 1024,
     .check = conf_check_url,
     .expected = "an http:// or https:// URL without user, query and fragment",
     .doc = "URL of another S3 server, optionally with a base path, \"\" = AWS"},
    {.name = "s3.dualstack", FIELD(s3.dualstack), .type = CONF_BOOL, .def = "false",
     .env = {"AWS_USE_DUALSTACK_ENDPOINT"},
     .doc = "use AWS's endpoints that have IPv6 addresses too"},
    {.name = "s3.fips", FIELD(s3.fips), .type = CONF_BOOL, .def = "false",
     .env = {"AWS_USE_FIPS_ENDPOINT"},
     .doc = "use AWS's endpoints with validated cryptography (FIPS 140)"},
    {.name = "s3.accelerate", FIELD(s3.accelerate), .type = CONF_BOOL, .def = "false",
     .doc = "use AWS's accelerated endpoint, which the bucket must have switched on"},
    {.name = "s3.addressing", FIELD(s3.addressing), .type = CONF_ENUM, .def = "auto",
     .choices = addressings,
     .doc = "where requests carry the bucket name: in the path or in the host name; auto: in the "
            "host name at AWS if the name has no dots, else in the path"},
    {.name = "s3.expected_bucket_owner", FIELD(s3.expected_bucket_owner), .type = CONF_STRING,
     .def = "", .max = 12, .check = conf_check_account_or_none,
     .expected = "an AWS account ID of 12 digits",
     .doc = "the account that must own the bucket, or S3 refuses every request; \"\" = any"},
    {.name = "s3.requester_pays", FIELD(s3.requester_pays), .type = CONF_BOOL, .def = "false",
     .doc = "agree to pay for the requests, as a bucket with requester pays demands"},
    {.name = "s3.sse", FIELD(s3.sse), .type = CONF_ENUM, .def = "off", .choices = sses,
     .doc = "how S3 encrypts what is written. off: as the bucket says; s3: with keys of S3 "
            "(SSE-S3); kms, kms-dsse: with a key of KMS, once or twice; customer: with the key of "
            "s3.sse_customer_key (SSE-C), which reading needs too"},
    {.name = "s3.sse_kms_key_id", FIELD(s3.sse_kms_key_id), .type = CONF_STRING, .def = "",
     .max = 2048, .check = conf_check_token_or_none,
     .expected = "an ID, ARN or alias of a KMS key",
     .doc = "the KMS key of s3.sse: kms and kms-dsse, \"\" = that of the bucket or the account"},
    {.name = "s3.sse_bucket_key", FIELD(s3.sse_bucket_key), .type = CONF_ENUM, .def = "auto",
     .choices = bucket_keys,
     .doc = "with s3.sse: kms, use a bucket key (fewer requests to KMS); auto: as the bucket says"},
    {.name = "s3.sse_customer_key", FIELD(s3.sse_customer_key), .type = CONF_SECRET,
     .for_workers = true, .min = 1, .max = 64, .check = conf_check_customer_key,
     .expected = "32 bytes in base64 (44 characters)",
     .doc = "the key of s3.sse: customer"},
    {.name = "s3.sse_customer_key_file", FIELD(s3.sse_customer_key_file), .type = CONF_STRING,
     .def = "", .max = PATH_BYTES_MAX, .check = conf_check_path_or_none, .expected = PATH_TEXT,
     .doc = "file with that key, in base64 or as 32 bytes; read at the start"},
    {.name = "s3.storage_class", FIELD(s3.storage_class), .type = CONF_STRING, .def = "",
     .max = 31, .check = conf_check_class_or_none,
     .expected = "a storage class such as STANDARD_IA",
     .doc = "the storage class of new files, \"\" = the server's default. A file that is "
            "overwritten keeps its own"},
    {.name = "s3.acl", FIELD(s3.acl), .type = CONF_ENUM, .def = "none", .choices = acls,
     .doc = "the canned ACL of what is written, for buckets that have ACLs"},
    {.name = "s3.tags", FIELD(s3.tags), .type = CONF_STRING, .def = "", .max = 2048,
     .check = conf_check_tags,
     .expected = "up to 10 tags as name=value&name=value, percent-encoded",
     .doc = "the tags of new files; needs s3:PutObjectTagging"},
    {.name = "s3.cache_control", FIELD(s3.cache_control), .type = CONF_STRING, .def = "",
     .max = 255, .check = conf_check_ascii, .expected = "printable ASCII",
     .doc = "the Cache-Control of new files, such as max-age=300"},
    {.name = "s3.payload_signing", FIELD(s3.payload_signing), .type = CONF_ENUM,
     .def = "auto", .choices = signings,
     .doc = "sign request bodies as well, auto = only over plain HTTP"},
    {.name = "s3.ca_bundle", FIELD(s3.ca_bundle), .type = CONF_STRING, .def = "",
     .env = {"AWS_CA_BUNDLE"}, .max = PATH_BYTES_MAX, .check = conf_check_path_or_none,
     .expected = PATH_TEXT,
     .live = true,
     .doc = "PEM file of trusted certificate authorities, \"\" = those of the system"},
    {.name = "s3.client_cert", FIELD(s3.client_cert), .type = CONF_STRING, .def = "",
     .max = PATH_BYTES_MAX, .check = conf_check_path_or_none,
     .expected = PATH_TEXT,
     .live = true,
     .doc = "PEM file of the certificate that is shown to a server which asks for one, with those "
            "between it and its CA; \"\" = none. Also shown to STS and the other sources of "
            "credentials"},
    {.name = "s3.client_key", FIELD(s3.client_key), .type = CONF_STRING, .def = "",
     .max = PATH_BYTES_MAX, .check = conf_check_path_or_none,
     .expected = PATH_TEXT,
     .live = true,
     .doc = "PEM file of that certificate's private key, without a passphrase, readable for "
            "workers.user; \"\" = it is in the file of s3.client_cert"},
    {.name = "s3.tls_insecure", FIELD(s3.tls_insecure), .type = CONF_BOOL, .def = "false",
     .live = true,
     .doc = "do not check the server's certificate, so that whoever is between can read and change "
            "everything; for laboratories: each start logs a warning"},
    {.name = "s3.connect_timeout", FIELD(s3.connect_timeout_ns), .type = CONF_DURATION,
     .def = "5s", .min = 10 * NS_PER_MS, .max = 5 * MINUTE,
     .live = true,
     .doc = "longest time to establish a connection, TLS included"},
    {.name = "s3.attempt_timeout", FIELD(s3.attempt_timeout_ns), .type = CONF_DURATION,
     .def = "20s", .min = 10 * NS_PER_MS, .max = HOUR,
     .live = true,
     .doc = "an attempt fails when no byte has moved for this long"},
    {.name = "s3.deadline", FIELD(s3.deadline_ns), .type = CONF_DURATION, .def = "60s",
     .min = 10 * NS_PER_MS, .max = DAY,
     .live = true,
     .doc = "longest time for one request with all its attempts"},
    {.name = "s3.max_attempts", FIELD(s3.max_attempts), .type = CONF_UINT, .def = "3",
     .env = {"AWS_MAX_ATTEMPTS"}, .min = 1, .max = 20,
     .live = true,
     .doc = "attempts per request, 1 = no retry"},
    {.name = "s3.connections", FIELD(s3.connections), .type = CONF_UINT, .def = "16",
     .min = 1, .max = 256,
     .live = true,
     .doc = "maximum number of connections per worker"},
    {.name = "s3.access_key_id", FIELD(s3.access_key_id), .type = CONF_SECRET,
     .env = {"AWS_ACCESS_KEY_ID"}, .min = 1, .max = 256, .check = conf_check_token,
     .expected = "printable ASCII without spaces or line breaks",
     .doc = "the AWS access key ID"},
    {.name = "s3.secret_access_key", FIELD(s3.secret_access_key), .type = CONF_SECRET,
     .env = {"AWS_SECRET_ACCESS_KEY"}, .min = 1, .max = 256, .check = conf_check_token,
     .expected = "printable ASCII without spaces or line breaks",
     .doc = "the AWS secret access key"},
    {.name = "s3.session_token", FIELD(s3.session_token), .type = CONF_SECRET,
     .env = {"AWS_SESSION_TOKEN"}, .min = 1, .max = 8192, .check = conf_check_token,
     .expected = "printable ASCII without spaces or line breaks",
     .doc = "the session token of temporary credentials"},

    {.name = "credentials.expiration", FIELD(credentials.expiration), .type = CONF_STRING,
     .def = "", .env = {"AWS_CREDENTIAL_EXPIRATION"}, .max = 40,
     .check = conf_check_token_or_none, .expected = "a time such as 2026-11-29T12:00:00Z",
     .doc = "when the keys in s3.access_key_id expire: status and metrics tell it, the log warns "
            "before; nobody can renew them"},
    {.name = "credentials.role_arn", FIELD(credentials.role_arn), .type = CONF_STRING, .def = "",
     .env = {"AWS_ROLE_ARN"}, .max = 2048, .check = conf_check_token_or_none,
     .expected = "an ARN such as arn:aws:iam::123456789012:role/name",
     .live = true,
     .doc = "the role that a web identity assumes"},
    {.name = "credentials.web_identity_token_file", FIELD(credentials.web_identity_token_file),
     .type = CONF_STRING, .def = "", .env = {"AWS_WEB_IDENTITY_TOKEN_FILE"},
     .max = PATH_BYTES_MAX, .check = conf_check_path_or_none, .expected = PATH_TEXT,
     .live = true,
     .doc = "file with the token of a web identity, such as the one of a Kubernetes service "
            "account (IRSA); read at each refresh"},
    {.name = "credentials.role_session_name", FIELD(credentials.role_session_name),
     .type = CONF_STRING, .def = "", .env = {"AWS_ROLE_SESSION_NAME"}, .max = 64,
     .check = conf_check_token_or_none,
     .expected = "2 to 64 letters, digits and characters of _+=,.@-",
     .live = true,
     .doc = "the name of the web identity's session, \"\" = stateproxy-HOSTNAME"},
    {.name = "credentials.profile", FIELD(credentials.profile), .type = CONF_STRING, .def = "",
     .env = {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}, .max = 255, .check = conf_check_any,
     .expected = "a name of a profile",
     .live = true,
     .doc = "the profile of the shared files, \"\" = default, where it is there"},
    {.name = "credentials.config_file", FIELD(credentials.config_file), .type = CONF_STRING,
     .def = "", .env = {"AWS_CONFIG_FILE"}, .max = PATH_BYTES_MAX,
     .check = conf_check_path_or_none, .expected = PATH_TEXT,
     .live = true,
     .doc = "the shared config file, \"\" = $HOME/.aws/config, where it is there"},
    {.name = "credentials.credentials_file", FIELD(credentials.credentials_file),
     .type = CONF_STRING, .def = "", .env = {"AWS_SHARED_CREDENTIALS_FILE"},
     .max = PATH_BYTES_MAX, .check = conf_check_path_or_none, .expected = PATH_TEXT,
     .live = true,
     .doc = "the shared credentials file, \"\" = $HOME/.aws/credentials, where it is there"},
    {.name = "credentials.container_relative_uri", FIELD(credentials.container_relative_uri),
     .type = CONF_STRING, .def = "", .env = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"},
     .max = 1024, .check = conf_check_token_or_none,
     .expected = "a path such as /v2/credentials/ID",
     .live = true,
     .doc = "where ECS gives credentials to a container, at 169.254.170.2"},
    {.name = "credentials.container_full_uri", FIELD(credentials.container_full_uri),
     .type = CONF_STRING, .def = "", .env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI"},
     .max = 1024, .check = conf_check_token_or_none, .expected = "an http:// or https:// URL",
     .live = true,
     .doc = "the same as a whole URL (EKS Pod Identity); over http only at loopback and at the "
            "addresses of ECS and EKS"},
    {.name = "credentials.container_token_file", FIELD(credentials.container_token_file),
     .type = CONF_STRING, .def = "", .env = {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
     .max = PATH_BYTES_MAX, .check = conf_check_path_or_none, .expected = PATH_TEXT,
     .live = true,
     .doc = "file with the authorization that the container's endpoint wants; read at each "
            "refresh"},
    {.name = "credentials.container_token", FIELD(credentials.container_token),
     .type = CONF_SECRET, .env = {"AWS_CONTAINER_AUTHORIZATION_TOKEN"}, .min = 1, .max = 8191,
     .check = conf_check_any, .expected = "printable text in one line",
     .doc = "that authorization itself, where there is no file"},
    {.name = "credentials.metadata_disabled", FIELD(credentials.metadata_disabled),
     .type = CONF_BOOL, .def = "false", .env = {"AWS_EC2_METADATA_DISABLED"},
     .live = true,
     .doc = "do not ask the EC2 instance for credentials where nothing else is configured"},
    {.name = "credentials.metadata_endpoint", FIELD(credentials.metadata_endpoint),
     .type = CONF_STRING, .def = "", .env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT"}, .max = 1024,
     .check = conf_check_url,
     .expected = "an http:// or https:// URL without user, query and fragment",
     .live = true,
     .doc = "URL of the metadata service, \"\" = http://169.254.169.254, or as "
            "credentials.metadata_mode says"},
    {.name = "credentials.metadata_mode", FIELD(credentials.metadata_mode), .type = CONF_ENUM,
     .def = "ipv4", .env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"}, .choices = metadata_modes,
     .live = true,
     .doc = "ipv6 = the metadata service is asked at [fd00:ec2::254]"},
    {.name = "credentials.sts_endpoint", FIELD(credentials.sts_endpoint), .type = CONF_STRING,
     .def = "", .env = {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"}, .max = 1024,
     .check = conf_check_url,
     .expected = "an http:// or https:// URL without user, query and fragment",
     .live = true,
     .doc = "URL of the Security Token Service, \"\" = that of s3.region"},
    {.name = "credentials.sso_endpoint", FIELD(credentials.sso_endpoint), .type = CONF_STRING,
     .def = "", .env = {"AWS_ENDPOINT_URL_SSO"}, .max = 1024, .check = conf_check_url,
     .expected = "an http:// or https:// URL without user, query and fragment",
     .live = true,
     .doc = "URL of the portal of IAM Identity Center, \"\" = that of the profile's sso_region"},

    {.name = "mount.path", FIELD(mount.path), .type = CONF_STRING, .required = true,
     .env = {"STATE_MOUNT"}, .max = PATH_BYTES_MAX, .check = conf_check_mount,
     .expected = "an absolute path of a directory, or /dev/fd/N",
     .example = "/mnt/my-bucket",
     .doc = "where the files appear, or an open FUSE descriptor such as /dev/fd/3; not "
            "required with connector.socket: then nothing is mounted; with mount.fd_socket only "
            "what the mount is called, by default as that socket"},
    {.name = "mount.fd_socket", FIELD(mount.fd_socket), .type = CONF_STRING, .def = "",
     .max = CONF_SOCKET_MAX - 5, .check = conf_check_path_or_none, .expected = PATH_TEXT,
     .doc = "Unix socket over which a CSI driver hands over the descriptor of a mount that it has "
            "made, such as /fuse/stateproxy.sock; no privilege is needed then; \"\" = the daemon "
            "mounts itself. No other socket may have its path"},
    {.name = "mount.fd_protocol", FIELD(mount.fd_protocol), .type = CONF_ENUM, .def = "none",
     .choices = fd_protocols,
     .doc = "how the driver at mount.fd_socket does it. meta-fuse: meta-fuse-csi-plugin; gcsfuse: "
            "the Cloud Storage FUSE CSI driver; mountpoint: the Mountpoint for Amazon S3 CSI "
            "driver, version 2, which connects to a socket of the daemon; none: without "
            "mount.fd_socket"},
    {.name = "mount.fd_timeout", FIELD(mount.fd_timeout_ns), .type = CONF_DURATION, .def = "2m",
     .min = NS_PER_S, .max = HOUR,
     .doc = "how long the daemon waits for the driver at mount.fd_socket before it ends"},
    {.name = "mount.create", FIELD(mount.create), .type = CONF_BOOL, .def = "false",
     .doc = "create the directory of mount.path, mode 0755, if it is not there; its parent must "
            "be there. For a volume of Kubernetes, which is empty at first"},
    {.name = "mount.allow_other", FIELD(mount.allow_other), .type = CONF_BOOL,
     .automatic = "true when root starts the daemon",
     .doc = "allow access by users other than the one who mounts"},
    {.name = "mount.default_permissions", FIELD(mount.default_permissions),
     .type = CONF_BOOL, .def = "true",
     .doc = "the kernel checks owners and modes"},
    {.name = "mount.read_only", FIELD(mount.read_only), .type = CONF_BOOL, .def = "false",
     .doc = "refuse every change"},
    {.name = "mount.noexec", FIELD(mount.noexec), .type = CONF_BOOL, .def = "false",
     .doc = "programs that are files of the mount cannot be executed"},
    {.name = "mount.source", FIELD(mount.source), .type = CONF_STRING, .def = "", .max = 800,
     .check = conf_check_any, .expected = "text in one line",
     .doc = "what df, findmnt and /proc/mounts show as the source of the mount, \"\" = stateproxy"},
    {.name = "mount.uid", FIELD(mount.uid), .type = CONF_UINT, .max = UINT32_MAX - 1,
     .automatic = "the starting user's",
     .doc = "owner of everything whose metadata name no owner"},
    {.name = "mount.gid", FIELD(mount.gid), .type = CONF_UINT, .max = UINT32_MAX - 1,
     .automatic = "the starting user's",
     .doc = "group of everything whose metadata name no group"},
    {.name = "mount.file_mode", FIELD(mount.file_mode), .type = CONF_MODE, .def = "0644",
     .doc = "permissions of files whose metadata name none"},
    {.name = "mount.dir_mode", FIELD(mount.dir_mode), .type = CONF_MODE, .def = "0755",
     .doc = "permissions of directories whose metadata name none"},
    {.name = "mount.read_ahead", FIELD(mount.read_ahead), .type = CONF_SIZE, .def = "1Mi",
     .max = 16 * MiB,
     .doc = "how far the kernel reads ahead of a sequential reader"},

    {.name = "connector.socket", FIELD(connector.socket), .type = CONF_STRING, .def = "",
     .env = {"CONNECTOR_SOCKET"}, .max = CONF_SOCKET_MAX - 5, .check = conf_check_path_or_none,
     .expected = PATH_TEXT,
     .doc = "Unix socket of the connector API (HTTP), such as /var/run/asya/state/weights.sock; "
            "\"\" = none"},
    {.name = "connector.mode", FIELD(connector.mode), .type = CONF_MODE, .def = "0666",
     .doc = "permissions of that socket: who may write may use it"},
    {.name = "connector.presign_ttl", FIELD(connector.presign_ttl), .type = CONF_UINT,
     .def = "3600", .env = {"STATE_PRESIGN_TTL"}, .min = 1, .max = 604800,
     .live = true,
     .doc = "seconds for which a presigned URL is valid"},

    {.name = "metrics.listen", FIELD(metrics.listen), .type = CONF_STRING, .def = "",
     .max = CONF_SOCKET_MAX - 5, .check = conf_check_listen_or_none,
     .expected = "an absolute path, or HOST:PORT with the host as a number ([...] for IPv6, "
                 "none for every address)",
     .doc = "where GET /metrics (for Prometheus), /livez and /readyz are served over HTTP, to "
            "whoever can connect: a Unix socket, or an address such as 127.0.0.1:9468; \"\" = "
            "nowhere"},
    {.name = "metrics.mode", FIELD(metrics.mode), .type = CONF_MODE, .def = "0666",
     .doc = "permissions of metrics.listen if it is a Unix socket"},

    {.name = "query.max_keys", FIELD(query.max_keys), .type = CONF_UINT, .def = "10000",
     .env = {"QUERY_MAX_KEYS"}, .min = 1, .max = 1000000,
     .live = true,
     .doc = "a query over more keys is refused"},
    {.name = "query.max_fetch_keys", FIELD(query.max_fetch_keys), .type = CONF_UINT,
     .def = "1000", .env = {"QUERY_MAX_FETCH_KEYS"}, .min = 1, .max = 1000000,
     .live = true,
     .doc = "a query reads so many objects, the first of those listed"},
    {.name = "query.max_fetch_bytes", FIELD(query.max_fetch_bytes), .type = CONF_SIZE,
     .def = "256Mi", .env = {"QUERY_MAX_FETCH_BYTES"}, .min = 1, .max = TiB,
     .live = true,
     .doc = "a query reads no further object after so many bytes"},
    {.name = "query.max_result_rows", FIELD(query.max_result_rows), .type = CONF_UINT,
     .def = "10000", .env = {"QUERY_MAX_RESULT_ROWS"}, .min = 1, .max = 1000000,
     .live = true,
     .doc = "maximum number of rows of an answer"},

    {.name = "workers.count", FIELD(workers.count), .type = CONF_UINT, .min = 1, .max = 16,
     .automatic = "the CPU quota of the cgroup, 2 to 8",
     .doc = "number of worker processes"},
    {.name = "workers.user", FIELD(workers.user), .type = CONF_STRING, .def = "",
     .max = 255, .check = conf_check_user,
     .expected = "a user name or number",
     .doc = "the user that workers and keeper run as when root starts the daemon, \"\" = "
            "stateproxy, where there is such a user, else a number that belongs to nobody; with "
            "sandbox: off, the starting user"},

    {.name = "memory.limit", FIELD(memory.limit), .type = CONF_SIZE, .min = 32 * MiB,
     .max = TiB,
     .automatic = "the limit of the cgroup, or 128Mi without one",
     .doc = "memory for all processes together"},

    {.name = "buffer.memory", FIELD(buffer.memory), .type = CONF_SIZE, .def = "4Mi",
     .min = 64 * KiB, .max = GiB,
     .doc = "a file that is being written stays in memory up to this size"},
    {.name = "buffer.dir", FIELD(buffer.dir), .type = CONF_STRING, .def = "/var/tmp",
     .max = PATH_BYTES_MAX, .check = conf_check_path,
     .expected = PATH_TEXT,
     .doc = "directory of the unnamed files that hold larger ones"},
    {.name = "buffer.sessions", FIELD(buffer.sessions), .type = CONF_UINT, .def = "256",
     .min = 1, .max = 1024,
     .doc = "maximum number of files open for writing at the same time; who opens more waits for "
            "the close of another, for as long as for S3 (s3.deadline)"},

    {.name = "upload.multipart_threshold", FIELD(upload.multipart_threshold), .type = CONF_SIZE,
     .def = "16Mi", .min = 5 * MiB, .max = 5 * GiB,
     .doc = "files from this size on are uploaded in parts, several at the same time"},
    {.name = "upload.part_size", FIELD(upload.part_size), .type = CONF_SIZE, .def = "8Mi",
     .min = 5 * MiB, .max = 5 * GiB,
     .doc = "size of a part; larger where a file would need more than 10,000 of them"},
    {.name = "upload.early", FIELD(upload.early), .type = CONF_BOOL, .def = "true",
     .doc = "s3-buffered-lww and s3-buffered-cas: parts of a new file, or of wholly new content, "
            "go to S3 while it is written, if that is done in order"},
    {.name = "upload.copy_limit", FIELD(upload.copy_limit), .type = CONF_SIZE, .def = "5Gi",
     .min = 5 * MiB, .max = 5 * GiB,
     .doc = "larger objects are copied in parts: by a rename, cp, or a change of attributes"},
    {.name = "upload.concurrency", FIELD(upload.concurrency), .type = CONF_UINT, .def = "4",
     .min = 1, .max = 64,
     .doc = "parts of one file that are uploaded at the same time"},

    {.name = "checksum.algorithm", FIELD(checksum.algorithm), .type = CONF_ENUM,
     .def = "crc64nvme", .choices = checksums,
     .doc = "the checksum that is sent with what is stored, and that S3 keeps with the object; a "
            "server that refuses it is not sent it any more"},
    {.name = "checksum.request", FIELD(checksum.request), .type = CONF_ENUM,
     .def = "when_supported", .env = {"AWS_REQUEST_CHECKSUM_CALCULATION"},
     .choices = checksum_whens,
     .doc = "when_required: no checksums are sent"},
    {.name = "checksum.response", FIELD(checksum.response), .type = CONF_ENUM,
     .def = "when_supported", .env = {"AWS_RESPONSE_CHECKSUM_VALIDATION"},
     .choices = checksum_whens,
     .doc = "whole objects that are read are compared with the checksum that S3 has of them; "
            "when_required: they are not (an ETag that is an MD5 is compared all the same)"},

    {.name = "read.whole_limit", FIELD(read.whole_limit), .type = CONF_SIZE, .def = "8Mi",
     .max = GiB,
     .doc = "objects up to this size are fetched with one request"},
    {.name = "read.part_size", FIELD(read.part_size), .type = CONF_SIZE, .def = "8Mi",
     .min = MiB, .max = 64 * MiB,
     .doc = "larger objects are fetched in parts of at most this size"},
    {.name = "read.concurrency", FIELD(read.concurrency), .type = CONF_UINT, .def = "32",
     .min = 1, .max = 256,
     .live = true,
     .doc = "parts of one file that are fetched at the same time, at most, for a program that "
            "reads it in order; fewer if memory is short, or if that would not be faster"},
    {.name = "read.random_size", FIELD(read.random_size), .type = CONF_SIZE, .def = "128Ki",
     .min = 128 * KiB, .max = 8 * MiB,
     .doc = "a read at a random place fetches this much around it, in one request"},

    {.name = "lookup.speculate", FIELD(lookup.speculate), .type = CONF_SIZE,
     .def = "128Ki", .max = 128 * KiB,
     .live = true,
     .doc = "bytes fetched together with the lookup of a name that looks like a file"},

    {.name = "write.on_kill", FIELD(write.on_kill), .type = CONF_ENUM, .def = "discard",
     .choices = on_kills,
     .doc = "unpublished bytes of a writer that is killed by a signal: discard them, so that no "
            "torn object is published, or publish them as a normal exit would"},
    {.name = "cas.probe", FIELD(cas.probe), .type = CONF_ENUM, .def = "auto",
     .choices = probes,
     .doc = "variant s3-buffered-cas: whether the start tests that the server enforces "
            "conditional writes, also between concurrent writers: require refuses a server that "
            "does not; auto does the same, but trusts AWS endpoints without a test; warn only "
            "logs a warning; off skips the test"},
    {.name = "cas.state_dir", FIELD(cas.state_dir), .type = CONF_STRING, .def = "",
     .max = PATH_BYTES_MAX, .check = conf_check_path_or_none, .expected = PATH_TEXT,
     .doc = "directory that keeps the result of the probe for a day, such as "
            "/var/lib/stateproxy; \"\" = not kept"},
    {.name = "cas.baselines", FIELD(cas.baselines), .type = CONF_UINT, .def = "4096",
     .min = 64, .max = 65536,
     .doc = "variant s3-buffered-cas: how many of the versions that processes have read or written "
            "are remembered in full, about three for each file; 16 times as many are remembered "
            "well enough for the next write. Beyond that, a write of a file that was read or "
            "written here is refused until the file is read again. 1.8 KiB of memory each"},
    {.name = "cache.open_ttl", FIELD(cache.open_ttl_ns), .type = CONF_DURATION, .def = "0",
     .max = HOUR,
     .live = true,
     .doc = "maximum age of an answer of S3 that may be used to open a file or to look at it; 0 = "
            "S3 is asked each time. Then a file that is opened again and again costs no request, "
            "and a change made elsewhere is seen that much later"},

    {.name = "directories.ttl", FIELD(directories.ttl_ns), .type = CONF_DURATION,
     .def = "1s", .max = HOUR,
     .live = true,
     .doc = "maximum age of a listing"},
    {.name = "directories.entry_ttl", FIELD(directories.entry_ttl_ns), .type = CONF_DURATION,
     .def = "30s", .max = HOUR,
     .live = true,
     .doc = "how long a directory is assumed to exist by calls that only pass through it or "
            "replace a file in it"},
    {.name = "directories.negative_ttl", FIELD(directories.negative_ttl_ns), .type = CONF_DURATION,
     .def = "0", .max = HOUR,
     .live = true,
     .doc = "maximum age of a complete listing that may answer that a name does not exist; 0 = "
            "S3 is asked each time, so that a file created elsewhere is found at once"},
    {.name = "directories.marker", FIELD(directories.marker), .type = CONF_BOOL,
     .def = "true",
     .doc = "mkdir writes an empty object NAME/, so that empty directories persist"},

    {.name = "log.level", FIELD(log.level), .type = CONF_ENUM, .def = "notice",
     .choices = levels,
     .live = true,
     .doc = "the least important level that is logged"},
    {.name = "log.format", FIELD(log.format), .type = CONF_ENUM, .def = "text",
     .choices = formats,
     .live = true,
     .doc = "the form of log lines: text; logfmt, pairs of key=value; json, an object in each "
            "line"},

    {.name = "control.socket", FIELD(control.socket), .type = CONF_STRING,
     .automatic = "named after mount.path, or else connector.socket; in /run/stateproxy for root, "
                  "else in $XDG_RUNTIME_DIR/stateproxy or /tmp/stateproxy-UID",
     .max = CONF_SOCKET_MAX - 1, .check = conf_check_path,
     .expected = PATH_TEXT,
     .doc = "Unix socket for stateproxyctl"},

    {.name = "daemon.drain_timeout", FIELD(daemon.drain_timeout_ns), .type = CONF_DURATION,
     .def = "25s", .min = NS_PER_S, .max = HOUR,
     .live = true,
     .doc = "time for uploads to finish after SIGTERM"},
    {.name = "daemon.fdstore", FIELD(daemon.fdstore), .type = CONF_BOOL, .def = "false",
     .doc = "let the service manager keep what is open (FDSTORE=1 to NOTIFY_SOCKET), so that a "
            "daemon which is started after a crash of the whole daemon goes on: programs wait "
            "meanwhile. It must accept 2 * buffer.sessions + 64 descriptors"},
    {.name = "daemon.holder", FIELD(daemon.holder), .type = CONF_STRING, .def = "",
     .live = true, .max = CONF_SOCKET_MAX - 1, .check = conf_check_path_or_none,
     .expected = PATH_TEXT,
     .doc = "socket of a holder (stateproxyd hold), which keeps what is open as daemon.fdstore has "
            "it done by a service manager, where there is none, as in a container; \"\" = none"},
    {.name = "daemon.holder_name", FIELD(daemon.holder_name), .type = CONF_STRING,
     .live = true,
     .automatic = "mount.path, or else connector.socket", .min = 1, .max = CONF_HOLDER_NAME_MAX - 1,
     .check = conf_check_any, .expected = "text without control characters",
     .doc = "the name under which the holder keeps it: where several daemons share one, as the "
            "pods of a node, each needs one of its own, such as the pod's uid"},
    {.name = "daemon.request_timeout", FIELD(daemon.request_timeout_ns),
     .type = CONF_DURATION, .def = "1h", .max = 18 * HOUR,
     .doc = "the kernel (Linux 6.15) ends the connection of the mount when one request has had "
            "no reply for this long, so that no program waits forever for a daemon that died; "
            "shortly before, a request in progress fails with ETIMEDOUT and a wait for a lock "
            "with EAGAIN; 0s = never"},
};

/* clang-format on */

const size_t conf_n_keys = sizeof(conf_keys) / sizeof(conf_keys[0]);
static_assert(sizeof(conf_keys) / sizeof(conf_keys[0]) <= CONF_N_KEYS_MAX, "");

const char *conf_acl_name(const struct conf *conf)
{
    const struct conf_choice *c = acls;

    while (c->value != (int)conf->s3.acl)
        c++;
    return conf->s3.acl == CONF_ACL_NONE ? NULL : c->name;
}

const struct conf_key *conf_key_find(const char *name)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        if (strcmp(conf_keys[i].name, name) == 0)
            return &conf_keys[i];
    }
    return NULL;
}

const char *conf_choice_name(const char *key, int value)
{
    const struct conf_choice *c = conf_key_find(key)->choices;

    while (c->name && c->value != value)
        c++;
    return c->name ? c->name : "?";
}

size_t conf_key_section_len(const struct conf_key *key)
{
    const char *dot = strchr(key->name, '.');

    return dot ? (size_t)(dot - key->name) : 0;
}

const char *conf_key_last(const struct conf_key *key)
{
    size_t n = conf_key_section_len(key);

    return n ? key->name + n + 1 : key->name;
}

bool conf_key_is_dotted(const struct conf_key *key)
{
    char section[CONF_KEY_NAME_MAX];

    snprintf(section, sizeof(section), "%.*s", (int)conf_key_section_len(key), key->name);
    return conf_key_find(section) != NULL;
}

bool conf_key_is_section(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; len && i < conf_n_keys; i++) {
        if (conf_key_section_len(&conf_keys[i]) == len &&
            strncmp(conf_keys[i].name, name, len) == 0)
            return true;
    }
    return false;
}

void conf_key_own_env(const struct conf_key *key, char out[CONF_ENV_NAME_MAX])
{
    int n = snprintf(out, CONF_ENV_NAME_MAX, "STATEPROXY_%s", key->name);

    assert(n > 0 && n < CONF_ENV_NAME_MAX);
    for (char *p = out; *p; p++)
        *p = (char)(*p == '.' ? '_' : toupper((unsigned char)*p));
}

const char *conf_key_env(const struct conf_key *key, unsigned i, char own[CONF_ENV_NAME_MAX])
{
    unsigned n = 0;

    while (n < CONF_N_ENV && key->env[n])
        n++;
    if (i < n)
        return key->env[i];
    if (i > n)
        return NULL;
    conf_key_own_env(key, own);
    return own;
}

/* "auto, path or virtual": the names that this version knows. */
static void expected_choices(const struct conf_key *key, char *out)
{
    size_t left = 0, n = 0;

    for (const struct conf_choice *c = key->choices; c->name; c++)
        left++;
    out[0] = '\0';
    for (const struct conf_choice *c = key->choices; c->name; c++) {
        left--;
        n += (size_t)snprintf(out + n, CONF_EXPECTED_MAX - n, "%s%s", c->name,
                              left > 1    ? ", "
                              : left == 1 ? " or "
                                          : "");
        assert(n < CONF_EXPECTED_MAX);
    }
}

void conf_key_expected(const struct conf_key *key, char out[CONF_EXPECTED_MAX])
{
    const char *word = key->automatic ? "auto or " : "";
    char low[CONF_VALUE_TEXT_MAX], high[CONF_VALUE_TEXT_MAX];

    switch (key->type) {
    case CONF_STRING:
    case CONF_SECRET:
        snprintf(out, CONF_EXPECTED_MAX, "%s%s", word, key->expected);
        break;
    case CONF_SIZE:
        conf_value_format_size(key->min, low);
        conf_value_format_size(key->max, high);
        snprintf(out, CONF_EXPECTED_MAX, "%sa size from %s to %s", word, low, high);
        break;
    case CONF_DURATION:
        conf_value_format_duration(key->min, low);
        conf_value_format_duration(key->max, high);
        snprintf(out, CONF_EXPECTED_MAX, "%sa duration from %s to %s", word, low, high);
        break;
    case CONF_UINT:
        snprintf(out, CONF_EXPECTED_MAX, "%sa number from %" PRIu64 " to %" PRIu64, word, key->min,
                 key->max);
        break;
    case CONF_MODE:
        snprintf(out, CONF_EXPECTED_MAX, "%soctal permissions such as 0644", word);
        break;
    case CONF_BOOL:
        snprintf(out, CONF_EXPECTED_MAX, "%strue or false", key->automatic ? "auto, " : "");
        break;
    case CONF_ENUM:
        expected_choices(key, out);
        break;
    }
}

void conf_key_default(const struct conf_key *key, char out[CONF_DEFAULT_MAX])
{
    if (key->required)
        snprintf(out, CONF_DEFAULT_MAX, "required");
    else if (key->automatic)
        snprintf(out, CONF_DEFAULT_MAX, "default auto: %s", key->automatic);
    else if (key->type == CONF_SECRET)
        snprintf(out, CONF_DEFAULT_MAX, "only from the environment");
    else
        snprintf(out, CONF_DEFAULT_MAX, "default %s", *key->def ? key->def : "\"\"");
}

const char *conf_key_form(const struct conf_key *key)
{
    switch (key->type) {
    case CONF_SIZE:
        return ", such as 64Mi (B, Ki, Mi, Gi, Ti)";
    case CONF_DURATION:
        return ", such as 250ms (ms, s, m, h)";
    default:
        return "";
    }
}
