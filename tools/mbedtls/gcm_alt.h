/* What mbedtls/gcm.h includes in the place of its own context (MBEDTLS_GCM_ALT). */
#ifndef GCM_ALT_H
#define GCM_ALT_H

/* A key: in libgcrypt where the machine has fast code for it, and in mbedTLS's own code for all
 * that libgcrypt is not asked for. Both NULL: no key yet. */
typedef struct mbedtls_gcm_context {
    struct fast_aead *fast;
    struct mbedtls_gcm_stock *stock;
} mbedtls_gcm_context;

#endif
