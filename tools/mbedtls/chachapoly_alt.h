/* What mbedtls/chachapoly.h includes in the place of its own context (MBEDTLS_CHACHAPOLY_ALT). */
#ifndef CHACHAPOLY_ALT_H
#define CHACHAPOLY_ALT_H

/* A key: in libgcrypt for whole messages, and in mbedTLS's own code for messages in pieces. */
typedef struct mbedtls_chachapoly_context {
    struct fast_aead *fast;
    struct mbedtls_chachapoly_stock *stock;
} mbedtls_chachapoly_context;

#endif
