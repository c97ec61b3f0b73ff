/* Resources that a scope owns: `cleanup_free char *p = ...;` is freed when p leaves its scope.
 * take_ptr and take_fd hand the resource on and disarm the cleanup. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_freep(void *pp)
{
    free(*(void **)pp);
}

static inline void cleanup_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline int take_fd(int *fd)
{
    int v = *fd;

    *fd = -1;
    return v;
}

#define cleanup_free __attribute__((cleanup(cleanup_freep)))
#define cleanup_fd __attribute__((cleanup(cleanup_closep)))

#define take_ptr(pp)                                                                               \
    ({                                                                                             \
        __typeof__(*(pp)) take_v = *(pp);                                                          \
        *(pp) = NULL;                                                                              \
        take_v;                                                                                    \
    })

#endif
