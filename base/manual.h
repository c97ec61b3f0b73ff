/* The options, commands and exit codes of a program, as tables: one source for getopt_long, --help
 * and the manual pages (man/pages.c). No state, no allocation. */
#ifndef BASE_MANUAL_H
#define BASE_MANUAL_H

#include <getopt.h>
#include <stdio.h>

#define MANUAL_OPTIONS_MAX 16
#define MANUAL_WIDTH 80 /* columns of --help */

/* One row of a list. A table ends with .name = NULL. */
struct manual_row {
    const char *name; /* "config", "status", "64" */
    const char *arg;  /* options: the name of its argument; NULL = none */
    int letter;       /* options: what getopt_long returns */
    const char *doc;  /* plain text, lower case, no full stop */
};

/* Fills `out` for getopt_long. */
void manual_getopt(const struct manual_row *options, struct option out[MANUAL_OPTIONS_MAX + 1]);

/* Lists for --help: "  --config FILE    read FILE ...", "  64   wrong option ...". */
void manual_print_options(const struct manual_row *options, FILE *out);
void manual_print_rows(const struct manual_row *rows, FILE *out);

/* Writes `text` in lines of at most `width` columns (a longer word gets a line of its own), the
 * first after `first`, the others after `rest`, and ends the last line. Counts bytes, so for ASCII
 * only. */
void manual_wrap(FILE *out, const char *first, const char *rest, const char *text, size_t width);

#endif
