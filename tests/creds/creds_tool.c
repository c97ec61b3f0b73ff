/* Fetches credentials for check-fetch: reads "name=value" lines of a struct creds_conf from stdin,
 * and prints what came as such lines, or "error=CODE" and "text=...". With the argument `look` it
 * only looks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/clock.h"
#include "creds/creds.h"

#define LINE_LEN 16384

extern char **environ;

static struct creds_conf conf;

static const struct {
    const char *name;
    const char **at;
} fields[] = {
    {"access_key", &conf.access_key},
    {"secret", &conf.secret},
    {"session_token", &conf.session_token},
    {"role_arn", &conf.role_arn},
    {"web_identity_token_file", &conf.web_identity_token_file},
    {"role_session_name", &conf.role_session_name},
    {"profile", &conf.profile},
    {"config_file", &conf.config_file},
    {"credentials_file", &conf.credentials_file},
    {"home", &conf.home},
    {"container_relative_uri", &conf.container_relative_uri},
    {"container_full_uri", &conf.container_full_uri},
    {"container_token", &conf.container_token},
    {"container_token_file", &conf.container_token_file},
    {"container_base", &conf.container_base},
    {"metadata_endpoint", &conf.metadata_endpoint},
    {"sts_endpoint", &conf.sts_endpoint},
    {"sso_endpoint", &conf.sso_endpoint},
    {"region", &conf.region},
    {"ca_bundle", &conf.ca_bundle},
};

static void read_line(char *line)
{
    char *equals = strchr(line, '=');

    line[strcspn(line, "\n")] = '\0';
    if (!equals)
        exit(2);
    *equals = '\0';
    if (strcmp(line, "metadata_disabled") == 0) {
        conf.metadata_disabled = equals[1] == '1';
        return;
    }
    if (strcmp(line, "limit_ms") == 0) {
        conf.limit_ns = strtoull(equals + 1, NULL, 10) * NS_PER_MS;
        return;
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].name, line) == 0) {
            *fields[i].at = strdup(equals + 1);
            return;
        }
    }
    fprintf(stderr, "creds_tool: no field %s\n", line);
    exit(2);
}

static void look(void)
{
    char provider[CREDS_PROVIDER_MAX] = "";
    struct err err = {0};
    int r = creds_look(&conf, provider, &err);

    if (r < 0)
        printf("error=%s\ntext=%s\n", strerrorname_np(-r), err.text);
    else
        printf("provider=%s\n", provider);
}

static void fetch(void)
{
    struct creds *c;
    struct err err = {0};
    int r;

    if (creds_init() < 0 || !(c = sodium_malloc(sizeof(*c))))
        exit(2);
    r = creds_fetch(&conf, c, &err);
    printf("provider=%s\n", c->provider);
    if (r < 0)
        printf("error=%s\ntext=%s\n", strerrorname_np(-r), err.text);
    else
        printf("access_key=%s\nsecret=%s\nsession_token=%s\nexpires=%llu\naccount=%s\n",
               c->access_key, c->secret, c->session_token,
               (unsigned long long)(c->expires_ns / NS_PER_S), c->account);
    sodium_free(c);
}

int main(int argc, char **argv)
{
    static char line[LINE_LEN];

    conf = (struct creds_conf){.stop_fd = -1, .limit_ns = 20 * NS_PER_S, .program_env = environ};
    while (fgets(line, sizeof(line), stdin))
        read_line(line);
    if (argc > 1 && strcmp(argv[1], "look") == 0)
        look();
    else
        fetch();
    return 0;
}
