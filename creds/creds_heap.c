/* malloc and free of libcurl, libxml2 and jansson in the process that fetches credentials: each
 * copies what it is given, and would leave the secret in freed memory. */
#include "creds/creds_heap.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

void *creds_heap_malloc(size_t size)
{
    return malloc(size);
}

void *creds_heap_calloc(size_t n, size_t size)
{
    return calloc(n, size);
}

void creds_heap_free(void *p)
{
    if (p)
        sodium_memzero(p, malloc_usable_size(p));
    free(p);
}

/* Never in place, so that what moves away is wiped. */
void *creds_heap_realloc(void *p, size_t size)
{
    size_t had = p ? malloc_usable_size(p) : 0;
    void *q = malloc(size ? size : 1);

    if (!q)
        return NULL;
    if (p)
        memcpy(q, p, had < size ? had : size);
    creds_heap_free(p);
    return q;
}

char *creds_heap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}
