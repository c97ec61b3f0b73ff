/* What the targets share: a check that also counts where the program would not crash by itself. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer's entries. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must hold whatever the input is. */
#define fuzz_check(what)                                                                           \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Text for an operator or a log: one line, no terminal sequences. */
static inline void fuzz_check_text(const char *text)
{
    for (; *text; text++)
        fuzz_check((unsigned char)*text >= ' ' && *text != 0x7f);
}

/* The bytes on a heap piece of exactly their length: a sanitizer sees one read too many. */
static inline uint8_t *fuzz_copy(const void *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    fuzz_check(copy);
    if (len)
        memcpy(copy, data, len);
    return copy;
}

#endif
