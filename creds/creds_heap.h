/* A heap that wipes what it frees, for libraries through which a secret passes. */
#ifndef CREDS_CREDS_HEAP_H
#define CREDS_CREDS_HEAP_H

#include <stddef.h>

/* As those of <stdlib.h> and <string.h>. */
void *creds_heap_malloc(size_t size);
void *creds_heap_calloc(size_t n, size_t size);
void *creds_heap_realloc(void *p, size_t size);
char *creds_heap_strdup(const char *text);
void creds_heap_free(void *p);

#endif
