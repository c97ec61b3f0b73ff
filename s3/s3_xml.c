/* S3's XML responses on libxml2's push parser with our own SAX handlers: no tree is built, no
 * entity is resolved, a DTD ends the parsing.
 *
 * An element is identified by its name and its parent's; texts of known elements go into one
 * bounded buffer. Entries whose keys might be encoded wait, encoded, in `held` until it is known
 * whether they are. */
#include "s3/s3_xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>

#include "base/buf.h"
#include "s3/s3_etag.h"
#include "s3/s3_time.h"
#include "s3/s3_url.h"

#define FEED_CHUNK 16384       /* bytes passed to libxml2 at once */
#define QUIET_MAX (256u << 10) /* bytes without any event: maximum length of a token */
#define HELD_MAX                                                                                   \
    (16u << 20) /* held entries: 5,000 of the longest keys, encoded; 60,000 usual
                              * ones */

/* Kinds of elements; FIELD_* have a text. */
enum element {
    EL_UNKNOWN,
    EL_LIST,
    EL_CONTENTS,
    EL_PREFIXES,
    EL_COPY,
    EL_CREATE,
    EL_COMPLETE,
    EL_TAGS,
    EL_TAG_SET,
    EL_TAG,
    EL_ERROR,
    FIELD_FIRST,
    FIELD_ENCODING = FIELD_FIRST,
    FIELD_TRUNCATED,
    FIELD_TOKEN,
    FIELD_KEY,
    FIELD_SIZE,
    FIELD_MTIME,
    FIELD_ETAG,
    FIELD_CLASS,
    FIELD_PREFIX,
    FIELD_DOC_ETAG,
    FIELD_COPY_MTIME,
    FIELD_UPLOAD_ID,
    FIELD_TAG_KEY,
    FIELD_TAG_VALUE,
    FIELD_CODE,
    FIELD_MESSAGE,
    FIELD_REGION,
};

static const struct {
    enum element parent; /* EL_UNKNOWN with depth 0 = root */
    const char *name;
    enum element element;
} grammar[] = {
    {EL_LIST, "EncodingType", FIELD_ENCODING},
    {EL_LIST, "IsTruncated", FIELD_TRUNCATED},
    {EL_LIST, "NextContinuationToken", FIELD_TOKEN},
    {EL_LIST, "Contents", EL_CONTENTS},
    {EL_LIST, "CommonPrefixes", EL_PREFIXES},
    {EL_CONTENTS, "Key", FIELD_KEY},
    {EL_CONTENTS, "Size", FIELD_SIZE},
    {EL_CONTENTS, "LastModified", FIELD_MTIME},
    {EL_CONTENTS, "ETag", FIELD_ETAG},
    {EL_CONTENTS, "StorageClass", FIELD_CLASS},
    {EL_PREFIXES, "Prefix", FIELD_PREFIX},
    {EL_COPY, "ETag", FIELD_DOC_ETAG},
    {EL_COPY, "LastModified", FIELD_COPY_MTIME},
    {EL_CREATE, "UploadId", FIELD_UPLOAD_ID},
    {EL_COMPLETE, "ETag", FIELD_DOC_ETAG},
    {EL_TAGS, "TagSet", EL_TAG_SET},
    {EL_TAG_SET, "Tag", EL_TAG},
    {EL_TAG, "Key", FIELD_TAG_KEY},
    {EL_TAG, "Value", FIELD_TAG_VALUE},
    {EL_ERROR, "Code", FIELD_CODE},
    {EL_ERROR, "Message", FIELD_MESSAGE},
    {EL_ERROR, "Region", FIELD_REGION},
};

static const struct {
    const char *name;
    enum element element;
    enum s3_xml_kind kind;
} roots[] = {
    {"ListBucketResult", EL_LIST, S3_XML_LIST},
    {"CopyObjectResult", EL_COPY, S3_XML_COPY},
    {"CopyPartResult", EL_COPY, S3_XML_COPY},
    {"InitiateMultipartUploadResult", EL_CREATE, S3_XML_CREATE},
    {"CompleteMultipartUploadResult", EL_COMPLETE, S3_XML_COMPLETE},
    {"Tagging", EL_TAGS, S3_XML_TAGS},
    {"Error", EL_ERROR, S3_XML_ERROR},
};

