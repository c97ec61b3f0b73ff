/* Payload hashes. Callers hash big bodies in slices, so that the event loop keeps turning. */
#include "s3/s3_hash.h"

#include <errno.h>

#include <sodium.h>

#include "base/fd.h"
#include "s3/s3_crc.h"

#define HASH_CHUNK (64 << 10)

void s3_hash_init(struct s3_hash *h, bool sha, enum s3_crc kind)
{
    *h = (struct s3_hash){.sha = sha, .kind = kind};
    sha256_init(&h->ctx);
}

static void hash_bytes(struct s3_hash *h, const void *data, size_t len)
{
    if (h->sha)
        sha256_update(&h->ctx, len, data);
    h->crc = s3_crc_add(h->kind, h->crc, data, len);
}

static int hash_fd(struct s3_hash *h, int fd, uint64_t off, uint64_t len)
{
    char chunk[HASH_CHUNK];

    while (len > 0) {
        size_t want = len < sizeof(chunk) ? (size_t)len : sizeof(chunk);
        ssize_t n = fd_pread_full(fd, chunk, want, (off_t)off);

        if (n < 0)
            return (int)n;
        if ((size_t)n < want)
            return -EIO; /* the file was truncated by somebody */
        hash_bytes(h, chunk, want);
        off += want;
        len -= want;
    }
    return 0;
}

int s3_hash_body(struct s3_hash *h, const struct s3_body *body, uint64_t off, uint64_t len)
{
    if (!body->mem)
        return len ? hash_fd(h, body->fd, body->off + off, len) : 0;
    hash_bytes(h, (const char *)body->mem + body->off + off, (size_t)len);
    return 0;
}

void s3_hash_hex(struct s3_hash *h, char *hex)
{
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_digest(&h->ctx, sizeof(digest), digest);
    sodium_bin2hex(hex, S3_HASH_HEX_MAX, digest, sizeof(digest));
}
