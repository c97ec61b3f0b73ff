/* An error for the operator: an errno and one line of text.
 *
 * Functions that can fail return 0 or a positive result, and -errno on failure. Those whose failure
 * an operator reads about (configuration, mount, S3 set-up) also take a `struct err *` as last
 * argument. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#define ERR_TEXT_MAX 512

#define must_use __attribute__((warn_unused_result))

struct err {
    int code; /* positive errno, 0 = no error */
    char text[ERR_TEXT_MAX];
};

/* Fills *err (may be NULL) with `code` (positive errno) and the formatted text. Text that is too
 * long is cut between two words and marked with "...". Returns -code, so that a function can end
 * with `return err_set(err, EINVAL, "...")`. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text of *err. Returns -err->code; -EINVAL if err is NULL or was not
 * filled, so that a failure stays a failure. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Cuts text that did not fit into `cap` bytes (`wanted`: its full length, as snprintf(3) returned
 * it) back to its last whole word, and appends "...". */
void err_cut(char *text, size_t cap, int wanted);

#endif
