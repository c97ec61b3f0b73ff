/* The table of keys, and what can be derived from a row. No state: conf.c fills a struct conf
 * with it. */
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
static_assert(sizeof(enum log_level) == sizeof(int), "");
static_assert(sizeof(mode_t) == sizeof(unsigned), "");
static_assert(sizeof(uid_t) == sizeof(unsigned), "");
static_assert(sizeof(gid_t) == sizeof(unsigned), "");

/* Tables, a few lines a row. */
/* clang-format off */

static const struct conf_choice variants[] = {
    {"s3-buffered-lww", CONF_S3_BUFFERED_LWW},
    {"s3-buffered-cas", CONF_S3_BUFFERED_CAS},
    {"s3-passthrough", -1},
    {NULL, 0},
};

static const struct conf_choice metadatas[] = {
    {"full", CONF_METADATA_FULL},
    {"ignore", CONF_METADATA_IGNORE},
    {NULL, 0},
};

static const struct conf_choice on_kills[] = {
    {"discard", CONF_ON_KILL_DISCARD},
    {"publish", CONF_ON_KILL_PUBLISH},
    {NULL, 0},
};

static const struct conf_choice probes[] = {
    {"require", CONF_PROBE_REQUIRE},
    {"warn", CONF_PROBE_WARN},
    {"off", CONF_PROBE_OFF},
    {NULL, 0},
};

static const struct conf_choice addressings[] = {
    {"auto", CONF_ADDRESSING_AUTO},
    {"path", CONF_ADDRESSING_PATH},
    {"virtual", CONF_ADDRESSING_VIRTUAL},
    {NULL, 0},
};

