/* Parses the command line and the list behind -o. An option is one that mount(8) knows for every
 * file system (the table), one of this program (config=, log=), or a key of the configuration
 * (mount_set.c). */
#include "mount/mount_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define OPTION_MAX (MOUNT_VALUE_MAX + 64) /* bytes of one option, with NUL */

/* What an option that is no key does. */
enum effect {
    IGNORED,   /* for mount(8), systemd or autofs, or true anyway */
    KEY_TRUE,  /* sets `what` to true */
    KEY_FALSE, /* sets `what` to false */
    REMOUNT,
    REFUSED /* `what` says why */
};

static const struct known {
    const char *name;
    enum effect effect;
    const char *what;
} known[] = {
    {"rw", KEY_FALSE, "mount.read_only"},
    {"ro", KEY_TRUE, "mount.read_only"},
    {"noexec", KEY_TRUE, "mount.noexec"},
    {"exec", KEY_FALSE, "mount.noexec"},
    {"remount", REMOUNT, NULL},
    {"defaults", IGNORED, NULL},
    {"auto", IGNORED, NULL},
    {"noauto", IGNORED, NULL},
    {"user", IGNORED, NULL},
    {"nouser", IGNORED, NULL},
    {"users", IGNORED, NULL},
    {"nousers", IGNORED, NULL},
    {"owner", IGNORED, NULL},
    {"noowner", IGNORED, NULL},
    {"group", IGNORED, NULL},
    {"nogroup", IGNORED, NULL},
    {"nofail", IGNORED, NULL},
    {"_netdev", IGNORED, NULL},
    {"comment", IGNORED, NULL},
    {"nosuid", IGNORED, NULL},
    {"nodev", IGNORED, NULL},
    {"async", IGNORED, NULL},
    {"nomand", IGNORED, NULL},
    {"silent", IGNORED, NULL},
    {"loud", IGNORED, NULL},
    /* times of access are not kept */
    {"atime", IGNORED, NULL},
    {"noatime", IGNORED, NULL},
    {"diratime", IGNORED, NULL},
    {"nodiratime", IGNORED, NULL},
    {"relatime", IGNORED, NULL},
    {"norelatime", IGNORED, NULL},
    {"nostrictatime", IGNORED, NULL},
    {"nolazytime", IGNORED, NULL},
    {"suid", REFUSED, "the mount is always nosuid"},
    {"dev", REFUSED, "the mount is always nodev"},
    {"sync", REFUSED, "data reach S3 at close and fsync, not at each write"},
    {"dirsync", REFUSED, "changes of directories are always synchronous"},
    {"mand", REFUSED, "there are no mandatory locks"},
    {"strictatime", REFUSED, "times of access are not kept"},
    {"lazytime", REFUSED, "times reach S3 at once"},
    {"bind", REFUSED, "mount --bind needs no helper"},
    {NULL, 0, NULL},
};

static const struct known *find_known(const char *name)
{
    const struct known *k = known;

    while (k->name && strcmp(k->name, name) != 0)
        k++;
    return k->name ? k : NULL;
}

static int apply_known(const struct known *k, struct mount_options *o, struct err *err)
{
    switch (k->effect) {
    case IGNORED:
        break;
    case REMOUNT:
        o->remount = true;
        break;
    case REFUSED:
        return err_set(err, EINVAL, "option \"%s\": %s", k->name, k->what);
    case KEY_TRUE:
    case KEY_FALSE:
        return mount_set_key(k->what, k->effect == KEY_TRUE ? "true" : "false", err);
    }
    return 0;
}

static int copy_value(const char *name, const char *value, char out[MOUNT_VALUE_MAX],
                      struct err *err)
{
    if (!value || !*value)
        return err_set(err, EINVAL, "option \"%s\" needs a value: %s=...", name, name);
    if (snprintf(out, MOUNT_VALUE_MAX, "%s", value) >= MOUNT_VALUE_MAX)
        return err_set(err, EINVAL, "option \"%s\": the value is too long", name);
    return 0;
}

/* One option: "name" or "name=value". Changes `text`. */
static int apply(char *text, struct mount_options *o, struct err *err)
{
    char *value = strchr(text, '=');
    const struct known *k;
    int r;

    if (value)
        *value++ = '\0';
    if (strncmp(text, "x-", 2) == 0 || strncmp(text, "X-", 2) == 0)
        return 0; /* for user space programs other than this one */
    if (strcmp(text, "config") == 0)
        return copy_value(text, value, o->config, err);
    if (strcmp(text, "log") == 0)
        return copy_value(text, value, o->log, err);
    k = find_known(text);
    /* (user=NAME, comment=TEXT) */
    if (k && (!value || k->effect == IGNORED))
        return apply_known(k, o, err);
    r = mount_set(text, value, err);
    if (r == -ENOENT && o->sloppy) {
        if (o->verbose)
            fprintf(stderr, "mount.stateproxy: ignoring, because of -s: %s\n", err->text);
        return 0;
    }
    return r;
}

