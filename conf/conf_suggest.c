/* Edit distance (optimal string alignment) between short names, three rows at a time. */
#include "conf/conf_suggest.h"

#include <ctype.h>
#include <string.h>

#include "base/min.h"

#define NAME_LEN (CONF_SUGGEST_MAX - 1)

static int fold(char c)
{
    return c == '-' ? '_' : tolower((unsigned char)c);
}

size_t conf_suggest_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_LEN + 1];
    size_t *older = rows[0], *above = rows[1], *row = rows[2];
    size_t la = strlen(a), lb = strlen(b);

    if (la > NAME_LEN || lb > NAME_LEN)
        return (size_t)-1;
    for (size_t j = 0; j <= lb; j++)
        above[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *spare = older;

        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t differ = fold(a[i - 1]) != fold(b[j - 1]);

            row[j] = min_u64(above[j - 1] + differ, min_u64(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                row[j] = min_u64(row[j], older[j - 2] + differ);
        }
        older = above;
        above = row;
        row = spare;
    }
    return above[lb];
}

void conf_suggest_init(struct conf_suggest *s, const char *wanted)
{
    *s = (struct conf_suggest){.wanted = wanted, .distance = (size_t)-1};
}

void conf_suggest_offer_at(struct conf_suggest *s, const char *name, size_t distance)
{
    size_t n = strlen(name);

    if (distance >= s->distance || n >= sizeof(s->best))
        return;
    memcpy(s->best, name, n + 1);
    s->distance = distance;
}

void conf_suggest_offer(struct conf_suggest *s, const char *name)
{
    size_t shorter = min_u64(strlen(s->wanted), strlen(name));
    size_t d = conf_suggest_distance(s->wanted, name);

    if (d <= min_u64(shorter / 3, 3))
        conf_suggest_offer_at(s, name, d);
}