static const struct conf_choice signings[] = {
    {"auto", CONF_SIGN_AUTO},
    {"always", CONF_SIGN_ALWAYS},
    {"never", CONF_SIGN_NEVER},
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
     .env = {"STATE_BUCKET"}, .max = 63, .check = conf_check_bucket,
     .expected = "a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens",
     .example = "my-bucket",
     .doc = "the S3 bucket"},
    {.name = "prefix", FIELD(prefix), .type = CONF_STRING, .def = "",
     .env = {"STATE_PREFIX"}, .max = 512, .check = conf_check_prefix,
     .expected = "a key prefix as models/v2, without empty, . and .. components",
     .doc = "the part of the bucket that is mounted, \"\" = all of it"},
    {.name = "variant", FIELD(variant), .type = CONF_ENUM, .def = "s3-buffered-lww",
     .env = {"STATE_VARIANT", "ASYA_CONNECTOR"}, .choices = variants,
     .doc = "how writes reach S3: whole files at close, and the last writer wins (-lww), or a writer "
            "whose file changed since it was read gets EEXIST from close (-cas)"},
    {.name = "metadata", FIELD(metadata), .type = CONF_ENUM, .def = "full",
     .choices = metadatas,
     .doc = "mode, owner and time of files and directories, symbolic links, extended attributes: kept as "
            "metadata of their objects (x-amz-meta-mode, -uid, -gid, -mtime, -xattr, as s3fs and rclone "
            "do), or neither written nor read"},

    {.name = "s3.region", FIELD(s3.region), .type = CONF_STRING, .def = "us-east-1",
     .env = {"AWS_REGION", "AWS_DEFAULT_REGION"}, .max = 64, .check = conf_check_region,
     .expected = "a region as us-east-1",
     .doc = "the region that requests are signed for"},
    {.name = "s3.endpoint", FIELD(s3.endpoint), .type = CONF_STRING, .def = "",
     .env = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}, .max = 1024,
     .check = conf_check_url,
     .expected = "an http:// or https:// URL without user, query and fragment",
     .doc = "URL of another S3 server, may have a base path, \"\" = AWS"},
    {.name = "s3.addressing", FIELD(s3.addressing), .type = CONF_ENUM, .def = "auto",
     .choices = addressings,
     .doc = "where the bucket's name goes: into the path or the host name"},
    {.name = "s3.payload_signing", FIELD(s3.payload_signing), .type = CONF_ENUM,
     .def = "auto", .choices = signings,
     .doc = "sign request bodies too, auto = over plain HTTP only"},
    {.name = "s3.ca_bundle", FIELD(s3.ca_bundle), .type = CONF_STRING, .def = "",
     .env = {"AWS_CA_BUNDLE"}, .max = PATH_BYTES_MAX, .check = conf_check_path_or_none,
     .expected = PATH_TEXT,
     .doc = "PEM file of the authorities to trust, \"\" = the system's"},
    {.name = "s3.connect_timeout", FIELD(s3.connect_timeout_ns), .type = CONF_DURATION,
     .def = "5s", .min = 10 * NS_PER_MS, .max = 5 * MINUTE,
     .doc = "longest wait for a connection, TLS included"},
    {.name = "s3.attempt_timeout", FIELD(s3.attempt_timeout_ns), .type = CONF_DURATION,
     .def = "20s", .min = 10 * NS_PER_MS, .max = HOUR,
     .doc = "an attempt without a byte moving for so long has failed"},
    {.name = "s3.deadline", FIELD(s3.deadline_ns), .type = CONF_DURATION, .def = "60s",
     .min = 10 * NS_PER_MS, .max = DAY,
     .doc = "end of a request with all its attempts"},
    {.name = "s3.max_attempts", FIELD(s3.max_attempts), .type = CONF_UINT, .def = "3",
     .env = {"AWS_MAX_ATTEMPTS"}, .min = 1, .max = 20,
     .doc = "attempts of a request, 1 = no retry"},
    {.name = "s3.connections", FIELD(s3.connections), .type = CONF_UINT, .def = "16",
     .min = 1, .max = 256,
     .doc = "most connections of one worker"},
    {.name = "s3.access_key_id", FIELD(s3.access_key_id), .type = CONF_SECRET,
     .env = {"AWS_ACCESS_KEY_ID"}, .min = 1, .max = 256, .check = conf_check_token,
     .expected = "printable ASCII without spaces and line ends",
     .doc = "who signs the requests"},
    {.name = "s3.secret_access_key", FIELD(s3.secret_access_key), .type = CONF_SECRET,
     .env = {"AWS_SECRET_ACCESS_KEY"}, .min = 1, .max = 256, .check = conf_check_token,
     .expected = "printable ASCII without spaces and line ends",
     .doc = "the key that they are signed with"},
    {.name = "s3.session_token", FIELD(s3.session_token), .type = CONF_SECRET,
     .env = {"AWS_SESSION_TOKEN"}, .min = 1, .max = 8192, .check = conf_check_token,
     .expected = "printable ASCII without spaces and line ends",
     .doc = "goes with temporary keys"},

    {.name = "mount.path", FIELD(mount.path), .type = CONF_STRING, .required = true,
     .env = {"STATE_MOUNT"}, .max = PATH_BYTES_MAX, .check = conf_check_mount,
     .expected = "an absolute path of a directory, or /dev/fd/N",
     .example = "/mnt/my-bucket",
     .doc = "where the files appear, or an open FUSE descriptor as /dev/fd/3"},
    {.name = "mount.allow_other", FIELD(mount.allow_other), .type = CONF_BOOL,
     .automatic = "true when started by root",
     .doc = "let other users in"},
    {.name = "mount.default_permissions", FIELD(mount.default_permissions),
     .type = CONF_BOOL, .def = "true",
     .doc = "the kernel checks owner and mode of files"},
    {.name = "mount.read_only", FIELD(mount.read_only), .type = CONF_BOOL, .def = "false",
     .doc = "refuse every change"},
    {.name = "mount.uid", FIELD(mount.uid), .type = CONF_UINT, .max = UINT32_MAX - 1,
     .automatic = "that of the starting user",
     .doc = "owner of all files"},
    {.name = "mount.gid", FIELD(mount.gid), .type = CONF_UINT, .max = UINT32_MAX - 1,
     .automatic = "that of the starting user",
     .doc = "group of all files"},
    {.name = "mount.file_mode", FIELD(mount.file_mode), .type = CONF_MODE, .def = "0644",
     .doc = "permissions of files"},
    {.name = "mount.dir_mode", FIELD(mount.dir_mode), .type = CONF_MODE, .def = "0755",
     .doc = "permissions of directories"},
    {.name = "mount.read_ahead", FIELD(mount.read_ahead), .type = CONF_SIZE, .def = "1Mi",
     .max = 16 * MiB,
     .doc = "what the kernel reads ahead of a sequential reader"},

    {.name = "workers.count", FIELD(workers.count), .type = CONF_UINT, .min = 1, .max = 16,
     .automatic = "the CPUs of the cgroup's quota, 2 to 8",
     .doc = "worker processes"},
    {.name = "workers.user", FIELD(workers.user), .type = CONF_STRING, .def = "",
     .max = 255, .check = conf_check_user,
     .expected = "a user name or number",
     .doc = "who workers run as when started by root, \"\" = the starting user"},

    {.name = "memory.limit", FIELD(memory.limit), .type = CONF_SIZE, .min = 32 * MiB,
     .max = TiB,
     .automatic = "the cgroup's limit, 128Mi without one",
     .doc = "what all processes together may use"},

    {.name = "buffer.memory", FIELD(buffer.memory), .type = CONF_SIZE, .def = "4Mi",
     .min = 64 * KiB, .max = GiB,
     .doc = "a file being written stays in memory up to this size"},
    {.name = "buffer.dir", FIELD(buffer.dir), .type = CONF_STRING, .def = "/var/tmp",
     .max = PATH_BYTES_MAX, .check = conf_check_path,
     .expected = PATH_TEXT,
     .doc = "directory of the nameless files that hold larger ones"},
    {.name = "buffer.sessions", FIELD(buffer.sessions), .type = CONF_UINT, .def = "64",
     .min = 1, .max = 1024,
     .doc = "files open for writing at once"},

    {.name = "read.whole_limit", FIELD(read.whole_limit), .type = CONF_SIZE, .def = "8Mi",
     .max = GiB,
     .doc = "objects up to this size are fetched in one request"},
    {.name = "read.part_size", FIELD(read.part_size), .type = CONF_SIZE, .def = "8Mi",
     .min = MiB, .max = 64 * MiB,
     .doc = "larger ones are fetched in parts of this size"},

    {.name = "lookup.speculate", FIELD(lookup.speculate), .type = CONF_SIZE,
     .def = "128Ki", .max = 128 * KiB,
     .doc = "bytes fetched along with a look-up of what seems to be a file"},

    {.name = "write.on_kill", FIELD(write.on_kill), .type = CONF_ENUM, .def = "discard",
     .choices = on_kills,
     .doc = "unpublished bytes of a writer that is killed by a signal: discarded, so that no torn "
            "object is published, or published as a normal end would"},
    {.name = "cas.probe", FIELD(cas.probe), .type = CONF_ENUM, .def = "require",
     .choices = probes,
     .doc = "variant s3-buffered-cas: at start, try whether the server keeps conditions, also among "
            "writers at once; refuse a server that does not, only warn of it, or do not try"},
    {.name = "cache.open_ttl", FIELD(cache.open_ttl_ns), .type = CONF_DURATION, .def = "0",
     .max = HOUR,
     .doc = "how old an answer of S3 may be when a file is opened"},

    {.name = "directories.ttl", FIELD(directories.ttl_ns), .type = CONF_DURATION,
     .def = "1s", .max = HOUR,
     .doc = "how old a listing may be"},
    {.name = "directories.entry_ttl", FIELD(directories.entry_ttl_ns), .type = CONF_DURATION,
     .def = "30s", .max = HOUR,
     .doc = "how long a directory is believed to be there by who only walks through it, or replaces "
            "a file in it"},
    {.name = "directories.negative_ttl", FIELD(directories.negative_ttl_ns), .type = CONF_DURATION,
     .def = "0", .max = HOUR,
     .doc = "how old a complete listing may be that says that a name is not there; 0: S3 is asked each "
            "time, so that a file put elsewhere is found at once"},
    {.name = "directories.marker", FIELD(directories.marker), .type = CONF_BOOL,
     .def = "true",
     .doc = "mkdir puts an empty object NAME/, so that empty directories stay"},

    {.name = "log.level", FIELD(log.level), .type = CONF_ENUM, .def = "notice",
     .choices = levels,
     .doc = "the least important lines that are written"},

    {.name = "control.socket", FIELD(control.socket), .type = CONF_STRING,
     .automatic = "named after mount.path, in /run/stateproxy or $XDG_RUNTIME_DIR/stateproxy",
     .max = CONF_SOCKET_MAX - 1, .check = conf_check_path,
     .expected = PATH_TEXT,
     .doc = "Unix socket that stateproxyctl talks to"},

    {.name = "daemon.drain_timeout", FIELD(daemon.drain_timeout_ns), .type = CONF_DURATION,
     .def = "25s", .min = NS_PER_S, .max = HOUR,
     .doc = "time for uploads to finish after SIGTERM"},
};

