/* See cas_kept.h. The file is a few lines of text. Any process that can write to the directory is
 * trusted, except that a file which others may write to, or which is not ours, is not read. */
#include "workers/server/cas_kept.h"
#include "s3/s3.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#define KEPT_NS (24 * 60 * 60 * NS_PER_S)
#define TEXT_MAX 8192
#define HASH_BYTES 8

/* What the result applies to: the lines at the head of the file. 0 or -errno. */
static int identity(const struct conf *conf, const char *server, char out[TEXT_MAX])
{
    int n = snprintf(out, TEXT_MAX, "stateproxy %s\nendpoint %s\nregion %s\nbucket %s\nserver %s\n",
                     PACKAGE_VERSION, conf->s3.endpoint, conf->s3.region, conf->bucket, server);

    return n > 0 && n < TEXT_MAX / 2 ? 0 : -EMSGSIZE;
}

/* The file name is derived from endpoint and bucket. */
static int path_of(const struct conf *conf, const char *tail, char out[PATH_MAX])
{
    uint8_t hash[crypto_generichash_BYTES_MIN];
    char hex[2 * HASH_BYTES + 1], text[TEXT_MAX];
    int n = snprintf(text, sizeof(text), "%s %s", conf->s3.endpoint, conf->bucket);

    if (n < 0 || (size_t)n >= sizeof(text))
        return -EMSGSIZE;
    crypto_generichash(hash, sizeof(hash), (const uint8_t *)text, (size_t)n, NULL, 0);
    sodium_bin2hex(hex, sizeof(hex), hash, HASH_BYTES);
    n = snprintf(out, PATH_MAX, "%s/probe-%s%s", conf->cas.state_dir, hex, tail);
    return n > 0 && n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static bool is_ours(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
           !(st.st_mode & (S_IWGRP | S_IWOTH)) && st.st_size < TEXT_MAX;
}

static ssize_t read_file(const struct conf *conf, char text[TEXT_MAX])
{
    char path[PATH_MAX];
    int r = path_of(conf, "", path);
    cleanup_fd int fd = r == 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    ssize_t n = fd >= 0 && is_ours(fd) ? fd_pread_full(fd, text, TEXT_MAX - 1, 0) : -1;

    text[n > 0 ? n : 0] = '\0';
    return n;
}

static char loaded[TEXT_MAX];
static bool is_loaded;

void cas_kept_load(const struct conf *conf)
{
    if (*conf->cas.state_dir)
        (void)read_file(conf, loaded); /* "" if there is none */
    is_loaded = true;
}

static void get_text(const struct conf *conf, char text[TEXT_MAX])
{
    if (is_loaded)
        memcpy(text, loaded, TEXT_MAX);
    else
        (void)read_file(conf, text);
}

bool cas_kept_read(const struct conf *conf, struct server_traits *ret_traits)
{
    char text[TEXT_MAX], head[TEXT_MAX];
    unsigned long long at;
    unsigned habits, complete, del, copy;
    uint64_t now = clock_wall_ns();
    char end;

    if (!*conf->cas.state_dir || identity(conf, ret_traits->name, head) < 0)
        return false;
    get_text(conf, text);
    if (strncmp(text, head, strlen(head)) != 0)
        return false;
    if (sscanf(text + strlen(head), "found %llu\nhabits %x\ncomplete %u\ndelete %u\ncopy %u\nend%c",
               &at, &habits, &complete, &del, &copy, &end) != 6 ||
        end != '\n')
        return false;
    if (at > now || now - at > KEPT_NS)
        return false;
    ret_traits->habits |= habits;
    ret_traits->probed = ret_traits->put_conditions = true;
    ret_traits->complete_conditions = complete == 1;
    ret_traits->delete_if_match = del == 1;
    ret_traits->copy_conditions = copy == 1;
    return true;
}

/* Replaces the file atomically. */
static int replace(const struct conf *conf, const char *text)
{
    char path[PATH_MAX], own[PATH_MAX], tail[32];
    cleanup_fd int fd = -1;
    int r;

    snprintf(tail, sizeof(tail), ".%d", (int)getpid());
    r = path_of(conf, "", path);
    if (r == 0)
        r = path_of(conf, tail, own);
    if (r < 0)
        return r;
    (void)!unlink(own); /* of a dead process with this pid */
    fd = open(own, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    r = fd_write_full(fd, text, strlen(text)) < 0 ? -EIO : 0;
    if (r == 0 && rename(own, path) < 0)
        r = -errno;
    if (r < 0)
        (void)!unlink(own);
    return r;
}

/* They depend on the configuration or on a policy, which may change: learned anew by each
 * daemon. */
#define PASSING_HABITS                                                                             \
    ((uint32_t)(S3_HABIT_CHECKSUMS | S3_HABIT_NO_CHECKSUMS | S3_HABIT_WANTS_CONDITIONS |           \
                S3_HABIT_NO_TAGS | S3_HABIT_OWN_SSE))

void cas_kept_write(const struct conf *conf, const struct server_traits *t)
{
    char text[TEXT_MAX];
    int r;

    if (!*conf->cas.state_dir || !t->put_conditions)
        return;
    r = identity(conf, t->name, text);
    if (r == 0) {
        size_t at = strlen(text);

        snprintf(text + at, sizeof(text) - at,
                 "found %llu\nhabits %x\ncomplete %d\ndelete %d\ncopy %d\nend\n",
                 (unsigned long long)clock_wall_ns(), t->habits & ~PASSING_HABITS,
                 t->complete_conditions, t->delete_if_match, t->copy_conditions);
        r = replace(conf, text);
    }
    if (r < 0)
        log_notice("probe result not saved dir=\"%s\" error=\"%s\"", conf->cas.state_dir,
                   strerror(-r));
}

void cas_kept_forget(const struct conf *conf)
{
    char path[PATH_MAX];

    if (*conf->cas.state_dir && path_of(conf, "", path) == 0)
        (void)!unlink(path); /* if this fails, the file expires after a day */
}
