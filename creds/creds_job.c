/* What all providers need: bytes that are wiped, small files, waiting. */
#include "creds/creds_job.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "creds/creds_agent.h"

int creds_bytes_new(struct creds_bytes *b, size_t cap)
{
    char *data = sodium_malloc(cap + 1);

    if (!data)
        return -ENOMEM;
    data[0] = '\0';
    *b = (struct creds_bytes){.data = data, .cap = cap};
    return 0;
}

void creds_bytes_done(struct creds_bytes *b)
{
    sodium_free(b->data);
    *b = (struct creds_bytes){0};
}

static int read_all(int fd, const char *path, const char *what, size_t cap, struct creds_bytes *ret,
                    struct err *err)
{
    ssize_t n;

    if (creds_bytes_new(ret, cap + 1) < 0)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    n = fd_pread_full(fd, ret->data, cap + 1, 0);
    if (n < 0)
        return err_set(err, EINVAL, "%s %s: %s", what, path, strerror((int)-n));
    if ((size_t)n > cap)
        return err_set(err, EINVAL, "%s %s: more than %zu bytes", what, path, cap);
    if (memchr(ret->data, '\0', (size_t)n))
        return err_set(err, EINVAL, "%s %s: a NUL byte in it", what, path);
    ret->data[n] = '\0';
    ret->len = (size_t)n;
    return 0;
}

int creds_file(const char *path, const char *what, size_t cap, struct creds_bytes *ret,
               struct err *err)
{
    cleanup_fd int fd = creds_agent_open(path);
    struct stat st;
    int r;

    if (fd < 0)
        return err_set(err, fd == -ENOENT || fd == -ENOTDIR ? ENOENT : EINVAL,
                       "%s %s: %s (as user %u)", what, path, strerror(-fd), (unsigned)geteuid());
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, EINVAL, "%s %s: not a regular file", what, path);
    r = read_all(fd, path, what, cap, ret, err);
    if (r < 0)
        creds_bytes_done(ret);
    return r;
}

int creds_token_file(const char *path, const char *what, struct creds_bytes *ret, struct err *err)
{
    int r = creds_file(path, what, CREDS_BODY_MAX, ret, err);

    if (r == -ENOENT && err)
        err->code = EINVAL;
    if (r < 0)
        return -EINVAL;
    if (ret->len && ret->data[ret->len - 1] == '\n')
        ret->data[--ret->len] = '\0';
    if (ret->len && ret->data[ret->len - 1] == '\r')
        ret->data[--ret->len] = '\0';
    if (ret->len && !strpbrk(ret->data, "\r\n"))
        return 0;
    r = err_set(err, EINVAL, "%s %s: %s", what, path,
                ret->len ? "more than one line" : "the file is empty");
    creds_bytes_done(ret);
    return r;
}

uint64_t creds_left(const struct creds_job *job, uint64_t most_ns)
{
    uint64_t now = clock_mono_ns(), left = job->until_ns > now ? job->until_ns - now : 0;

    return left < most_ns ? left : most_ns;
}

int creds_pause(const struct creds_job *job, uint64_t ns)
{
    struct pollfd p = {.fd = job->conf->stop_fd, .events = POLLIN};
    uint64_t left = creds_left(job, ns);

    if (poll(&p, 1, (int)(left / NS_PER_MS)) > 0)
        return -ECANCELED;
    return left < ns ? -ETIMEDOUT : 0;
}

void creds_clean(char *text)
{
    for (char *p = text; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = ' ';
    }
}
