/* Reads and writes x-amz-meta-{mode,uid,gid,rdev,mtime,atime,ctime}. s3fs writes decimal numbers
 * (mode with its type bits, also those of a symbolic link: then the content is the target; and of
 * FIFOs, sockets and devices, which are empty objects), rclone an octal mode, seconds with a
 * fraction, and the number of a device, in hexadecimal (s3fs keeps none). We write the form of
 * s3fs, with a fraction of seconds, and rclone's rdev. */
#include "workers/objmeta/meta.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "workers/objmeta/lineage.h"

#define PREFIX_LEN 11 /* "x-amz-meta-", which servers count too */
#define SECONDS_MAX (INT64_MAX / (int64_t)NS_PER_S)

/* `text` begins with a digit. */
static bool meta_parse_number(const char *text, int base, unsigned long max, unsigned long *ret)
{
    char *end;

    errno = 0;
    *ret = strtoul(text, &end, base);
    return !errno && !*end && *ret <= max;
}

static bool parse(const char *text, int base, unsigned long max, unsigned long *ret)
{
    return *text >= '0' && *text <= '9' && meta_parse_number(text, base, max, ret);
}

static bool is_hex(const char *text)
{
    return *text && strspn(text, "0123456789abcdefABCDEF") == strlen(text);
}

static bool is_special(unsigned long mode)
{
    return S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode) || S_ISBLK(mode);
}

/* Set-user-id bits are not trusted, and set-group-id bits only of directories. */
static uint32_t kept_bits(bool dir)
{
    return dir ? 03777 : 01777;
}

/* What an object must be like to have a type. */
struct kind {
    bool dir, empty;
};

/* True if the mode's type is possible for such an object. (With set-id bits it is none of a special
 * file, but an octal number: 10644 is 010644, not 024624.) */
static bool is_type(unsigned long mode, struct kind kind)
{
    if (kind.dir)
        return S_ISDIR(mode);
    return S_ISREG(mode) || S_ISLNK(mode) || (kind.empty && is_special(mode) && !(mode & 06000));
}

/* Decimal if that is a mode with a possible type (33188 = 0100644), else octal ("100644", "0644",
 * "644"), else decimal permissions alone. Includes the type bits, if the text has them. */
static bool parse_mode(const char *text, struct kind kind, uint32_t *ret)
{
    unsigned long v;

    if ((*text != '0' && parse(text, 10, 0177777, &v) && is_type(v, kind)) ||
        (parse(text, 8, 0177777, &v) && (is_type(v, kind) || v <= 07777)) ||
        parse(text, 10, 07777, &v)) {
        *ret = (uint32_t)v;
        return true;
    }
    return false;
}

/* Digits after the point, as nanoseconds; digits beyond nine are dropped. */
static bool parse_fraction(const char *text, int64_t *ret)
{
    int64_t ns = 0, unit = NS_PER_S / 10;

    for (; *text >= '0' && *text <= '9'; text++) {
        ns += (*text - '0') * unit;
        unit /= 10;
    }
    *ret = ns;
    return !*text;
}

static bool parse_time(const char *text, int64_t *ret)
{
    char *end;
    long long s;
    int64_t ns = 0;

    errno = 0;
    s = strtoll(text, &end, 10);
    if (end == text || errno || s < 0 || s >= SECONDS_MAX)
        return false;
    if (*end == '.' ? !parse_fraction(end + 1, &ns) : *end != '\0')
        return false;
    *ret = s * (int64_t)NS_PER_S + ns;
    return true;
}

static void parse_id(const char *text, uint32_t *ret)
{
    unsigned long v;

    if (text && parse(text, 10, SHM_MODE_UNSET - 1, &v))
        *ret = (uint32_t)v;
}

/* True for the META_OWN ones, which the node has. */
static bool is_own(const char *name)
{
    static const char *const own[] = {"mode", "uid", "gid", "rdev", "mtime", "atime", META_CTIME};

    static_assert(sizeof(own) / sizeof(own[0]) == META_OWN, "all of them");
    for (size_t i = 0; i < META_OWN; i++) {
        if (strcmp(name, own[i]) == 0)
            return true;
    }
    return false;
}

static bool is_lineage(const char *name)
{
    return strcmp(name, LINEAGE_META) == 0;
}

