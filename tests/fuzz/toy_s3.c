/* See toy_s3.h. */
#include "tests/fuzz/toy_s3.h"

#include "tests/fuzz/fuzz.h"

#define BIG 300000
#define PATH_MAX_LEN 8192
#define ETAG "\"0123456789abcdef0123456789abcdef\""

/* What a server may say instead; "" ends the connection without a word. */
static const char *const faults[] = {
    "",
    "HTTP/1.1 500 Internal\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\n\r\n",
    "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nETag: \"new\"\r\nContent-Length: 5\r\n\r\nhello",
    ("HTTP/1.1 206 Partial Content\r\nETag: \"new\"\r\nContent-Length: 9\r\n"
     "Content-Range: bytes 0-8/9\r\n\r\nhel"),
    "HTTP/1.1 416 Range\r\nContent-Length: 0\r\n\r\n",
    "nonsense\r\n",
};

static unsigned every, fault, count;

void toy_s3_begin(uint8_t new_every, uint8_t new_fault)
{
    every = new_every;
    fault = new_fault % (sizeof(faults) / sizeof(faults[0]));
    count = 0;
}

#define add(answer, ...)                                                                           \
    do {                                                                                           \
        int added = buf_printf((answer), __VA_ARGS__);                                             \
        fuzz_check(added == 0);                                                                    \
    } while (0)

static void add_refusal(struct buf *answer, int status)
{
    const char *code = status == 404 ? "NoSuchKey" : "InvalidRange";

    add(answer, "HTTP/1.1 %d No\r\nContent-Length: 0\r\nx-minio-error-code: %s\r\n\r\n", status,
        code);
}

static void add_xml(struct buf *answer, const struct buf *xml)
{
    add(answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", xml->len);
    fuzz_check(buf_append(answer, xml->data, xml->len) == 0);
}

/* ---- listings ---- */

static void add_file(struct buf *xml, const char *prefix, const char *name, unsigned size)
{
    add(xml,
        "<Contents><Key>%s%s</Key><Size>%u</Size>"
        "<LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        "<ETag>" ETAG "</ETag></Contents>",
        prefix, name, size);
}

/* What stands behind the last coded slash. */
static const char *last_name(const char *prefix)
{
    const char *at = prefix, *next;

    while ((next = strstr(at, "%2F")))
        at = next + 3;
    return at;
}

static void add_entries(struct buf *xml, const char *prefix)
{
    const char *name = last_name(prefix);

    if (*name == 'd') {
        add(xml, "<CommonPrefixes><Prefix>%s%%2F</Prefix></CommonPrefixes>", prefix);
    } else if (*name == 'f' || *name == 'F') {
        add_file(xml, prefix, "", *name == 'f' ? 5 : BIG);
    } else if (!*name) {
        add_file(xml, prefix, "F", BIG);
        add(xml, "<CommonPrefixes><Prefix>%sd%%2F</Prefix></CommonPrefixes>", prefix);
        add_file(xml, prefix, "f", 5);
        add_file(xml, prefix, "f.txt", 5);
    }
}

/* `query` is what the client wrote, coded: it goes back so. */
static void list(const char *query, struct buf *answer)
{
    const char *at = strstr(query, "prefix=");
    char prefix[PATH_MAX_LEN] = "";
    struct buf xml;

    if (at)
        snprintf(prefix, sizeof(prefix), "%.*s", (int)strcspn(at + 7, "& "), at + 7);
    buf_init(&xml, 1 << 20);
    add(&xml, "<ListBucketResult><EncodingType>url</EncodingType>"
              "<IsTruncated>false</IsTruncated>");
    if (!strstr(query, "start-after="))
        add_entries(&xml, prefix);
    add(&xml, "</ListBucketResult>");
    add_xml(answer, &xml);
    buf_done(&xml);
}

/* ---- objects ---- */

/* The bytes of a file that are asked for; *ret_first beyond the end: none. */
static void range_of(const char *head, unsigned size, unsigned *ret_first, unsigned *ret_end)
{
    const char *range = strcasestr(head, "\nrange: bytes=");
    unsigned long last = size;
    char *end;

    *ret_first = 0;
    if (range) {
        *ret_first = (unsigned)strtoul(range + 14, &end, 10);
        if (*end == '-' && end[1] >= '0' && end[1] <= '9')
            last = strtoul(end + 1, NULL, 10) + 1;
    }
    *ret_end = last < size ? (unsigned)last : size;
}

static void get(const char *head, unsigned size, struct buf *answer)
{
    bool body = head[0] == 'G';
    unsigned first, end;

    range_of(head, size, &first, &end);
    if (strcasestr(head, "\nif-none-match: " ETAG)) {
        add(answer, "HTTP/1.1 304 Not Modified\r\n\r\n");
        return;
    }
    if (first >= size && size) {
        add_refusal(answer, 416);
        return;
    }
    if (strcasestr(head, "\nrange:"))
        add(answer, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %u-%u/%u\r\n", first,
            end - 1, size);
    else
        add(answer, "HTTP/1.1 200 OK\r\n");
    add(answer,
        "ETag: " ETAG "\r\nContent-Length: %u\r\nx-amz-meta-mode: 33188\r\n"
        "Last-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n\r\n",
        end - first);
    for (unsigned i = first; body && i < end; i++)
        fuzz_check(buf_append(answer, &"hello"[i % 5], 1) == 0);
}

static void change(const char *head, struct buf *answer)
{
    struct buf xml;

    if (head[0] == 'D') {
        add(answer, "HTTP/1.1 204 No Content\r\n\r\n");
        return;
    }
    if (!strcasestr(head, "\nx-amz-copy-source:")) {
        add(answer, "HTTP/1.1 200 OK\r\nETag: " ETAG "\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    buf_init(&xml, 1 << 10);
    add(&xml, "<CopyObjectResult><ETag>" ETAG "</ETag></CopyObjectResult>");
    add_xml(answer, &xml);
    buf_done(&xml);
}

bool toy_s3_answer(void *arg, const char *head, struct buf *answer)
{
    char path[PATH_MAX_LEN];
    const char *at = strchr(head, ' '), *query, *name;

    (void)arg;
    if (every && ++count % every == 0) {
        add(answer, "%s", faults[fault]);
        return *faults[fault] && fault + 1 < sizeof(faults) / sizeof(*faults);
    }
    snprintf(path, sizeof(path), "%.*s", (int)strcspn(at + 1, " "), at + 1);
    query = strchr(path, '?');
    name = strrchr(path, '/');
    if (head[0] != 'G' && head[0] != 'H')
        change(head, answer);
    else if (query)
        list(query, answer);
    else if (name && (name[1] == 'f' || name[1] == 'F'))
        get(head, name[1] == 'f' ? 5 : BIG, answer);
    else
        add_refusal(answer, 404);
    return true;
}
