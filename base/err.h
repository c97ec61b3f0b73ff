/* An error that an operator reads: an errno and one line of text.
 *
 * Fallible functions return 0 or a positive result, and -errno on failure. Those whose failures an
 * operator reads about (configuration, mount, S3 set-up) take a `struct err *` as last argument
 * too.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#define ERR_TEXT_MAX 512

#define must_use __attribute__((warn_unused_result))

struct err {
    int code; /* positive errno, 0 = no error */
    char text[ERR_TEXT_MAX];
};

/* Fills *err (may be NULL) with `code` (positive errno) and the formatted text, which is
 * cut between two words where it is too long ("...").
 * Returns -code, so that a function can end with `return err_set(err, EINVAL, "...")`. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text that is in *err. Returns -err->code; -EINVAL if err is NULL or
 * was not filled, so that a failure stays one. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Cuts a text that did not fit into its `cap` bytes (`wanted`: its length, as snprintf(3) told)
 * back to its last whole word, and marks that. */
void err_cut(char *text, size_t cap, int wanted);

#endif