/* True for metadata that do not depend on the content: extended attributes, and those of other
 * programs. */
static bool is_foreign(const char *name)
{
    return !is_own(name) && strncmp(name, "stateproxy-", strlen("stateproxy-")) != 0;
}

/* The pair at *at, which moves on to the next; false at the end. */
static bool next_pair(const struct s3_object *obj, size_t *at, const char **ret_name,
                      const char **ret_value)
{
    if (*at >= obj->meta_len)
        return false;
    *ret_name = obj->meta + *at;
    *ret_value = *ret_name + strlen(*ret_name) + 1;
    *at += strlen(*ret_name) + strlen(*ret_value) + 2;
    return true;
}

const char *meta_xattr(const struct s3_object *obj)
{
    const char *coded = s3_object_meta(obj, META_XATTR);

    return coded ? coded : "";
}

static void read_mode(const struct s3_object *obj, struct shm_version *v)
{
    const char *text = s3_object_meta(obj, "mode");
    uint32_t mode;

    if (!text || !parse_mode(text, (struct kind){v->dir, obj->size == 0}, &mode))
        return; /* the mode stays as configured */
    if (is_special(mode) || (S_ISLNK(mode) && obj->size > 0 && obj->size < PATH_MAX))
        v->type = mode & S_IFMT;
    v->mode = mode & kept_bits(v->dir);
}

enum meta_dir meta_says_dir(const struct s3_object *obj)
{
    const char *text = s3_object_meta(obj, "mode");
    uint32_t mode;

    if (!text)
        return META_DIR_UNSAID;
    if (!parse_mode(text, (struct kind){.dir = true}, &mode))
        return META_DIR_NO;
    return S_ISDIR(mode) ? META_DIR_YES : META_DIR_UNSAID;
}

static void read_rdev(const struct s3_object *obj, struct shm_version *v)
{
    const char *text = s3_object_meta(obj, "rdev");
    unsigned long rdev;

    if (text && (S_ISCHR(v->type) || S_ISBLK(v->type)) && is_hex(text) &&
        meta_parse_number(text, 16, UINT32_MAX, &rdev))
        v->rdev = (uint32_t)rdev;
}

static int64_t read_time(const struct s3_object *obj, const char *name)
{
    const char *text = s3_object_meta(obj, name);
    int64_t ns;

    return text && parse_time(text, &ns) ? ns : SHM_TIME_UNSET;
}

bool meta_read(const struct s3_object *obj, struct shm_version *v)
{
    const char *mtime = s3_object_meta(obj, "mtime"), *name, *value;

    v->meta = true;
    v->type = v->rdev = 0;
    v->atime_ns = read_time(obj, "atime");
    v->ctime_ns = read_time(obj, META_CTIME);
    v->xattr = *meta_xattr(obj);
    v->more = obj->own_type || obj->kept.len || obj->kept_lost || obj->tags;
    v->plain = *obj->content_type && !v->more;
    v->traced = false;
    for (size_t at = 0; next_pair(obj, &at, &name, &value);) {
        v->more |= is_foreign(name);
        v->traced |= is_lineage(name);
        v->plain &= is_own(name) || is_lineage(name);
    }
    read_mode(obj, v);
    read_rdev(obj, v);
    parse_id(s3_object_meta(obj, "uid"), &v->uid);
    parse_id(s3_object_meta(obj, "gid"), &v->gid);
    return mtime && parse_time(mtime, &v->mtime_ns);
}

bool meta_is_of_change(const struct s3_object *obj, uint64_t size, int64_t ctime_ns)
{
    struct shm_version v = {.ctime_ns = SHM_TIME_UNSET};

    (void)meta_read(obj, &v);
    return obj->size == size && v.ctime_ns == ctime_ns;
}

static void adopt(struct shm_node *n, uint32_t mode, uint32_t uid, uint32_t gid, int64_t atime_ns)
{
    if (n->mode == SHM_MODE_UNSET)
        n->mode = mode;
    if (n->uid == SHM_MODE_UNSET)
        n->uid = uid;
    if (n->gid == SHM_MODE_UNSET)
        n->gid = gid;
    if (n->atime_ns == SHM_TIME_UNSET)
        n->atime_ns = atime_ns;
}

