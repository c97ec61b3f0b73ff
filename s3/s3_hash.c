/* Payload hashes. Callers hash big bodies in slices, so that the event loop keeps turning. */
#include "s3/s3_hash.h"

#include <errno.h>

#include <sodium.h>

#include "base/fd.h"

#define HASH_CHUNK (64 << 10)

void s3_hash_init(struct s3_hash *h)
{
    sha256_init(&h->ctx);
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
        sha256_update(&h->ctx, want, (const uint8_t *)chunk);
        off += want;
        len -= want;
    }
    return 0;
}

int s3_hash_body(struct s3_hash *h, const struct s3_body *body, uint64_t off, uint64_t len)
{
    if (!body->mem)
        return len ? hash_fd(h, body->fd, body->off + off, len) : 0;
    sha256_update(&h->ctx, (size_t)len, (const uint8_t *)body->mem + body->off + off);
    return 0;
}

void s3_hash_hex(struct s3_hash *h, char *hex)
{
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_digest(&h->ctx, sizeof(digest), digest);
    sodium_bin2hex(hex, S3_HASH_HEX_MAX, digest, sizeof(digest));
}
