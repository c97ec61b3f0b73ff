/* S3's XML responses, parsed as they arrive: a page of ListObjectsV2, the results of copies and of
 * multipart uploads, Error.
 *
 * The input is hostile: no DTD, no entities but XML's five, no network; nesting, names, texts and
 * the whole are bounded. Entries of a page are reported at once if their keys are the same encoded
 * and not; others wait until <EncodingType>, which servers put anywhere, or the end has shown which
 * they are. */
#ifndef S3_S3_XML_H
#define S3_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3/s3.h"

#define S3_XML_SIZE_MAX                                                                            \
    (64u << 20)              /* bytes of one response, of which a page is kept: 200,000 usual
                                     * entries */
#define S3_XML_TEXT_MAX 8192 /* bytes of one text that is used */
#define S3_XML_DEPTH_MAX 16
#define S3_XML_NAME_MAX 128
#define S3_XML_MESSAGE_MAX 160

enum s3_xml_kind {
    S3_XML_NOTHING,
    S3_XML_LIST,
    S3_XML_COPY, /* of an object or into a part */
    S3_XML_CREATE,
    S3_XML_COMPLETE,
    S3_XML_TAGS,
    S3_XML_ERROR,
    S3_XML_OTHER
};

/* What the document contains beside entries; "" or 0 where it has nothing. */
struct s3_xml_doc {
    enum s3_xml_kind kind;            /* by its root; NOTHING until that was seen */
    char code[S3_CODE_MAX];           /* ERROR */
    char message[S3_XML_MESSAGE_MAX]; /* ERROR; cut */
    char region[S3_REGION_MAX];       /* ERROR */
    char etag[S3_ETAG_MAX];           /* COPY, COMPLETE */
    int64_t mtime_ns;                 /* COPY */
    bool truncated;                   /* LIST */
    char next_token[S3_TOKEN_MAX];    /* LIST */
    char upload_id[S3_UPLOAD_ID_MAX]; /* CREATE; "" also if it does not fit */
    bool tags_lost;                   /* TAGS: they do not fit into a header */
    const char *tags;                 /* TAGS: a=b&c=d, percent-encoded; as long as the parser */
    unsigned n_entries;               /* LIST: entries reported */
    unsigned n_left_out;              /* LIST: keys that no caller could use (NUL, too long) */
};

struct s3_xml;

/* `on_entry` may be NULL; a negative result of it ends the parsing with that error. 0 and *ret_xml
 * (s3_xml_free), or -ENOMEM. */
must_use int s3_xml_new(int (*on_entry)(void *arg, const struct s3_list_entry *e), void *arg,
                        struct s3_xml **ret_xml);
void s3_xml_free(struct s3_xml *xml);

/* What the document is if it is no Error, whatever the name of its root: servers spell roots in
 * several ways. (Only if it has a known element, so that a web page is not taken for a listing.) To
 * be called before the first bytes. */
void s3_xml_expect(struct s3_xml *xml, enum s3_xml_kind kind);

/* Parses the next bytes. 0; -EBADMSG for invalid XML or beyond a limit; -ENOMEM; the error of
 * on_entry. After an error every further call returns it again. */
must_use int s3_xml_feed(struct s3_xml *xml, const void *data, size_t len);

/* The end of the response: -EBADMSG if the document is not complete. May be called again. */
must_use int s3_xml_end(struct s3_xml *xml);

const struct s3_xml_doc *s3_xml_doc(const struct s3_xml *xml);

#endif