void meta_adopt(struct shm_node *n, const struct shm_node *from)
{
    adopt(n, from->mode, from->uid, from->gid, from->atime_ns);
    if (n->ctime_ns == SHM_TIME_UNSET)
        n->ctime_ns = from->ctime_ns;
}

int meta_fill(struct shm_node *n, const struct s3_object *obj)
{
    static const struct s3_object none;
    struct shm_version v = {.dir = n->flags & SHM_NODE_DIR,
                            .mode = SHM_MODE_UNSET,
                            .uid = SHM_MODE_UNSET,
                            .gid = SHM_MODE_UNSET};
    bool timed = meta_read(obj ? obj : &none, &v);

    if (shm_node_type(n) != v.type || n->rdev != v.rdev)
        return -ESTALE;
    adopt(n, v.mode, v.uid, v.gid, v.atime_ns);
    /* (A session has the time of its last write.) */
    if (timed && !(n->flags & SHM_NODE_MTIME_SET) && n->session == SHM_NIL) {
        n->mtime_ns = v.mtime_ns;
        n->flags |= SHM_NODE_MTIME_SET;
    }
    if (n->ctime_ns == SHM_TIME_UNSET && n->session == SHM_NIL)
        n->ctime_ns = v.ctime_ns;
    n->flags = (uint16_t)(n->flags | SHM_NODE_META | (v.more ? SHM_NODE_MORE : 0) |
                          (v.xattr ? SHM_NODE_XATTR : 0));
    return 0;
}

bool meta_differ(const struct shm_node *a, const struct shm_node *b)
{
    return a->mode != b->mode || a->uid != b->uid || a->gid != b->gid ||
           a->mtime_ns != b->mtime_ns || a->atime_ns != b->atime_ns ||
           ((a->flags ^ b->flags) & SHM_NODE_MTIME_SET);
}

/* ---- writing ---- */

static const char *put_text(struct meta_out *out, const char *text)
{
    char *to = out->text + out->n_text;

    out->n_text += strlen(text) + 1;
    memcpy(to, text, strlen(text) + 1);
    return to;
}

/* Copies the pair; false: it does not fit. */
static bool add(struct meta_out *out, const char *name, const char *value)
{
    size_t len = strlen(name) + strlen(value);

    if (out->n == META_PAIRS_MAX || out->n_text + len + 2 > sizeof(out->text))
        return false;
    out->pair[out->n].name = put_text(out, name);
    out->pair[out->n++].value = put_text(out, value);
    out->bytes += PREFIX_LEN + len;
    return true;
}

static void meta_add_number(struct meta_out *out, const char *name, uint32_t v)
{
    char text[META_VALUE_MAX];

    snprintf(text, sizeof(text), "%u", v);
    (void)add(out, name, text); /* they are the first ones, so they fit */
}

/* (A time before 1970 is not stored: other programs do not read it.) */
static void add_time(struct meta_out *out, const char *name, int64_t ns)
{
    char text[META_VALUE_MAX];

    if (ns < 0)
        return;
    snprintf(text, sizeof(text), "%lld.%09lld", (long long)(ns / (int64_t)NS_PER_S),
             (long long)(ns % (int64_t)NS_PER_S));
    (void)add(out, name, text); /* as above */
}

static uint32_t mode_to_write(const struct shm_node *n)
{
    bool dir = n->flags & SHM_NODE_DIR;
    uint32_t type = shm_node_type(n);

    return (n->mode & kept_bits(dir)) | (type ? type : dir ? S_IFDIR : S_IFREG);
}

void meta_write(struct meta_out *out, const struct shm_node *n)
{
    char text[META_VALUE_MAX];

    out->n = out->bytes = out->n_text = 0;
    out->more = out->xattr = out->no_xattr = out->tags = false;
    out->kept.len = 0;
    if (n->mode != SHM_MODE_UNSET)
        meta_add_number(out, "mode", mode_to_write(n));
    if (n->uid != SHM_MODE_UNSET)
        meta_add_number(out, "uid", n->uid);
    if (n->gid != SHM_MODE_UNSET)
        meta_add_number(out, "gid", n->gid);
    if (n->rdev) {
        snprintf(text, sizeof(text), "%x", n->rdev);
        (void)add(out, "rdev", text);
    }
    if (n->flags & SHM_NODE_MTIME_SET)
        add_time(out, "mtime", n->mtime_ns);
    if (n->atime_ns != SHM_TIME_UNSET)
        add_time(out, "atime", n->atime_ns);
    if (n->ctime_ns != SHM_TIME_UNSET)
        add_time(out, META_CTIME, n->ctime_ns);
}

