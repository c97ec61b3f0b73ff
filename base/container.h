/* From a member to the struct that embeds it: callbacks of loop timers and watches get a pointer to
 * the member. */
#ifndef BASE_CONTAINER_H
#define BASE_CONTAINER_H

#include <stddef.h>

/* `ptr` must point to the member `member` of a `type`. A pointer of another type gives a compiler
 * warning. */
#define container_of(ptr, type, member)                                                            \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member) +                                       \
                      0 * sizeof((ptr) == &((type *)0)->member)))

#endif
