/* What is summed up of a body before it is sent, in one pass: SHA-256 for the signature, by nettle,
 * which uses the CPU's SHA instructions where available (mbedTLS as Debian builds it takes five
 * times as long; hashes for signatures are computed by mbedTLS, s3_sigv4.c), and the checksum that
 * S3 keeps with the object (s3_crc.h). */
#ifndef S3_S3_HASH_H
#define S3_S3_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nettle/sha2.h>

#include "s3/s3.h"

#define S3_HASH_HEX_MAX 65
#define S3_HASH_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct s3_hash {
    bool sha; /* SHA-256 is wanted */
    struct sha256_ctx ctx;
    enum s3_crc kind; /* NONE: no checksum */
    uint64_t crc;
};

void s3_hash_init(struct s3_hash *h, bool sha, enum s3_crc kind);

/* Adds `len` bytes of `body` from offset `off` within it. 0, or -errno of pread(2); -EIO if the
 * file is shorter. */
must_use int s3_hash_body(struct s3_hash *h, const struct s3_body *body, uint64_t off,
                          uint64_t len);

/* Finishes SHA-256: writes 64 lower-case digits and NUL into S3_HASH_HEX_MAX bytes. */
void s3_hash_hex(struct s3_hash *h, char *hex);

#endif
