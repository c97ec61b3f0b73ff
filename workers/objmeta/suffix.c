/* See suffix.h. The file is read once, before the workers start, and searched with bsearch(3). */
#include "workers/objmeta/suffix.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "s3/s3.h"

#define FILE_MAX (1u << 20)
#define SUFFIX_MAX 32 /* with NUL */
#define BLANKS " \t\r\f\v"

struct entry {
    const char *suffix, *type; /* in `text` */
    size_t rank;               /* of several the first one counts */
};

struct suffix_types {
    char *text;
    struct entry *entries;
    size_t n;
};

static const char *const common[][2] = {
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"bz2", "application/x-bzip2"},
    {"c", "text/x-csrc"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"eot", "application/vnd.ms-fontobject"},
    {"epub", "application/epub+zip"},
    {"flac", "audio/flac"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"h", "text/x-chdr"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar"},
    {"ipynb", "application/x-ipynb+json"},
    {"jar", "application/java-archive"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"log", "text/plain"},
    {"m4a", "audio/mp4"},
    {"m4v", "video/mp4"},
    {"map", "application/json"},
    {"md", "text/markdown"},
    {"mjs", "text/javascript"},
    {"mkv", "video/x-matroska"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"ogg", "audio/ogg"},
    {"otf", "font/otf"},
    {"parquet", "application/vnd.apache.parquet"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"py", "text/x-python"},
    {"rtf", "application/rtf"},
    {"sh", "application/x-sh"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tgz", "application/gzip"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"toml", "application/toml"},
    {"tsv", "text/tab-separated-values"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain"},
    {"wasm", "application/wasm"},
    {"wav", "audio/x-wav"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"},
    {"xls", "application/vnd.ms-excel"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"xz", "application/x-xz"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};

/* "text/plain": what can stand in a header. */
static bool is_media_type(const char *text)
{
    const char *slash = strchr(text, '/');

    for (const char *c = text; *c; c++) {
        if (*c <= ' ' || *c > '~' || strchr("\"(),:;<=>?@[\\]{}", *c))
            return false;
    }
    return slash && slash > text && slash[1] && strlen(text) < S3_TYPE_MAX;
}

static int suffix_compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int r = strcmp(x->suffix, y->suffix);

    return r ? r : (x->rank > y->rank) - (x->rank < y->rank);
}

static int compare_suffix(const void *suffix, const void *b)
{
    return strcmp(suffix, ((const struct entry *)b)->suffix);
}

static bool suffix_add(struct suffix_types *t, size_t cap, char *suffix, const char *type)
{
    for (char *c = suffix; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (t->n < cap && strlen(suffix) < SUFFIX_MAX) {
        t->entries[t->n] = (struct entry){suffix, type, t->n};
        t->n++;
    }
    return t->n < cap;
}

/* "text/plain txt asc # comment" */
static bool read_line(struct suffix_types *t, size_t cap, char *line)
{
    char *at = NULL, *type, *suffix;

    line[strcspn(line, "#")] = '\0';
    type = strtok_r(line, BLANKS, &at);
    if (!type || !is_media_type(type))
        return true;
    while ((suffix = strtok_r(NULL, BLANKS, &at))) {
        if (!suffix_add(t, cap, suffix, type))
            return false;
    }
    return true;
}

/* Number of words: there are fewer suffixes. */
static size_t count_words(const char *text)
{
    size_t n = 0;

    for (; *text; n++) {
        text += strspn(text, BLANKS "\n");
        text += strcspn(text, BLANKS "\n");
    }
    return n;
}

/* Of entries with the same suffix only the first stays. */
static void sort(struct suffix_types *t)
{
    size_t n = 0;

    qsort(t->entries, t->n, sizeof(*t->entries), suffix_compare);
    for (size_t i = 0; i < t->n; i++) {
        if (n == 0 || strcmp(t->entries[n - 1].suffix, t->entries[i].suffix) != 0)
            t->entries[n++] = t->entries[i];
    }
    t->n = n;
}

static int parse(struct suffix_types *t)
{
    size_t cap = count_words(t->text);
    char *at = NULL, *line = strtok_r(t->text, "\n", &at);

    t->entries = cap ? calloc(cap, sizeof(*t->entries)) : NULL;
    if (cap && !t->entries)
        return -ENOMEM;
    while (line && read_line(t, cap, line))
        line = strtok_r(NULL, "\n", &at);
    sort(t);
    return 0;
}

int suffix_types_load(const char *path, struct suffix_types **ret)
{
    struct suffix_types *t = calloc(1, sizeof(*t));
    ssize_t len;
    int r = 0;

    if (!t || !(t->text = malloc(FILE_MAX + 1))) {
        free(t);
        return -ENOMEM;
    }
    len = fd_read_file(path, t->text, FILE_MAX + 1);
    if (len > 0 && !memchr(t->text, '\0', (size_t)len)) {
        char *less;

        t->text[len] = '\0';
        less = realloc(t->text, (size_t)len + 1);
        if (less)
            t->text = less;
        r = parse(t);
    }
    if (r < 0) {
        suffix_types_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void suffix_types_free(struct suffix_types *types)
{
    if (!types)
        return;
    free(types->entries);
    free(types->text);
    free(types);
}

/* The suffix in lower case; false if there is none: ".profile" has none. */
static bool suffix_of(const char *key, char out[SUFFIX_MAX])
{
    const char *slash = strrchr(key, '/');
    const char *name = slash ? slash + 1 : key, *dot = strrchr(name, '.');
    size_t len;

    if (!dot || dot == name)
        return false;
    len = strlen(dot + 1);
    if (len == 0 || len >= SUFFIX_MAX)
        return false;
    for (size_t i = 0; i <= len; i++)
        out[i] = (char)tolower((unsigned char)dot[1 + i]);
    return true;
}

static const char *common_type(const char *suffix)
{
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
        if (strcmp(common[i][0], suffix) == 0)
            return common[i][1];
    }
    return NULL;
}

const char *suffix_type(const struct suffix_types *types, const char *key)
{
    const struct entry *e = NULL;
    char suffix[SUFFIX_MAX];

    if (!suffix_of(key, suffix))
        return NULL;
    if (types && types->n)
        e = bsearch(suffix, types->entries, types->n, sizeof(*types->entries), compare_suffix);
    return e ? e->type : common_type(suffix);
}