enum encoding { ENCODING_UNSAID, ENCODING_NONE, ENCODING_URL };

/* A held entry in `held`: this, the key, NUL. */
struct held_entry {
    struct s3_list_entry entry; /* key is set when the entry is reported */
    char etag[S3_ETAG_MAX];
    char storage_class[S3_CLASS_MAX];
};

struct s3_xml {
    xmlParserCtxtPtr ctxt;
    int (*on_entry)(void *arg, const struct s3_list_entry *e);
    void *arg;
    int error; /* the first error; it persists */
    size_t size;
    size_t quiet; /* bytes since the last event */
    bool begun;   /* past the blanks that may precede <?xml */
    bool ended;
    enum s3_xml_kind expected; /* for an unknown root; NOTHING = none */
    bool known;                /* the root, or an element in it */
    unsigned depth;
    enum element stack[S3_XML_DEPTH_MAX];
    struct buf text; /* text of the field that is open */
    enum encoding encoding;
    struct s3_list_entry entry; /* the entry that is open; its key is in `key` */
    struct buf key;
    char etag[S3_ETAG_MAX];
    char storage_class[S3_CLASS_MAX];
    struct buf held;
    struct buf tags;  /* doc.tags */
    bool has_tag_key; /* the tag that is open: its value may follow */
    struct s3_xml_doc doc;
};

static void xml_fail(struct s3_xml *xml, int error)
{
    if (xml->error == 0 && error < 0) {
        xml->error = error;
        xmlStopParser(xml->ctxt);
    }
}

/* A text beyond buf's maximum is an error of the document. */
static void xml_check(struct s3_xml *xml, int r)
{
    xml_fail(xml, r == -EMSGSIZE ? -EBADMSG : r);
}

/* ---- entries ---- */

/* Reports an entry, its key as sent. `key` is modified. */
static void xml_tell(struct s3_xml *xml, struct s3_list_entry *e, char *key, size_t len,
                     const char *etag, const char *storage_class)
{
    if (xml->encoding == ENCODING_URL)
        len = s3_url_decode(key, len, true);
    if (len == 0 || len > S3_KEY_MAX || memchr(key, '\0', len)) {
        xml->doc.n_left_out++;
        return;
    }
    e->key = key;
    e->key_len = len;
    e->etag = etag;
    e->storage_class = storage_class;
    xml->doc.n_entries++;
    if (xml->on_entry)
        xml_fail(xml, xml->on_entry(xml->arg, e));
}

static void hold(struct s3_xml *xml)
{
    struct held_entry h = {.entry = xml->entry};

    memcpy(h.etag, xml->etag, sizeof(h.etag));
    memcpy(h.storage_class, xml->storage_class, sizeof(h.storage_class));
    h.entry.key_len = xml->key.len;
    xml_check(xml, buf_append(&xml->held, &h, sizeof(h)));
    if (!xml->error)
        xml_check(xml, buf_append(&xml->held, xml->key.data, xml->key.len + 1));
}

/* The encoding is known now: reports the held entries. */
static void xml_release(struct s3_xml *xml, enum encoding encoding)
{
    xml->encoding = encoding;
    for (size_t at = 0; at < xml->held.len && !xml->error;) {
        struct held_entry h;
        size_t len;

        memcpy(&h, xml->held.data + at, sizeof(h));
        at += sizeof(h);
        len = h.entry.key_len;
        xml_tell(xml, &h.entry, xml->held.data + at, len, h.etag, h.storage_class);
        at += len + 1;
    }
    buf_done(&xml->held);
}

