/* Finds the known name that a misspelled name most likely means. */
#ifndef CONF_CONF_SUGGEST_H
#define CONF_CONF_SUGGEST_H

#include <stddef.h>

#define CONF_SUGGEST_MAX 64 /* maximum length of a name that is compared, with NUL */

struct conf_suggest {
    const char *wanted;          /* borrowed */
    char best[CONF_SUGGEST_MAX]; /* "" = nothing is near enough */
    size_t distance;
};

void conf_suggest_init(struct conf_suggest *s, const char *wanted);

/* Keeps `name` if it is near enough to the wanted name and nearer than all offered before. */
void conf_suggest_offer(struct conf_suggest *s, const char *name);

/* Keeps `name` unless one with a distance below `distance` was offered before. */
void conf_suggest_offer_at(struct conf_suggest *s, const char *name, size_t distance);

/* Edits (insert, delete, replace, swap neighbours) from a to b; case, and '-' for '_', cost
 * nothing. (size_t)-1 for names that are too long to compare. */
size_t conf_suggest_distance(const char *a, const char *b);

#endif
