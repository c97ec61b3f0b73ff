/* The answers of an S3 server that has no memory: what a key is shows in its name, and a change
 * succeeds. A name that begins with 'f' is a file of 5 bytes, with 'F' one of 300,000, with 'd' a
 * directory; every directory lists "f", "f.txt", "F" and "d". All else is missing. */
#ifndef TESTS_FUZZ_TOY_S3_H
#define TESTS_FUZZ_TOY_S3_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Counts anew. Each `every`-th answer (0: none) is fault number `fault`. */
void toy_s3_begin(uint8_t every, uint8_t fault);

/* A responder_fn. */
bool toy_s3_answer(void *arg, const char *head, struct buf *answer);

#endif
