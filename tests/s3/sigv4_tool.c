/* Signs request descriptions from stdin, for sigv4_differential.py: one signature a line.
 *
 * A description is lines of one letter and a percent-coded text, ended by an empty line:
 *   M method, P path, Q query, H name=value, B payload hash, A access key, S secret,
 *   D date, R region, V service, N (normalise and code the path) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "s3/s3_sigv4.h"
#include "s3/s3_url.h"

#define LINE_LEN 16384
#define HEADERS 100

struct description {
    char *fields[128]; /* by letter */
    struct s3_sigv4_header headers[HEADERS];
    size_t n;
};

static void fail(const char *why)
{
    fprintf(stderr, "sigv4_tool: %s\n", why);
    exit(2);
}

static char *decoded(const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        fail("no memory");
    (void)s3_url_decode(copy, strlen(copy), false);
    return copy;
}

static void add_header(struct description *d, char *text)
{
    char *equals = strchr(text, '=');

    if (!equals || d->n == HEADERS)
        fail("bad header");
    *equals = '\0';
    d->headers[d->n].name = decoded(text);
    d->headers[d->n++].value = decoded(equals + 1);
}

static const char *field(const struct description *d, int letter)
{
    return d->fields[letter] ? d->fields[letter] : "";
}

static void sign(const struct description *d)
{
    struct s3_cred cred = {.generation = 1};
    struct s3_sigv4_request req = {
        .method = field(d, 'M'),
        .path = field(d, 'P'),
        .query = field(d, 'Q'),
        .headers = d->headers,
        .n_headers = d->n,
        .payload_hash = field(d, 'B'),
        .encode_path = d->fields['N'] != NULL,
        .normalize_path = d->fields['N'] != NULL,
    };
    struct s3_sigv4_scope scope = {field(d, 'R'), field(d, 'V'), field(d, 'D')};
    char auth[S3_SIGV4_AUTH_MAX];

    snprintf(cred.access_key, sizeof(cred.access_key), "%s", field(d, 'A'));
    if (s3_sigv4_derive(field(d, 'S'), &scope, cred.key) < 0 ||
        s3_sigv4_sign(&req, &scope, &cred, auth, sizeof(auth)) < 0)
        fail("cannot sign");
    printf("%s\n", auth);
}

static void forget(struct description *d)
{
    for (size_t i = 0; i < 128; i++)
        free(d->fields[i]);
    for (size_t i = 0; i < d->n; i++) {
        free((char *)d->headers[i].name);
        free((char *)d->headers[i].value);
    }
    memset(d, 0, sizeof(*d));
}

int main(void)
{
    static char line[LINE_LEN];
    struct description d = {0};

    while (fgets(line, sizeof(line), stdin)) {
        int letter = line[0] & 127;

        line[strcspn(line, "\n")] = '\0';
        if (!*line) {
            sign(&d);
            forget(&d);
        } else if (letter == 'H') {
            add_header(&d, line + 1);
        } else {
            free(d.fields[letter]);
            /* the query stays as it is sent, the path of S3 too */
            d.fields[letter] = letter == 'Q' ? strdup(line + 1) : decoded(line + 1);
        }
    }
    return 0;
}