/* clang-format on */

const size_t conf_n_keys = sizeof(conf_keys) / sizeof(conf_keys[0]);
static_assert(sizeof(conf_keys) / sizeof(conf_keys[0]) <= CONF_N_KEYS_MAX, "");

const struct conf_key *conf_key_find(const char *name)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        if (strcmp(conf_keys[i].name, name) == 0)
            return &conf_keys[i];
    }
    return NULL;
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

const char *conf_key_env(const struct conf_key *key, unsigned i,
                         char own[CONF_ENV_NAME_MAX])
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
        left += c->value >= 0;
    out[0] = '\0';
    for (const struct conf_choice *c = key->choices; c->name; c++) {
        if (c->value < 0)
            continue;
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
        snprintf(out, CONF_EXPECTED_MAX, "%sa size from %s to %s", word, low,
                 high);
        break;
    case CONF_DURATION:
        conf_value_format_duration(key->min, low);
        conf_value_format_duration(key->max, high);
        snprintf(out, CONF_EXPECTED_MAX, "%sa time from %s to %s", word, low,
                 high);
        break;
    case CONF_UINT:
        snprintf(out, CONF_EXPECTED_MAX,
                 "%sa number from %" PRIu64 " to %" PRIu64, word, key->min,
                 key->max);
        break;
    case CONF_MODE:
        snprintf(out, CONF_EXPECTED_MAX, "%soctal permissions as 0644", word);
        break;
    case CONF_BOOL:
        snprintf(out, CONF_EXPECTED_MAX, "%strue or false",
                 key->automatic ? "auto, " : "");
        break;
    case CONF_ENUM:
        expected_choices(key, out);
        break;
    }
}

const char *conf_key_form(const struct conf_key *key)
{
    switch (key->type) {
    case CONF_SIZE:
        return ", as 64Mi (B, Ki, Mi, Gi, Ti)";
    case CONF_DURATION:
        return ", as 250ms (ms, s, m, h)";
    default:
        return "";
    }
}