static void end_entry(struct s3_xml *xml)
{
    bool plain = xml->key.len == 0 || !strpbrk(xml->key.data, "%+");

    if (xml->key.len == 0)
        xml->doc.n_left_out++; /* an entry without a key */
    else if (xml->encoding == ENCODING_UNSAID && (xml->held.len || !plain))
        hold(xml);
    else
        xml_tell(xml, &xml->entry, xml->key.data, xml->key.len, xml->etag, xml->storage_class);
    buf_reset(&xml->key);
    xml->etag[0] = '\0';
    xml->storage_class[0] = '\0';
    xml->entry = (struct s3_list_entry){0};
}

/* ---- fields ---- */

static bool parse_size(const char *text, uint64_t *ret)
{
    uint64_t v = 0;

    if (!*text)
        return false;
    for (; *text; text++) {
        unsigned d = (unsigned)(*text - '0');

        if (d > 9 || v > ((uint64_t)INT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *ret = v;
    return true;
}

static void cut_copy(char *to, size_t cap, const char *from)
{
    size_t len = strnlen(from, cap - 1);

    memcpy(to, from, len);
    to[len] = '\0';
}

/* (The quotes in XML do not show how the server writes ETags in headers.) */
static void copy_etag(char *to, const char *from)
{
    (void)s3_etag_read(from, to);
}

static void end_list_field(struct s3_xml *xml, enum element field, const char *text)
{
    switch (field) {
    case FIELD_ENCODING:
        xml_release(xml, strcmp(text, "url") == 0 ? ENCODING_URL : ENCODING_NONE);
        break;
    case FIELD_TRUNCATED:
        xml->doc.truncated = strcmp(text, "true") == 0;
        break;
    case FIELD_TOKEN:
        if (strlen(text) >= sizeof(xml->doc.next_token))
            xml_fail(xml, -EBADMSG);
        else
            strcpy(xml->doc.next_token, text);
        break;
    case FIELD_KEY:
    case FIELD_PREFIX:
        buf_reset(&xml->key);
        xml_check(xml, buf_puts(&xml->key, text));
        xml->entry.is_prefix = field == FIELD_PREFIX;
        if (field == FIELD_PREFIX && !xml->error)
            end_entry(xml); /* some servers put several into one element */
        break;
    case FIELD_SIZE:
        if (!parse_size(text, &xml->entry.size))
            xml_fail(xml, -EBADMSG);
        break;
    case FIELD_MTIME:
        if (!s3_time_parse_iso(text, &xml->entry.mtime_ns))
            xml_fail(xml, -EBADMSG);
        break;
    case FIELD_ETAG:
        copy_etag(xml->etag, text);
        break;
    case FIELD_CLASS:
        if (strlen(text) < S3_CLASS_MAX && strcmp(text, "STANDARD") != 0)
            strcpy(xml->storage_class, text);
        break;
    default:
        break;
    }
}

static void end_tag_field(struct s3_xml *xml, enum element field, const char *text)
{
    int r = 0;

    if (field == FIELD_TAG_VALUE && !xml->has_tag_key) {
        xml_fail(xml, -EBADMSG);
        return;
    }
    if (field == FIELD_TAG_KEY && xml->tags.len)
        r = buf_puts(&xml->tags, "&");
    if (r == 0)
        r = s3_url_encode(&xml->tags, text, strlen(text), false);
    if (r == 0 && field == FIELD_TAG_KEY)
        r = buf_puts(&xml->tags, "=");
    xml->has_tag_key = field == FIELD_TAG_KEY;
    xml->doc.tags_lost |= r == -EMSGSIZE;
    xml->doc.tags = xml->doc.tags_lost ? NULL : xml->tags.data;
    if (r != -EMSGSIZE)
        xml_fail(xml, r);
}

static void end_field(struct s3_xml *xml, enum element field)
{
    struct s3_xml_doc *doc = &xml->doc;
    const char *text = xml->text.data ? xml->text.data : "";

    switch (field) {
    case FIELD_DOC_ETAG:
        copy_etag(doc->etag, text);
        break;
    case FIELD_UPLOAD_ID:
        if (strlen(text) < sizeof(doc->upload_id))
            strcpy(doc->upload_id, text);
        break;
    case FIELD_COPY_MTIME:
        if (!s3_time_parse_iso(text, &doc->mtime_ns))
            xml_fail(xml, -EBADMSG);
        break;
    case FIELD_TAG_KEY:
    case FIELD_TAG_VALUE:
        end_tag_field(xml, field, text);
        break;
    case FIELD_CODE:
        cut_copy(doc->code, sizeof(doc->code), text);
        break;
    case FIELD_MESSAGE:
        cut_copy(doc->message, sizeof(doc->message), text);
        err_cut(doc->message, sizeof(doc->message), (int)strlen(text));
        break;
    case FIELD_REGION:
        cut_copy(doc->region, sizeof(doc->region), text);
        break;
    default:
        end_list_field(xml, field, text);
        break;
    }
}

/* ---- SAX ---- */

static enum element expected_root(struct s3_xml *xml)
{
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        if (roots[i].kind == xml->expected) {
            xml->doc.kind = xml->expected;
            return roots[i].element;
        }
    }
    return EL_UNKNOWN;
}

static enum element find_element(struct s3_xml *xml, const char *name)
{
    if (xml->depth == 0) {
        xml->doc.kind = S3_XML_OTHER;
        for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
            if (strcmp(roots[i].name, name) == 0) {
                xml->doc.kind = roots[i].kind;
                xml->known = true;
                return roots[i].element;
            }
        }
        return expected_root(xml);
    }
    for (size_t i = 0; i < sizeof(grammar) / sizeof(grammar[0]); i++) {
        if (grammar[i].parent == xml->stack[xml->depth - 1] && strcmp(grammar[i].name, name) == 0) {
            xml->known = true;
            return grammar[i].element;
        }
    }
    return EL_UNKNOWN;
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_namespaces, const xmlChar **namespaces, int n_attributes,
                     int n_defaulted, const xmlChar **attributes)
{
    struct s3_xml *xml = ctx;

    (void)prefix, (void)uri, (void)n_namespaces, (void)namespaces;
    (void)n_attributes, (void)n_defaulted, (void)attributes;
    xml->quiet = 0;
    if (xml->error)
        return;
    if (xml->depth == S3_XML_DEPTH_MAX ||
        strnlen((const char *)name, S3_XML_NAME_MAX) == S3_XML_NAME_MAX) {
        xml_fail(xml, -EBADMSG);
        return;
    }
    xml->stack[xml->depth] = find_element(xml, (const char *)name);
    xml->depth++;
    buf_reset(&xml->text);
}

static void xml_on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct s3_xml *xml = ctx;
    enum element el;

    (void)name, (void)prefix, (void)uri;
    xml->quiet = 0;
    if (xml->error || xml->depth == 0)
        return;
    el = xml->stack[--xml->depth];
    if (el >= FIELD_FIRST)
        end_field(xml, el);
    else if (el == EL_CONTENTS)
        end_entry(xml);
    buf_reset(&xml->text);
}

