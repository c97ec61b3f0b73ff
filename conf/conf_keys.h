/* The one table of keys. Parsing, checks, --help, --print-config and the sample file all read it.
 *
 * To add a key: a row in conf_keys.c and a field in struct conf.
 */
#ifndef CONF_CONF_KEYS_H
#define CONF_CONF_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONF_KEY_NAME_MAX 48 /* "section.key" with NUL */
#define CONF_ENV_NAME_MAX 64 /* with NUL */
#define CONF_N_ENV 2         /* environment names of a key besides STATEPROXY_<NAME> */
#define CONF_EXPECTED_MAX 192
#define CONF_DEFAULT_MAX 160
#define CONF_N_KEYS_MAX 128 /* rows of the table, at most */

enum conf_type {
    CONF_STRING,   /* const char *; min and max are bytes */
    CONF_SECRET,   /* the same, in sodium memory, from the environment only */
    CONF_SIZE,     /* uint64_t bytes */
    CONF_DURATION, /* uint64_t ns */
    CONF_UINT,     /* unsigned */
    CONF_MODE,     /* mode_t */
    CONF_BOOL,     /* bool */
    CONF_ENUM      /* an enum */
};

struct conf_choice {
    const char *name; /* NULL ends the list */
    int value;        /* negative: reserved for a later version */
};

/* True if `text` is valid. May bring it into its normal form, in place, never longer. */
typedef bool conf_check_fn(char *text);

struct conf_key {
    const char *name;            /* "bucket", "s3.region" */
    const char *env[CONF_N_ENV]; /* names that precede STATEPROXY_<NAME>; the first that is set
                                  * counts */
    enum conf_type type;
    bool required;
    bool for_workers;      /* a secret that the workers need too */
    bool live;             /* may change at a restart in place: no state depends on it */
    const char *def;       /* as text; NULL: required, a secret, or `automatic` */
    const char *automatic; /* meaning of "auto" (the default); NULL = "auto" is not allowed */
    uint64_t min, max;     /* range of a number; of a string's length in bytes */
    const struct conf_choice *choices;
    conf_check_fn *check;
    const char *expected; /* strings: what `check` accepts, for "expected ..." */
    const char *example;  /* sample: value of a key that has no default */
    const char *doc;      /* one line, lower case, no full stop */
    size_t offset;        /* in struct conf */
};

extern const struct conf_key conf_keys[];
extern const size_t conf_n_keys;

/* NULL if there is none. */
const struct conf_key *conf_key_find(const char *name);

/* The name of a value of an enum key, such as "variant"; "?" if it has none. */
const char *conf_choice_name(const char *key, int value);

/* Length of the "s3" in "s3.region", 0 for a key outside sections. */
size_t conf_key_section_len(const struct conf_key *key);
/* The "region" of "s3.region". */
const char *conf_key_last(const struct conf_key *key);

/* True if `name` is the section of a key. */
bool conf_key_is_section(const char *name);

/* True if its section is the name of a key too ("metadata" of "metadata.content_type"): files show
 * it with its whole name, outside sections. */
bool conf_key_is_dotted(const struct conf_key *key);

/* STATEPROXY_S3_REGION of "s3.region". */
void conf_key_own_env(const struct conf_key *key, char out[CONF_ENV_NAME_MAX]);

/* The i-th environment name of a key, most important first, its STATEPROXY_ name last; NULL beyond.
 * `own` receives that last name. */
const char *conf_key_env(const struct conf_key *key, unsigned i, char own[CONF_ENV_NAME_MAX]);

/* What a value must be: "a size from 64Ki to 1Gi". */
void conf_key_expected(const struct conf_key *key, char out[CONF_EXPECTED_MAX]);
/* "required", "default 5s", "default auto: the limit of ...", "only from the environment". */
void conf_key_default(const struct conf_key *key, char out[CONF_DEFAULT_MAX]);
/* How values of that type are written, to follow "expected ...": ", such as 64Mi (...)", or "". */
const char *conf_key_form(const struct conf_key *key);

#endif
