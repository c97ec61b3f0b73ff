/* What AWS's Security Token Service answers. */
#ifndef CREDS_CREDS_STS_XML_H
#define CREDS_CREDS_STS_XML_H

#include <stddef.h>

#include "creds/creds.h"

#define CREDS_STS_CODE_MAX 64
#define CREDS_STS_MESSAGE_MAX 256

struct creds_sts_reply {
    struct creds creds;            /* `provider` is empty */
    char code[CREDS_STS_CODE_MAX]; /* of an error document, "" = it is none */
    char message[CREDS_STS_MESSAGE_MAX];
};

/* Reads the answer to AssumeRole or AssumeRoleWithWebIdentity, or an error document, into *ret,
 * which lies in locked memory. 0: all that makes credentials is there (and fits a header), or
 * `code`; -EINVAL with *err, which shows nothing of the text; -ENOMEM. */
must_use int creds_sts_parse(const char *text, size_t len, struct creds_sts_reply *ret,
                             struct err *err);

#endif
