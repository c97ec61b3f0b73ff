/* The descriptors of one daemon at its holder. */
#include "daemon/hold_set.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/hold_wire.h"

#define ROOM_FIRST 64u

static int hold_set_grow(struct hold_set *set)
{
    unsigned room = set->room ? 2 * set->room : ROOM_FIRST;
    struct hold_kept *kept;

    if (set->n < set->room)
        return 0;
    kept = realloc(set->kept, room * sizeof(*kept));
    if (!kept)
        return -ENOMEM;
    set->kept = kept;
    set->room = room;
    return 0;
}

int hold_set_add(struct hold_set *set, int number, int fd)
{
    int r;

    if (set->n == HOLD_FDS_MAX)
        return -E2BIG;
    for (unsigned i = 0; i < set->n; i++) {
        if (set->kept[i].number == number)
            return -EEXIST;
    }
    r = hold_set_grow(set);
    if (r == 0)
        set->kept[set->n++] = (struct hold_kept){.number = number, .fd = fd};
    return r;
}

void hold_set_clear(struct hold_set *set)
{
    for (unsigned i = 0; i < set->n; i++)
        close(set->kept[i].fd);
    free(set->kept);
    *set = (struct hold_set){0};
}
