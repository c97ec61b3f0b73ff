/* AES-GCM and ChaCha20-Poly1305 of libgcrypt, whole messages at a time. */
#ifndef FAST_AEAD_H
#define FAST_AEAD_H

#include <stdbool.h>
#include <stddef.h>

#define FAST_AEAD_NONCE 12
#define FAST_AEAD_TAG 16
/* Longest message: far above a TLS record, far below every limit of the ciphers. */
#define FAST_AEAD_MAX ((size_t)1 << 30)

enum fast_aead_kind { FAST_AES_GCM, FAST_CHACHA20_POLY1305 };

/* One key; owns memory that fast_aead_free wipes. */
struct fast_aead;

/* NULL if this machine has no fast code for it (no AES and carry-less multiplication in the CPU,
 * libgcrypt in FIPS mode) or no memory: use the portable code then. key_len is in bytes: 16, 24
 * or 32 for AES, 32 for ChaCha20. */
struct fast_aead *fast_aead_new(enum fast_aead_kind kind, const unsigned char *key, size_t key_len);
void fast_aead_free(struct fast_aead *aead); /* NULL is no error */

/* One message, to be encrypted or decrypted; `out` may be `in`. Computes the tag, and compares
 * none. */
struct fast_aead_message {
    bool decrypt;
    const unsigned char *nonce; /* FAST_AEAD_NONCE bytes */
    const unsigned char *aad;
    size_t aad_len;
    const unsigned char *in;
    unsigned char *out;
    size_t len; /* at most FAST_AEAD_MAX */
};

/* 0, or -1 if libgcrypt fails (it has no reason to); `out` is undefined then. */
int fast_aead_crypt(struct fast_aead *aead, const struct fast_aead_message *m,
                    unsigned char tag[FAST_AEAD_TAG]);

/* For tests: keys that are set from now on take the portable code. */
void fast_aead_disable(bool disabled);

#endif
