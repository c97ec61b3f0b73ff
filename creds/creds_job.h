/* One fetch, as the providers share it. Inside creds/ only. */
#ifndef CREDS_CREDS_JOB_H
#define CREDS_CREDS_JOB_H

#include "creds/creds.h"

#define CREDS_BODY_MAX (64u << 10) /* of an answer, of a program's output, of a token file */

struct creds_job {
    const struct creds_conf *conf;
    uint64_t until_ns; /* clock_mono_ns: the end of the fetch as a whole */
    bool look_only;    /* creds_look: providers check what is local, and fill `provider` alone */
};

/* Bytes that may hold a secret, in locked memory: whole, or nothing. */
struct creds_bytes {
    char *data; /* NUL-terminated; NULL = none */
    size_t len, cap;
};

/* Room for `cap` bytes and a NUL. 0 or -ENOMEM. creds_bytes_done wipes and frees. */
must_use int creds_bytes_new(struct creds_bytes *b, size_t cap);
void creds_bytes_done(struct creds_bytes *b);
#define cleanup_bytes __attribute__((cleanup(creds_bytes_done)))

/* Reads a file of at most `cap` bytes. 0; -EINVAL with *err ("what PATH: why"), but -ENOENT when
 * there is none, also with *err. A NUL in it is refused. */
must_use int creds_file(const char *path, const char *what, size_t cap, struct creds_bytes *ret,
                        struct err *err);

/* A token: a file of one line. Its trailing newline is cut, a line break inside is -EINVAL. */
must_use int creds_token_file(const char *path, const char *what, struct creds_bytes *ret,
                              struct err *err);

/* Waits. 0, -ECANCELED (stop_fd), -ETIMEDOUT when the fetch is over before. */
must_use int creds_pause(const struct creds_job *job, uint64_t ns);

/* What is left of the fetch, at most `most_ns`. */
uint64_t creds_left(const struct creds_job *job, uint64_t most_ns);

/* Makes one clean line of what somebody else wrote: control characters become blanks. */
void creds_clean(char *text);

static inline bool creds_given(const char *text)
{
    return text && *text;
}

#endif