void meta_write_ctime(struct meta_out *out, int64_t ns)
{
    add_time(out, META_CTIME, ns);
}

const char *meta_attribute(const char *name, const struct s3_object *obj)
{
    if (strcmp(name, "etag") == 0)
        return obj->etag;
    if (strcmp(name, "version") == 0)
        return obj->version;
    if (strcmp(name, "storage_class") == 0)
        return *obj->storage_class ? obj->storage_class : "STANDARD";
    return *obj->content_type ? obj->content_type : "application/octet-stream";
}

bool meta_is_type(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] > '~')
            return false;
    }
    return len > 0 && len < S3_TYPE_MAX;
}

void meta_told(struct shm_node *n, const struct meta_out *out, const char *content_type)
{
    bool plain = !content_type && out->kept.len == 0 && !out->tags;
    /* (That of a directory's marker says nothing.) */
    bool more = out->more || (content_type && !(n->flags & SHM_NODE_DIR));

    n->traced = 0;
    for (size_t i = 0; i < out->n; i++) {
        n->traced |= is_lineage(out->pair[i].name);
        plain &= is_own(out->pair[i].name) || is_lineage(out->pair[i].name);
    }
    n->flags &= (uint16_t) ~(SHM_NODE_MORE | SHM_NODE_XATTR | SHM_NODE_PLAIN);
    n->flags = (uint16_t)(n->flags | SHM_NODE_META | (more ? SHM_NODE_MORE : 0) |
                          (out->xattr ? SHM_NODE_XATTR : 0) | (plain ? SHM_NODE_PLAIN : 0));
}

void meta_write_xattr(struct meta_out *out, const char *coded)
{
    out->xattr = *coded && add(out, META_XATTR, coded);
    out->more |= out->xattr;
    out->no_xattr = !out->xattr;
}

static bool is_there(const struct meta_out *out, const char *name)
{
    for (size_t i = 0; i < out->n; i++) {
        if (strcmp(out->pair[i].name, name) == 0)
            return true;
    }
    return false;
}

static bool is_kept(const char *name, enum meta_keep which)
{
    switch (which) {
    case META_KEEP_COPY:
        return !is_own(name);
    case META_KEEP_MOVED:
        return !is_lineage(name);
    case META_KEEP_CHANGED:
    case META_KEEP_NEW:
        return is_foreign(name);
    case META_KEEP_ALL:
        break;
    }
    return true;
}

/* What the object is for stays; how the bytes are coded, not for other bytes. */
static void keep_headers(struct meta_out *out, const struct s3_object *obj, enum meta_keep which)
{
    const struct s3_pairs *from = &obj->kept;

    for (size_t at = 0; at < from->len;) {
        const char *name = from->text + at, *value = name + strlen(name) + 1;
        size_t len = (size_t)(value - name) + strlen(value) + 1;

        at += len;
        if (which == META_KEEP_NEW && strcmp(name, "content-encoding") == 0)
            continue;
        memcpy(out->kept.text + out->kept.len, name, len);
        out->kept.len += len;
    }
    out->more |= out->kept.len > 0;
}

unsigned meta_keep(struct meta_out *out, const struct s3_object *obj, enum meta_keep which)
{
    const char *name, *value;
    unsigned lost = obj->kept_lost;

    keep_headers(out, obj, which);
    out->tags = obj->tags > 0;
    out->more |= out->tags;
    for (size_t at = 0; next_pair(obj, &at, &name, &value);) {
        if (!is_kept(name, which) || is_there(out, name) ||
            (out->no_xattr && strcmp(name, META_XATTR) == 0))
            continue;
        if (!add(out, name, value)) {
            lost++;
            continue;
        }
        out->more |= is_foreign(name);
        out->xattr |= strcmp(name, META_XATTR) == 0 && *value;
    }
    return lost;
}

struct s3_put meta_marker(const char *key, const struct meta_out *out)
{
    return (struct s3_put){.key = key,
                           .body = {.mem = "", .len = 0},
                           .content_type = META_TYPE_MARKER,
                           .meta = out->pair,
                           .n_meta = out->n,
                           .kept = &out->kept};
}
