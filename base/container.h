/* From a member to the struct that it is embedded in: loop timers and watches are told of by a
 * pointer to themselves. */
#ifndef BASE_CONTAINER_H
#define BASE_CONTAINER_H

#include <stddef.h>

/* `ptr` must point to the member `member` of a `type`; a pointer of another type does not compile
 * without a warning. */
#define container_of(ptr, type, member)                                                            \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member) +                                       \
                      0 * sizeof((ptr) == &((type *)0)->member)))

#endif
