/* For the tests of conf/: a folder of their own to stand in, and configurations from text. */
#ifndef TESTS_CONF_LOAD_H
#define TESTS_CONF_LOAD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/conf.h"

#define LOAD_FILE "c.yaml"
#define LOAD_ENV_MAX 16

/* What every configuration needs. */
#define LOAD_BASE_ENV                                                                              \
    "STATE_BUCKET=bkt", "STATE_MOUNT=/mnt/x", "AWS_ACCESS_KEY_ID=AKIDTEST",                        \
        "AWS_SECRET_ACCESS_KEY=sesame"

static char load_dir[] = "/tmp/stateproxy-test-XXXXXX";

/* Group set-up: work in a new folder, so that file names in messages are short and known. */
static inline int load_setup(void **state)
{
    (void)state;
    return mkdtemp(load_dir) && chdir(load_dir) == 0 ? 0 : -1;
}

static inline int load_teardown(void **state)
{
    (void)state;
    unlink(LOAD_FILE);
    return chdir("/") == 0 && rmdir(load_dir) == 0 ? 0 : -1;
}

static inline void load_write(const void *text, size_t len)
{
    FILE *f = fopen(LOAD_FILE, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* Loads `text` (NULL = no file) with exactly the variables in `env`. */
static inline int load_exact(const char *text, char *const *env, struct conf **ret_conf,
                             struct err *err)
{
    if (text)
        load_write(text, strlen(text));
    return conf_load(text ? LOAD_FILE : NULL, env, ret_conf, err);
}

/* Loads `text` with LOAD_BASE_ENV and then `extra` ("NAME=value", NULL = none). */
static inline int load_text(const char *text, const char *extra, struct conf **ret_conf,
                            struct err *err)
{
    char copy[512];
    char *env[LOAD_ENV_MAX] = {LOAD_BASE_ENV};

    if (extra) {
        snprintf(copy, sizeof(copy), "%s", extra);
        env[4] = copy;
    }
    return load_exact(text, env, ret_conf, err);
}

/* The same, and it must work. The caller frees. */
static inline struct conf *load_good(const char *text, const char *extra)
{
    struct err err = {0};
    struct conf *conf = NULL;
    int r = load_text(text, extra, &conf, &err);

    if (r != 0)
        fail_msg("%s", err.text);
    return conf;
}

/* It must fail, with this code and exactly this line, and touch nothing. */
static inline void load_bad(const char *text, const char *extra, int code, const char *line)
{
    struct conf *untouched = (struct conf *)&load_dir, *conf = untouched;
    struct err err = {0};
    int r = load_text(text, extra, &conf, &err);

    if (r >= 0)
        fail_msg("loaded, expected: %s", line);
    assert_string_equal(err.text, line);
    assert_int_equal(r, -code);
    assert_int_equal(err.code, code);
    assert_ptr_equal(conf, untouched);
}

#endif
