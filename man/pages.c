/* Prints a manual page or docs/CONFIGURATION.md from its template: a line @NAME@ is replaced by a
 * table that the programs themselves use (conf_keys.c, options.c of daemon/ and ctl/), every other
 * line is copied. tools/check-manual runs it and compares; `make update-manual` runs it and
 * writes. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/manual.h"
#include "conf/conf_keys.h"
#include "ctl/options.h"
#include "daemon/options.h"

/* ---- roff ---- */

static void roff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++) {
        switch (*text) {
        case '\\':
            fputs("\\e", stdout);
            break;
        case '-':
            fputs("\\-", stdout);
            break;
        case '\'':
            fputs("\\(aq", stdout);
            break;
        default:
            putchar(*text);
        }
    }
}

/* An entry of a table as a sentence: capital letter, full stop. "full: ..." is a value and keeps
 * its case. */
static const char *sentence(const char *doc, char out[1024])
{
    size_t word = strcspn(doc, " ");

    snprintf(out, 1024, "%s%s", doc, doc[strlen(doc) - 1] == '.' ? "" : ".");
    if (word == 0 || doc[word - 1] != ':')
        out[0] = (char)toupper((unsigned char)out[0]);
    return out;
}

static void roff_list(const struct manual_row *rows, const char *dashes)
{
    char text[1024];

    for (; rows->name; rows++) {
        fputs(".TP\n\\fB", stdout);
        roff(dashes);
        roff(rows->name);
        fputs("\\fR", stdout);
        if (rows->arg)
            printf(" \\fI%s\\fR", rows->arg);
        putchar('\n');
        roff(sentence(rows->doc, text));
        putchar('\n');
    }
}

static void roff_key(const struct conf_key *key)
{
    char expected[CONF_EXPECTED_MAX], usual[CONF_DEFAULT_MAX], own[CONF_ENV_NAME_MAX], text[1024];
    const char *name;

    conf_key_expected(key, expected);
    conf_key_default(key, usual);
    fputs(".TP\n\\fB", stdout);
    roff(key->name);
    fputs("\\fR\n", stdout);
    roff(sentence(key->doc, text));
    fputs("\n.br\nValue: ", stdout);
    roff(expected);
    fputs("; ", stdout);
    roff(usual);
    fputs(".\n.br\nEnvironment: ", stdout);
    for (unsigned i = 0; (name = conf_key_env(key, i, own)); i++) {
        fputs(i ? ", " : "", stdout);
        roff(name);
    }
    fputs(".\n", stdout);
}

/* ---- Markdown ---- */

static void markdown_key(const struct conf_key *key)
{
    char expected[CONF_EXPECTED_MAX], usual[CONF_DEFAULT_MAX], own[CONF_ENV_NAME_MAX], text[1024];
    const char *name;

    conf_key_expected(key, expected);
    conf_key_default(key, usual);
    printf("\n### `%s`\n\n", key->name);
    manual_wrap(stdout, "", "", sentence(key->doc, text), 120);
    printf("\n* Value: %s; %s.\n* Environment: ", expected, usual);
    for (unsigned i = 0; (name = conf_key_env(key, i, own)); i++)
        printf("%s`%s`", i ? ", " : "", name);
    putchar('\n');
}

/* ---- templates ---- */

static bool begins_section(size_t i)
{
    size_t len = conf_key_section_len(&conf_keys[i]);

    return i == 0 || conf_key_section_len(&conf_keys[i - 1]) != len ||
           strncmp(conf_keys[i - 1].name, conf_keys[i].name, len) != 0;
}

static void print_keys(bool markdown)
{
    for (size_t i = 0; i < conf_n_keys; i++) {
        const struct conf_key *key = &conf_keys[i];
        int len = (int)conf_key_section_len(key);

        if (begins_section(i))
            printf(markdown ? "%s## %.*s\n" : "%s.SS %.*s\n", markdown && i ? "\n" : "",
                   len ? len : (int)strlen("General"), len ? key->name : "General");
        if (markdown)
            markdown_key(key);
        else
            roff_key(key);
    }
}

static const struct {
    const char *name;
    const struct manual_row *rows;
    const char *dashes;
} lists[] = {
    {"@DAEMON_OPTIONS@\n", daemon_options, "--"}, {"@DAEMON_EXIT_CODES@\n", daemon_exit_codes, ""},
    {"@CTL_COMMANDS@\n", ctl_commands, ""},       {"@CTL_OPTIONS@\n", ctl_options, "--"},
    {"@CTL_EXIT_CODES@\n", ctl_exit_codes, ""},   {"@HOLD_OPTIONS@\n", daemon_hold_options, "--"},
};

/* False if the line is an unknown directive. */
static bool print_line(const char *line)
{
    const char *at = strstr(line, "@VERSION@");

    if (strcmp(line, "@KEYS@\n") == 0) {
        print_keys(false);
        return true;
    }
    if (strcmp(line, "@MARKDOWN_KEYS@\n") == 0) {
        print_keys(true);
        return true;
    }
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (strcmp(line, lists[i].name) == 0) {
            roff_list(lists[i].rows, lists[i].dashes);
            return true;
        }
    }
    if (at)
        printf("%.*s" PACKAGE_VERSION "%s", (int)(at - line), line, at + strlen("@VERSION@"));
    else
        fputs(line, stdout);
    return at || *line != '@';
}

int main(int argc, char **argv)
{
    char line[1024];
    FILE *in;

    if (argc != 2 || !(in = fopen(argv[1], "re"))) {
        fputs("usage: pages TEMPLATE\n", stderr);
        return EXIT_FAILURE;
    }
    while (fgets(line, sizeof(line), in)) {
        if (!print_line(line)) {
            fprintf(stderr, "%s: unknown directive %s", argv[1], line);
            return EXIT_FAILURE;
        }
    }
    if (ferror(in) || fclose(in) != 0 || fflush(stdout) != 0)
        return EXIT_FAILURE;
    return 0;
}
