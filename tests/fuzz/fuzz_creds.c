/* creds/: what files, endpoints, STS and programs say. The first byte chooses the decoder. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include <sodium.h>

#include "creds/creds_ini.h"
#include "creds/creds_job.h"
#include "creds/creds_json.h"
#include "creds/creds_provider.h"
#include "creds/creds_sts_xml.h"

#define WORDS 16

/* What fits a header, and is there. */
static void check_creds(const struct creds *c)
{
    fuzz_check(*c->access_key && strlen(c->access_key) < sizeof(c->access_key));
    fuzz_check(*c->secret && strlen(c->secret) < sizeof(c->secret));
    fuzz_check(strlen(c->session_token) < sizeof(c->session_token));
    fuzz_check(strlen(c->account) < sizeof(c->account));
    for (const char *p = c->session_token; *p; p++)
        fuzz_check(*p > ' ' && *p <= '~');
}

static char *as_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    fuzz_check(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static int on_entry(void *arg, const char *section, const char *key, const char *value)
{
    unsigned *n = arg;

    fuzz_check(*section && strlen(key) + strlen(value) < 5000);
    fuzz_check(!strchr(value, '\n') && !strchr(key, '='));
    return ++*n > CREDS_INI_ENTRIES_MAX ? -EINVAL : 0;
}

static void fuzz_ini(char *text)
{
    struct err err = {0};
    unsigned n = 0;
    int r = creds_ini_parse(text, on_entry, &n, &err);

    fuzz_check(r == 0 || (r == -EINVAL && *err.text));
    fuzz_check(n <= CREDS_INI_ENTRIES_MAX);
}

static void fuzz_json(const uint8_t *data, size_t size)
{
    static const struct creds_json_names names = {.access_key = "AccessKeyId",
                                                  .secret = "SecretAccessKey",
                                                  .token = "Token",
                                                  .expires = "Expiration",
                                                  .account = "AccountId"};
    uint8_t *copy = fuzz_copy(data, size);
    struct json_t *json = NULL;
    struct creds c = {0};
    struct err err = {0};

    if (creds_json_parse((char *)copy, size, &json, &err) == 0 &&
        creds_json_take(json, &names, &c, &err) == 0)
        check_creds(&c);
    creds_json_done(&json);
    free(copy);
}

static void fuzz_sts(const uint8_t *data, size_t size)
{
    static struct creds_sts_reply reply;
    uint8_t *copy = fuzz_copy(data, size);
    struct err err = {0};
    int r = creds_sts_parse((char *)copy, size, &reply, &err);

    fuzz_check(r == 0 || (r == -EINVAL && *err.text));
    fuzz_check(strlen(reply.code) < sizeof(reply.code));
    if (r == 0 && !*reply.code)
        check_creds(&reply.creds);
    free(copy);
}

static void fuzz_words(char *text)
{
    size_t len = strlen(text);
    char *words[WORDS];
    int n = creds_words(text, words, WORDS);

    fuzz_check(n == -EINVAL || (n > 0 && n < WORDS && !words[n]));
    for (int i = 0; i < n; i++)
        fuzz_check(words[i] >= text && words[i] + strlen(words[i]) <= text + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size == 0 || sodium_init() < 0)
        return 0;
    text = as_text(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        fuzz_ini(text);
        break;
    case 1:
        fuzz_json(data + 1, size - 1);
        break;
    case 2:
        fuzz_sts(data + 1, size - 1);
        break;
    default:
        fuzz_words(text);
        break;
    }
    free(text);
    return 0;
}