static void on_text(void *ctx, const xmlChar *text, int len)
{
    struct s3_xml *xml = ctx;

    xml->quiet = 0;
    if (xml->error || xml->depth == 0 || xml->stack[xml->depth - 1] < FIELD_FIRST)
        return;
    xml_check(xml, buf_append(&xml->text, text, (size_t)len));
}

static void on_dtd(void *ctx, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
    (void)name, (void)external, (void)system;
    xml_fail(ctx, -EBADMSG);
}

#if LIBXML_VERSION >= 21200
static void on_error(void *ctx, const xmlError *error)
#else
static void on_error(void *ctx, xmlError *error)
#endif
{
    (void)ctx, (void)error; /* s3_xml_feed checks the parser's result */
}

/* Encoding errors belong to no parser, and would be printed to stderr. */
static void on_words(void *ctx, const char *format, ...)
{
    (void)ctx, (void)format;
}

/* ---- the parser ---- */

int s3_xml_new(int (*on_entry)(void *arg, const struct s3_list_entry *e), void *arg,
               struct s3_xml **ret_xml)
{
    static const xmlSAXHandler handler = {
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = on_start,
        .endElementNs = xml_on_end,
        .characters = on_text,
        .cdataBlock = on_text,
        .internalSubset = on_dtd,
        .serror = on_error,
    };
    struct s3_xml *xml = calloc(1, sizeof(*xml));

