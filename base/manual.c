/* Prints the tables of manual.h as the text of --help. man/pages.c prints them as roff and
 * Markdown. */
#include "base/manual.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define LIST_FIRST_MAX 64

void manual_getopt(const struct manual_row *options, struct option out[MANUAL_OPTIONS_MAX + 1])
{
    unsigned n = 0;

    for (const struct manual_row *o = options; o->name; o++, n++) {
        assert(n < MANUAL_OPTIONS_MAX);
        out[n] = (struct option){
            .name = o->name, .has_arg = o->arg ? required_argument : no_argument, .val = o->letter};
    }
    out[n] = (struct option){0};
}

void manual_wrap(FILE *out, const char *first, const char *rest, const char *text, size_t width)
{
    size_t column = strlen(first);
    bool fresh = true;

    fputs(first, out);
    while (*text) {
        size_t n = strcspn(text, " ");

        if (!fresh && column + 1 + n > width) {
            fprintf(out, "\n%s", rest);
            column = strlen(rest);
            fresh = true;
        }
        fprintf(out, "%s%.*s", fresh ? "" : " ", (int)n, text);
        column += n + !fresh;
        fresh = false;
        text += n + (text[n] == ' ');
    }
    putc('\n', out);
}

static void term(const struct manual_row *row, const char *dashes, char out[LIST_FIRST_MAX])
{
    snprintf(out, LIST_FIRST_MAX, "  %s%s%s%s", dashes, row->name, row->arg ? " " : "",
             row->arg ? row->arg : "");
}

/* Two columns; the second begins after the longest name. */
static void print_list(const struct manual_row *rows, const char *dashes, FILE *out)
{
    char name[LIST_FIRST_MAX], first[LIST_FIRST_MAX + 2], rest[LIST_FIRST_MAX + 2];
    size_t longest = 0;

    for (const struct manual_row *r = rows; r->name; r++) {
        term(r, dashes, name);
        if (strlen(name) > longest)
            longest = strlen(name);
    }
    snprintf(rest, sizeof(rest), "%*s", (int)longest + 2, "");
    for (const struct manual_row *r = rows; r->name; r++) {
        term(r, dashes, name);
        snprintf(first, sizeof(first), "%-*s", (int)longest + 2, name);
        manual_wrap(out, first, rest, r->doc, MANUAL_WIDTH);
    }
}

void manual_print_options(const struct manual_row *options, FILE *out)
{
    print_list(options, "--", out);
}

void manual_print_rows(const struct manual_row *rows, FILE *out)
{
    print_list(rows, "", out);
}
