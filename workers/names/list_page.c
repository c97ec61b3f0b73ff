/* The page format. An ETag of 32 hex digits in quotes, which most objects have, is stored as 16
 * bytes. */
#include "workers/names/list_page.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "workers/objmeta/folder.h"

#define PAGE_MAGIC UINT32_C(0x4c495354)
#define MD5_LEN 16
#define AFTER_ALL "\xf4\x8f\xbf\xbf" /* U+10FFFF: sorts after everything with the same beginning */

/* Precedes the name and ETag of each entry; copied, because entries are not aligned. */
struct packed {
    uint64_t size;
    int64_t mtime_ns;
    uint16_t name_len;
    uint8_t type;
    uint8_t etag_len;
    uint8_t etag_is_md5;
    uint8_t folder;
    uint8_t unused[2];
};

void list_page_begin(uint8_t *buf, const char *start, uint64_t listing_ns, uint64_t page_ns)
{
    struct list_header h = {
        .magic = PAGE_MAGIC, .used = sizeof(h), .listing_ns = listing_ns, .page_ns = page_ns};

    snprintf(h.start, sizeof(h.start), "%s", start);
    memcpy(buf, &h, sizeof(h));
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* "<32 lower-case hex digits>" with its quotes. */
static bool pack_md5(const char *etag, uint8_t out[MD5_LEN])
{
    if (strlen(etag) != 2 * MD5_LEN + 2 || etag[0] != '"' || etag[2 * MD5_LEN + 1] != '"')
        return false;
    for (int i = 0; i < MD5_LEN; i++) {
        int hi = hex_value(etag[1 + 2 * i]), lo = hex_value(etag[2 + 2 * i]);

        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

static void unpack_md5(const uint8_t md5[MD5_LEN], char *out)
{
    *out++ = '"';
    for (int i = 0; i < MD5_LEN; i++)
        out += sprintf(out, "%02x", md5[i]);
    memcpy(out, "\"", 2);
}

bool list_page_add(uint8_t *buf, size_t cap, const struct list_entry *e)
{
    struct list_header *h = (struct list_header *)buf;
    uint8_t md5[MD5_LEN];
    struct packed p = {.size = e->size,
                       .mtime_ns = e->mtime_ns,
                       .type = (uint8_t)e->type,
                       .name_len = e->name_len,
                       .folder = e->folder,
                       .etag_is_md5 = pack_md5(e->etag, md5)};
    uint8_t *at = buf + h->used;

    p.etag_len = p.etag_is_md5 ? MD5_LEN : (uint8_t)strnlen(e->etag, sizeof(e->etag) - 1);
    if (cap - h->used < sizeof(p) + p.name_len + p.etag_len)
        return false;
    memcpy(at, &p, sizeof(p));
    memcpy(at + sizeof(p), e->name, p.name_len);
    memcpy(at + sizeof(p) + p.name_len, p.etag_is_md5 ? (const void *)md5 : e->etag, p.etag_len);
    h->used += (uint32_t)(sizeof(p) + p.name_len + p.etag_len);
    h->n++;
    return true;
}

int list_page_check(const uint8_t *buf, size_t len)
{
    const struct list_header *h = list_page_header(buf);

    if (len < sizeof(*h) || h->magic != PAGE_MAGIC || h->used < sizeof(*h) || h->used > len ||
        h->token_len > len - h->used || !memchr(h->next, '\0', sizeof(h->next)) ||
        !memchr(h->start, '\0', sizeof(h->start)))
        return -EPROTO;
    return 0;
}

bool list_page_next(const uint8_t *buf, size_t *off, struct list_entry *ret)
{
    const struct list_header *h = list_page_header(buf);
    size_t at = *off ? *off : sizeof(*h);
    const uint8_t *tail;
    struct packed p;

    if (at >= h->used || h->used - at < sizeof(p))
        return false;
    memcpy(&p, buf + at, sizeof(p));
    if (h->used - at - sizeof(p) < (size_t)p.name_len + p.etag_len ||
        p.etag_len >= sizeof(ret->etag) || (p.etag_is_md5 && p.etag_len != MD5_LEN) ||
        p.type > LIST_SHADOWED)
        return false;
    *ret = (struct list_entry){.type = p.type,
                               .size = p.size,
                               .mtime_ns = p.mtime_ns,
                               .name = (const char *)buf + at + sizeof(p),
                               .name_len = p.name_len,
                               .folder = p.folder};
    tail = buf + at + sizeof(p) + p.name_len;
    if (p.etag_is_md5)
        unpack_md5(tail, ret->etag);
    else
        memcpy(ret->etag, tail, p.etag_len);
    *off = at + sizeof(p) + p.name_len + p.etag_len;
    return true;
}

void list_page_end_at(uint8_t *buf, const char *name, size_t len, bool dir)
{
    struct list_header *h = (struct list_header *)buf;
    bool cut = len > LIST_NAME_MAX;

    if (cut) {
        /* Not in the middle of a character: start-after is UTF-8. */
        for (len = LIST_NAME_MAX; len && ((uint8_t)name[len] & 0xc0) == 0x80;)
            len--;
    }
    snprintf(h->next, sizeof(h->next), "%.*s%s%s", (int)len, name, dir && !cut ? "/" : "",
             dir || cut ? AFTER_ALL : "");
}

/* Behind a directory there may be less room than U+10FFFF takes. What is below it has no more, and
 * the last of the characters that fit comes after all of that. */
void list_page_start_after(const char *dir, const char *start, size_t max, char *out)
{
    static const char *const last[] = {"", "\x7f", "\xdf\xbf", "\xef\xbf\xbd"};
    size_t skip = strlen(dir), len = strlen(start), all = strlen(AFTER_ALL);

    memcpy(out, dir, skip);
    memcpy(out + skip, start, len + 1);
    if (skip + len <= max || len < all || strcmp(start + len - all, AFTER_ALL) != 0)
        return;
    len += skip - all;
    if (len <= max)
        strcpy(out + len, last[max - len]);
}

void list_page_shadow(uint8_t *buf, uint32_t off)
{
    buf[off + offsetof(struct packed, type)] = LIST_SHADOWED;
}

/* The page ends with this entry. */
static void end_at_entry(uint8_t *buf, const struct list_entry *e)
{
    char name[LIST_NAME_MAX + FOLDER_SUFFIX_LEN];
    size_t len = e->name_len;

    if (!e->folder || len > LIST_NAME_MAX) {
        list_page_end_at(buf, e->name, len, e->type == LIST_DIR);
        return;
    }
    memcpy(name, e->name, len);
    memcpy(name + len, FOLDER_SUFFIX, FOLDER_SUFFIX_LEN);
    list_page_end_at(buf, name, len + FOLDER_SUFFIX_LEN, false);
}

bool list_page_cut(uint8_t *buf, uint32_t off, unsigned max)
{
    struct list_header *h = (struct list_header *)buf;
    struct list_entry e = {0};
    size_t at = 0;
    uint32_t n = 0;

    while (at < off && list_page_next(buf, &at, &e))
        n++;
    if (at != off || h->n - n > max)
        return false;
    h->used = off;
    h->n = n;
    end_at_entry(buf, &e);
    return true;
}

/* ---- the token ---- */

void list_page_set_token(uint8_t *buf, size_t cap, const char *token)
{
    struct list_header *h = (struct list_header *)buf;
    size_t len = strlen(token);

    if (len > cap - h->used)
        return;
    memcpy(buf + h->used, token, len);
    h->token_len = (uint32_t)len;
}

void list_page_token(const uint8_t *buf, char *to, size_t cap)
{
    const struct list_header *h = list_page_header(buf);
    size_t len = h->token_len < cap ? h->token_len : 0;

    memcpy(to, buf + h->used, len);
    to[len] = '\0';
}

uint32_t list_page_len(const uint8_t *buf)
{
    const struct list_header *h = list_page_header(buf);

    return h->used + h->token_len;
}