    if (!xml)
        return -ENOMEM;
    xml->on_entry = on_entry;
    xml->arg = arg;
    buf_init(&xml->text, S3_XML_TEXT_MAX);
    buf_init(&xml->key, S3_XML_TEXT_MAX);
    buf_init(&xml->held, HELD_MAX);
    buf_init(&xml->tags, S3_TAGS_MAX);
    xml->ctxt = xmlCreatePushParserCtxt((xmlSAXHandlerPtr)&handler, xml, NULL, 0, NULL);
    if (!xml->ctxt) {
        free(xml);
        return -ENOMEM;
    }
    xmlCtxtUseOptions(xml->ctxt, XML_PARSE_NONET);
    xmlSetGenericErrorFunc(NULL, on_words);
    *ret_xml = xml;
    return 0;
}

void s3_xml_free(struct s3_xml *xml)
{
    if (!xml)
        return;
    xmlFreeParserCtxt(xml->ctxt);
    buf_done(&xml->text);
    buf_done(&xml->key);
    buf_done(&xml->held);
    buf_done(&xml->tags);
    free(xml);
}

void s3_xml_expect(struct s3_xml *xml, enum s3_xml_kind kind)
{
    xml->expected = kind;
}

static void parse_chunk(struct s3_xml *xml, const char *data, size_t len)
{
    int r;

    xml->quiet += len;
    r = xmlParseChunk(xml->ctxt, data, (int)len, 0);
    if (xml->error)
        return;
    if (r == XML_ERR_NO_MEMORY)
        xml_fail(xml, -ENOMEM);
    else if (!xml->ctxt->wellFormed || xml->quiet > QUIET_MAX)
        xml_fail(xml, -EBADMSG);
}

int s3_xml_feed(struct s3_xml *xml, const void *data, size_t len)
{
    const char *p = data;

    xml->size += len;
    if (xml->size > S3_XML_SIZE_MAX)
        xml_fail(xml, -EBADMSG);
    /* Servers keep the connection of a slow copy alive with blanks, where XML must begin with
     * "<?xml". */
    while (!xml->begun && len > 0 && strchr(" \t\r\n", *p) && *p) {
        p++;
        len--;
    }
    xml->begun |= len > 0;
    while (len > 0 && !xml->error) {
        size_t n = len < FEED_CHUNK ? len : FEED_CHUNK;

        parse_chunk(xml, p, n);
        p += n;
        len -= n;
    }
    return xml->error;
}

int s3_xml_end(struct s3_xml *xml)
{
    int r;

    if (xml->error || xml->ended)
        return xml->error;
    xml->ended = true;
    r = xmlParseChunk(xml->ctxt, NULL, 0, 1);
    if (xml->error)
        return xml->error;
    if (r == XML_ERR_NO_MEMORY)
        xml_fail(xml, -ENOMEM);
    else if (r != XML_ERR_OK || !xml->ctxt->wellFormed || xml->depth > 0 ||
             xml->doc.kind == S3_XML_NOTHING)
        xml_fail(xml, -EBADMSG);
    if (!xml->known && !xml->error)
        xml->doc.kind = S3_XML_OTHER;
    if (!xml->error && xml->doc.kind == S3_XML_LIST)
        xml_release(xml, xml->encoding == ENCODING_UNSAID ? ENCODING_NONE : xml->encoding);
    return xml->error;
}

const struct s3_xml_doc *s3_xml_doc(const struct s3_xml *xml)
{
    return &xml->doc;
}