/* Takes the next option from *list. Commas in double quotes, and those behind a backslash, are part
 * of the value; quotes and backslashes before a comma, a quote or a backslash are taken away. 1, 0
 * at the end, or -EINVAL. */
static int next_option(const char **list, char out[OPTION_MAX], struct err *err)
{
    const char *p = *list;
    bool quoted = false;
    size_t n = 0;

    if (!*p)
        return 0;
    for (; *p && (quoted || *p != ','); p++) {
        if (*p == '"') {
            quoted = !quoted;
            continue;
        }
        if (*p == '\\' && p[1] && strchr(",\\\"", p[1]))
            p++;
        if (n + 1 >= OPTION_MAX)
            return err_set(err, EINVAL, "an option is too long: %.40s...", *list);
        out[n++] = *p;
    }
    if (quoted)
        return err_set(err, EINVAL, "a quote is not closed: %.80s", *list);
    out[n] = '\0';
    *list = *p ? p + 1 : p;
    return 1;
}

static int apply_list(const char *list, struct mount_options *o, struct err *err)
{
    char text[OPTION_MAX];
    int r;

    while ((r = next_option(&list, text, err)) > 0) {
        r = *text ? apply(text, o, err) : 0;
        if (r < 0)
            return r;
    }
    return r;
}

/* "my-bucket/a/b", "s3://my-bucket/a/b"; the ARN of an access point has a slash of its own. */
static int set_spec(const char *spec, struct err *err)
{
    const char *bucket = strncmp(spec, "s3://", 5) == 0 ? spec + 5 : spec, *slash;
    char name[MOUNT_VALUE_MAX];
    int r;

    slash = strchr(bucket, '/');
    if (slash && strncmp(bucket, "arn:", 4) == 0)
        slash = strchr(slash + 1, '/');
    if (!slash)
        slash = bucket + strlen(bucket);
    if (slash == bucket)
        return err_set(err, EINVAL, "\"%s\" names no bucket: expected BUCKET or BUCKET/PREFIX",
                       spec);
    if (snprintf(name, sizeof(name), "%.*s", (int)(slash - bucket), bucket) >= (int)sizeof(name))
        return err_set(err, EINVAL, "the name of the bucket is too long");
    r = mount_set_key("bucket", name, err);
    if (r == 0)
        r = mount_set_key("prefix", *slash ? slash + 1 : "", err);
    return r == 0 ? mount_set_key("mount.source", spec, err) : r;
}

static int check_type(const char *type, struct err *err)
{
    if (strcmp(type, "stateproxy") == 0 || strcmp(type, "fuse.stateproxy") == 0)
        return 0;
    return err_set(err, EINVAL, "file system type \"%s\": expected stateproxy", type);
}

/* Flags first: -s counts for options that stand before it as well. */
static int parse_flags(int argc, char **argv, struct mount_options *o, struct err *err)
{
    static const struct option longs[] = {
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "sfnvwrhVN:o:t:", longs, NULL)) != -1) {
        int r = 0;

        if (c == 's')
            o->sloppy = true;
        else if (c == 'f')
            o->fake = true;
        else if (c == 'v')
            o->verbose = true;
        else if (c == 'h')
            o->help = true;
        else if (c == 'V')
            o->version = true;
        else if (c == 'N')
            o->namespace = optarg;
        else if (c == 't')
            r = check_type(optarg, err);
        else if (c == '?')
            r = err_set(err, EINVAL, "unknown option or missing value: %s", argv[optind - 1]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_lists(int argc, char **argv, struct mount_options *o, struct err *err)
{
    int c, r = 0;

    optind = 1;
    while (r == 0 && (c = getopt(argc, argv, "sfnvwrhVN:o:t:")) != -1) {
        if (c == 'o')
            r = apply_list(optarg, o, err);
        else if (c == 'r' || c == 'w')
            r = mount_set_key("mount.read_only", c == 'r' ? "true" : "false", err);
    }
    return r;
}

int mount_options_parse(int argc, char **argv, struct mount_options *ret, struct err *err)
{
    int r;

    memset(ret, 0, sizeof(*ret));
    r = parse_flags(argc, argv, ret, err);
    if (r < 0 || ret->help || ret->version)
        return r;
    /* (getopt has moved both behind the options) */
    if (argc - optind != 2)
        return err_set(err, EINVAL, "expected two arguments: BUCKET/PREFIX and the mount point");
    ret->spec = argv[optind];
    ret->dir = argv[optind + 1];
    r = set_spec(ret->spec, err);
    return r == 0 ? parse_lists(argc, argv, ret, err) : r;
}
