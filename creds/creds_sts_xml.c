/* STS's XML on libxml2's push parser with our own SAX handlers, as s3/s3_xml.c does for S3's: no
 * tree, no entity, no DTD. An element is known by its name and its parent's. */
#include "creds/creds_sts_xml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <libxml/parser.h>
#include <sodium.h>

#include "creds/creds_job.h"
#include "s3/s3_time.h"

#define DEPTH_MAX 16
#define NAME_MAX_LEN 32
#define ARN_MAX 256
#define TIME_MAX 40

/* The texts that count. */
struct sts_texts {
    char access_key[S3_ACCESS_KEY_MAX], secret[S3_SECRET_MAX];
    char session_token[S3_SESSION_TOKEN_MAX];
    char expires[TIME_MAX], arn[ARN_MAX];
};

struct sts_xml {
    xmlParserCtxtPtr ctxt;
    unsigned depth;
    char stack[DEPTH_MAX][NAME_MAX_LEN];
    struct sts_texts *texts;
    struct creds_sts_reply *reply;
    char *at; /* of the text that is open; NULL = none */
    size_t cap, len;
    bool cut_ok; /* it may be cut: a message */
    bool failed;
};

static void sts_fail(struct sts_xml *x)
{
    x->failed = true;
    xmlStopParser(x->ctxt);
}

static void sts_open(struct sts_xml *x, char *at, size_t cap, bool cut_ok)
{
    x->at = at;
    x->cap = cap;
    x->len = 0;
    x->cut_ok = cut_ok;
    at[0] = '\0';
}

static void sts_known(struct sts_xml *x, const char *parent, const char *name)
{
    struct sts_texts *t = x->texts;
    const struct {
        const char *parent, *name;
        char *at;
        size_t cap;
    } known[] = {
        {"Credentials", "AccessKeyId", t->access_key, sizeof(t->access_key)},
        {"Credentials", "SecretAccessKey", t->secret, sizeof(t->secret)},
        {"Credentials", "SessionToken", t->session_token, sizeof(t->session_token)},
        {"Credentials", "Expiration", t->expires, sizeof(t->expires)},
        {"AssumedRoleUser", "Arn", t->arn, sizeof(t->arn)},
        {"Error", "Code", x->reply->code, sizeof(x->reply->code)},
        {"Error", "Message", x->reply->message, sizeof(x->reply->message)},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].parent, parent) == 0 && strcmp(known[i].name, name) == 0)
            sts_open(x, known[i].at, known[i].cap, strcmp(parent, "Error") == 0);
    }
}

static void sts_on_start(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                         int n_ns, const xmlChar **ns, int n_attr, int n_default,
                         const xmlChar **attr)
{
    struct sts_xml *x = arg;
    const char *text = (const char *)name;

    (void)prefix, (void)uri, (void)n_ns, (void)ns, (void)n_attr, (void)n_default, (void)attr;
    x->at = NULL;
    if (x->depth == DEPTH_MAX) {
        sts_fail(x);
        return;
    }
    if (strlen(text) >= NAME_MAX_LEN)
        text = "?"; /* none of ours is so long, but for roots */
    strcpy(x->stack[x->depth], text);
    if (x->depth > 0)
        sts_known(x, x->stack[x->depth - 1], text);
    x->depth++;
}

static void sts_on_end(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct sts_xml *x = arg;

    (void)name, (void)prefix, (void)uri;
    x->at = NULL;
    if (x->depth > 0)
        x->depth--;
}

static void sts_on_text(void *arg, const xmlChar *text, int len)
{
    struct sts_xml *x = arg;
    size_t n = len > 0 ? (size_t)len : 0;

    if (!x->at)
        return;
    if (n > x->cap - 1 - x->len) {
        if (!x->cut_ok) {
            sts_fail(x);
            return;
        }
        n = x->cap - 1 - x->len;
    }
    memcpy(x->at + x->len, text, n);
    x->len += n;
    x->at[x->len] = '\0';
}

/* A DTD: nobody's answer has one. */
static void sts_on_dtd(void *arg, const xmlChar *name, const xmlChar *id, const xmlChar *system)
{
    (void)name, (void)id, (void)system;
    sts_fail(arg);
}

/* The account is in arn:aws:sts::123456789012:assumed-role/... */
static void sts_account(const char *arn, char *out)
{
    const char *at = arn;
    size_t len;

    for (int i = 0; i < 4 && at; i++) {
        at = strchr(at, ':');
        at = at ? at + 1 : NULL;
    }
    len = at ? strspn(at, "0123456789") : 0;
    if (len > 0 && len < CREDS_ACCOUNT_MAX && at[len] == ':') {
        memcpy(out, at, len);
        out[len] = '\0';
    }
}

static int sts_take(const struct sts_texts *t, struct creds *ret, struct err *err)
{
    int64_t ns = 0;
    int r =
        s3_cred_copy(ret->access_key, sizeof(ret->access_key), t->access_key, "AccessKeyId", err);

    if (r == 0)
        r = s3_cred_copy(ret->secret, sizeof(ret->secret), t->secret, "SecretAccessKey", err);
    if (r == 0)
        r = s3_cred_copy(ret->session_token, sizeof(ret->session_token), t->session_token,
                         "SessionToken", err);
    if (r == 0 && (!s3_time_parse_iso(t->expires, &ns) || ns <= 0))
        r = err_set(err, EINVAL, "the Expiration is no time");
    ret->expires_ns = (uint64_t)ns;
    sts_account(t->arn, ret->account);
    return r;
}

static int sts_run(struct sts_xml *x, const char *text, size_t len, struct err *err)
{
    xmlSAXHandler sax = {
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = sts_on_start,
        .endElementNs = sts_on_end,
        .characters = sts_on_text,
        .internalSubset = sts_on_dtd,
    };
    int r;

    x->ctxt = xmlCreatePushParserCtxt(&sax, x, NULL, 0, NULL);
    if (!x->ctxt)
        return err_set(err, ENOMEM, "out of memory");
    xmlCtxtUseOptions(x->ctxt, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    r = xmlParseChunk(x->ctxt, text, (int)len, 1);
    xmlFreeParserCtxt(x->ctxt);
    if (r != 0 || x->failed)
        return err_set(err, EINVAL, "what it says is no XML of STS");
    return 0;
}

int creds_sts_parse(const char *text, size_t len, struct creds_sts_reply *ret, struct err *err)
{
    struct sts_texts *texts = sodium_malloc(sizeof(*texts));
    struct sts_xml x = {.texts = texts, .reply = ret};
    int r;

    if (!texts)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    memset(texts, 0, sizeof(*texts));
    memset(ret, 0, sizeof(*ret));
    r = len > CREDS_BODY_MAX ? err_set(err, EINVAL, "what it says is too long")
                             : sts_run(&x, text, len, err);
    creds_clean(ret->code);
    creds_clean(ret->message);
    if (r == 0 && !*ret->code)
        r = sts_take(texts, &ret->creds, err);
    sodium_free(texts);
    return r;
}
