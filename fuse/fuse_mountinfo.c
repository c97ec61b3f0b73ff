/* Parses /proc/self/mountinfo (the kernel's Documentation/filesystems/proc.rst, section 3.5)
 * line by line:
 *
 *   36 35 98:0 /root /mount/point rw,noatime master:1 - type source rw,superoptions */
#include "fuse/fuse_mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A longer line is cut; the mount point comes early. The options of an overlay can take a page and
 * more. */
#define LINE_BYTES 16384

/* The field at *at, which ends at a space or at the end of the line; moves *at past it. NULL at the
 * end. */
static const char *next_field(const char **at, size_t *ret_len)
{
    const char *f = *at;

    if (!f || !*f)
        return NULL;
    *ret_len = strcspn(f, " ");
    *at = f[*ret_len] ? f + *ret_len + 1 : f + *ret_len;
    return f;
}

static int octal(const char *s, size_t len)
{
    if (len < 4 || s[0] != '\\' || s[1] < '0' || s[1] > '3' || s[2] < '0' || s[2] > '7' ||
        s[3] < '0' || s[3] > '7')
        return -1;
    return (s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0');
}

/* Copies a field and decodes \040 and the like. False if it does not fit; then it is cut. */
static bool unescape(const char *f, size_t len, char *ret, size_t cap)
{
    size_t out = 0;

    for (size_t i = 0; i < len; out++) {
        int c = octal(f + i, len - i);

        if (out + 1 == cap) {
            ret[out] = '\0';
            return false;
        }
        ret[out] = c >= 0 ? (char)c : f[i];
        i += c >= 0 ? 4 : 1;
    }
    ret[out] = '\0';
    return true;
}

static int mountinfo_parse_number(const char **at, char end, uint64_t *ret)
{
    char *stop;

    if (**at < '0' || **at > '9')
        return -EINVAL;
    errno = 0;
    *ret = strtoull(*at, &stop, 10);
    if (errno || *stop != end)
        return -EINVAL;
    *at = stop + 1;
    return 0;
}

/* "rw,user_id=0,group_id=0,allow_other" */
static uint32_t super_option(const char *options, const char *name)
{
    size_t len = strlen(name);

    for (const char *o = options; o; o = strchr(o, ',')) {
        if (*o == ',')
            o++;
        if (strncmp(o, name, len) == 0 && o[len] == '=')
            return (uint32_t)strtoul(o + len + 1, NULL, 10);
    }
    return 0;
}

/* After the mount's own options: optional fields, "-", type, source, super options. */
static void parse_tail(const char *at, struct fuse_mountinfo *ret)
{
    const char *f;
    size_t len;

    do
        f = next_field(&at, &len);
    while (f && !(len == 1 && *f == '-'));
    f = next_field(&at, &len);
    if (!f)
        return;
    (void)unescape(f, len, ret->type, sizeof(ret->type));
    f = next_field(&at, &len);
    if (!f)
        return;
    (void)unescape(f, len, ret->source, sizeof(ret->source));
    ret->user_id = super_option(at, "user_id");
    ret->group_id = super_option(at, "group_id");
}

int fuse_mountinfo_parse(const char *line, struct fuse_mountinfo *ret)
{
    const char *at = line;
    const char *f;
    uint64_t parent, major, minor;
    size_t len;

    memset(ret, 0, sizeof(*ret));
    if (mountinfo_parse_number(&at, ' ', &ret->mnt_id) ||
        mountinfo_parse_number(&at, ' ', &parent) || mountinfo_parse_number(&at, ':', &major) ||
        mountinfo_parse_number(&at, ' ', &minor) || major > UINT32_MAX || minor > UINT32_MAX)
        return -EINVAL;
    ret->dev_major = (unsigned)major;
    ret->dev_minor = (unsigned)minor;
    if (!next_field(&at, &len)) /* the part of the file system that is mounted */
        return -EINVAL;
    f = next_field(&at, &len);
    /* In the last field the line may have been cut. */
    if (!f || !f[len] || !unescape(f, len, ret->path, sizeof(ret->path)))
        return -EINVAL;
    if (next_field(&at, &len))
        parse_tail(at, ret);
    return 0;
}

static void skip_rest(FILE *in)
{
    int c;

    do
        c = getc(in);
    while (c != '\n' && c != EOF);
}

struct wanted {
    uint64_t mnt_id;  /* if path is NULL */
    const char *path; /* then of this device */
    unsigned major, minor;
};

/* (Most lines are not parsed as a whole.) */
static bool is_wanted_line(const char *line, const struct wanted *w, struct fuse_mountinfo *ret)
{
    char *end;

    if (!w->path)
        return strtoull(line, &end, 10) == w->mnt_id && *end == ' ' &&
               fuse_mountinfo_parse(line, ret) == 0;
    return fuse_mountinfo_parse(line, ret) == 0 && ret->dev_major == w->major &&
           ret->dev_minor == w->minor && strcmp(ret->path, w->path) == 0;
}

/* The last one: mounts are listed from below. */
static int find_wanted(const char *file, const struct wanted *w, struct fuse_mountinfo *ret)
{
    FILE *in = fopen(file, "re");
    char line[LINE_BYTES];
    struct fuse_mountinfo info;
    int r = -ENOENT;

    if (!in)
        return -errno;
    while (fgets(line, sizeof(line), in)) {
        char *newline = strchr(line, '\n');

        if (newline)
            *newline = '\0';
        else
            skip_rest(in);
        if (is_wanted_line(line, w, &info)) {
            *ret = info;
            r = 0;
        }
    }
    if (r && ferror(in))
        r = -EIO;
    (void)fclose(in);
    return r;
}

int fuse_mountinfo_find(const char *file, uint64_t mnt_id, struct fuse_mountinfo *ret)
{
    struct wanted w = {.mnt_id = mnt_id};

    return find_wanted(file, &w, ret);
}

int fuse_mountinfo_find_dev(const char *file, unsigned major, unsigned minor, const char *path,
                            struct fuse_mountinfo *ret)
{
    struct wanted w = {.path = path, .major = major, .minor = minor};

    return find_wanted(file, &w, ret);
}
