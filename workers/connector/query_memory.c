/* See query_memory.h. */
#include "workers/connector/query_memory.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#include <jansson.h>

static size_t kept; /* of kept_max */
static size_t kept_max = QUERY_KEPT_MAX;
static size_t tree_max = QUERY_TREE_MAX;
static size_t trees;      /* bytes of jansson */
static size_t trees_from; /* ... at query_memory_limit() */
static size_t trees_max = SIZE_MAX;
static bool refused;

void query_memory_within(size_t bytes)
{
    if (bytes < QUERY_TREE_MAX)
        tree_max = bytes;
    if (bytes < QUERY_KEPT_MAX - QUERY_REQUEST_MAX)
        kept_max = bytes + QUERY_REQUEST_MAX;
}

size_t query_memory_tree_max(void)
{
    return tree_max;
}

bool query_memory_take(size_t bytes)
{
    if (bytes > kept_max - kept)
        return false;
    kept += bytes;
    return true;
}

void query_memory_give(size_t bytes)
{
    kept -= bytes;
}

static void *tree_malloc(size_t size)
{
    void *p;

    if (trees >= trees_max || size > trees_max - trees) {
        refused = true;
        return NULL;
    }
    p = malloc(size);
    trees += p ? malloc_usable_size(p) : 0;
    return p;
}

static void tree_free(void *p)
{
    if (p)
        trees -= malloc_usable_size(p);
    free(p);
}

void query_memory_limit(size_t bytes)
{
    static bool counts;

    if (!counts)
        json_set_alloc_funcs(tree_malloc, tree_free);
    counts = true;
    refused = false;
    trees_from = trees;
    trees_max = trees + bytes;
}

size_t query_memory_unlimit(bool *ret_refused)
{
    trees_max = SIZE_MAX;
    *ret_refused = refused;
    return trees > trees_from ? trees - trees_from : 0;
}
