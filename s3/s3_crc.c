/* CRC64NVME and CRC32C: see s3_crc.h. Both are "reflected", begin with all bits set and end
 * inverted, so that one arithmetic serves both: polynomials over bits, the lowest bit first, whose
 * width is 64 or 32. */
#include "s3/s3_crc.h"

#include <errno.h>
#include <string.h>

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#include <isa-l/crc64.h>
#endif
#include <sodium.h>

#include "base/fd.h"

#define CHUNK (128 << 10) /* read at a time: stays in the cache of the CPU */
#define SLICES 8

static const struct kind {
    const char *name;
    unsigned bytes;
    uint64_t poly; /* reflected */
    uint64_t ones;
} kinds[] = {
    [S3_CRC_NONE] = {"", 0, 0, 0},
    [S3_CRC_64NVME] = {"crc64nvme", 8, UINT64_C(0x9a6c9329ac4bc9b5), UINT64_MAX},
    [S3_CRC_32C] = {"crc32c", 4, UINT64_C(0x82f63b78), UINT32_MAX},
};

/* ---- with tables ---- */

/* table[kind][s][b]: what byte b does that has s more bytes behind it. */
static uint64_t tables[S3_CRC_32C + 1][SLICES][256];

static void make_table(enum s3_crc kind)
{
    for (unsigned b = 0; b < 256; b++) {
        uint64_t v = b;

        for (int i = 0; i < 8; i++)
            v = (v >> 1) ^ (v & 1 ? kinds[kind].poly : 0);
        tables[kind][0][b] = v;
    }
    for (unsigned s = 1; s < SLICES; s++) {
        for (unsigned b = 0; b < 256; b++) {
            uint64_t v = tables[kind][s - 1][b];

            tables[kind][s][b] = (v >> 8) ^ tables[kind][0][v & 255];
        }
    }
}

static uint64_t eight_bytes(enum s3_crc kind, uint64_t state, const unsigned char *p)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < SLICES; i++) {
        unsigned b = p[i] ^ (unsigned)(state >> (8 * i) & 255);

        v ^= tables[kind][SLICES - 1 - i][b];
    }
    return v;
}

uint64_t s3_crc_add_portable(enum s3_crc kind, uint64_t crc, const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t state = crc ^ kinds[kind].ones;

    if (!tables[kind][0][255])
        make_table(kind);
    for (; len >= SLICES; len -= SLICES, p += SLICES)
        state = eight_bytes(kind, state, p);
    for (; len > 0; len--, p++)
        state = (state >> 8) ^ tables[kind][0][(state ^ *p) & 255];
    return state ^ kinds[kind].ones;
}

/* ---- as fast as the machine can ---- */

#ifdef HAVE_ISAL
static uint64_t add_fast(enum s3_crc kind, uint64_t crc, const void *data, size_t len)
{
    const unsigned char *p = data;

    if (kind == S3_CRC_64NVME)
        return crc64_rocksoft_refl(crc, p, len);
    while (len > 0) { /* its length is an int */
        size_t n = len < (1u << 30) ? len : 1u << 30;

        crc = ~crc32_iscsi((unsigned char *)(uintptr_t)p, (int)n, ~(uint32_t)crc) & UINT32_MAX;
        p += n;
        len -= n;
    }
    return crc;
}
#else
static uint64_t add_fast(enum s3_crc kind, uint64_t crc, const void *data, size_t len)
{
    return s3_crc_add_portable(kind, crc, data, len);
}
#endif

uint64_t s3_crc_add(enum s3_crc kind, uint64_t crc, const void *data, size_t len)
{
    return kind == S3_CRC_NONE || len == 0 ? crc : add_fast(kind, crc, data, len);
}

int s3_crc_body(enum s3_crc kind, uint64_t *crc, const struct s3_body *body, uint64_t off,
                uint64_t len)
{
    char chunk[CHUNK];

    if (body->mem)
        *crc = s3_crc_add(kind, *crc, (const char *)body->mem + body->off + off, (size_t)len);
    while (!body->mem && len > 0) {
        size_t want = len < sizeof(chunk) ? (size_t)len : sizeof(chunk);
        ssize_t n = fd_pread_full(body->fd, chunk, want, (off_t)(body->off + off));

        if (n < 0)
            return (int)n;
        if ((size_t)n < want)
            return -EIO; /* the file was truncated by somebody */
        *crc = s3_crc_add(kind, *crc, chunk, want);
        off += want;
        len -= want;
    }
    return 0;
}

/* ---- combining ---- */

/* a * b modulo the polynomial; the highest bit is x^0. */
static uint64_t multiply(const struct kind *k, uint64_t a, uint64_t b)
{
    uint64_t top = UINT64_C(1) << (8 * k->bytes - 1), v = 0;

    for (; a; a = a << 1 & k->ones) {
        if (a & top)
            v ^= b;
        b = (b >> 1) ^ (b & 1 ? k->poly : 0);
    }
    return v;
}

/* x^(8 * len): what `len` bytes behind it multiply a checksum with. */
static uint64_t power(const struct kind *k, uint64_t len)
{
    uint64_t result = UINT64_C(1) << (8 * k->bytes - 1); /* x^0 */
    uint64_t square = result >> 8;                       /* x^8 */

    for (; len > 0; len >>= 1) {
        if (len & 1)
            result = multiply(k, result, square);
        square = multiply(k, square, square);
    }
    return result;
}

uint64_t s3_crc_combine(enum s3_crc kind, uint64_t crc, uint64_t next, uint64_t len)
{
    return kind == S3_CRC_NONE ? 0 : multiply(&kinds[kind], power(&kinds[kind], len), crc) ^ next;
}

/* ---- as text ---- */

const char *s3_crc_name(enum s3_crc kind)
{
    return kinds[kind].name;
}

void s3_crc_write(enum s3_crc kind, uint64_t crc, char out[S3_CRC_TEXT_MAX])
{
    unsigned char bytes[8];
    unsigned n = kinds[kind].bytes;

    for (unsigned i = 0; i < n; i++)
        bytes[i] = (unsigned char)(crc >> (8 * (n - 1 - i)));
    sodium_bin2base64(out, S3_CRC_TEXT_MAX, bytes, n, sodium_base64_VARIANT_ORIGINAL);
}

bool s3_crc_read(enum s3_crc kind, const char *text, uint64_t *ret_crc)
{
    unsigned char bytes[8];
    uint64_t crc = 0;
    size_t n = 0;

    if (kind == S3_CRC_NONE ||
        sodium_base642bin(bytes, sizeof(bytes), text, strlen(text), NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) < 0 ||
        n != kinds[kind].bytes)
        return false;
    for (unsigned i = 0; i < n; i++)
        crc = crc << 8 | bytes[i];
    *ret_crc = crc;
    return true;
}
