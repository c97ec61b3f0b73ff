/* mbedTLS's own AES-GCM under names of its own, beside gcm_alt.c that stands in its place. */
#ifndef GCM_STOCK_H
#define GCM_STOCK_H

#include <stddef.h>

#include "mbedtls/cipher.h"

/* What mbedtls_gcm_context is without MBEDTLS_GCM_ALT. */
struct mbedtls_gcm_stock;

/* Initialised, without a key; NULL without memory. */
struct mbedtls_gcm_stock *gcm_stock_new(void);
void gcm_stock_delete(struct mbedtls_gcm_stock *ctx); /* wipes; NULL is no error */

/* As the functions of mbedtls/gcm.h without "_stock". */
int mbedtls_gcm_stock_setkey(struct mbedtls_gcm_stock *ctx, mbedtls_cipher_id_t cipher,
                             const unsigned char *key, unsigned int keybits);
int mbedtls_gcm_stock_crypt_and_tag(struct mbedtls_gcm_stock *ctx, int mode, size_t length,
                                    const unsigned char *iv, size_t iv_len,
                                    const unsigned char *add, size_t add_len,
                                    const unsigned char *input, unsigned char *output,
                                    size_t tag_len, unsigned char *tag);
int mbedtls_gcm_stock_auth_decrypt(struct mbedtls_gcm_stock *ctx, size_t length,
                                   const unsigned char *iv, size_t iv_len, const unsigned char *add,
                                   size_t add_len, const unsigned char *tag, size_t tag_len,
                                   const unsigned char *input, unsigned char *output);
int mbedtls_gcm_stock_starts(struct mbedtls_gcm_stock *ctx, int mode, const unsigned char *iv,
                             size_t iv_len);
int mbedtls_gcm_stock_update_ad(struct mbedtls_gcm_stock *ctx, const unsigned char *add,
                                size_t add_len);
int mbedtls_gcm_stock_update(struct mbedtls_gcm_stock *ctx, const unsigned char *input,
                             size_t input_length, unsigned char *output, size_t output_size,
                             size_t *output_length);
int mbedtls_gcm_stock_finish(struct mbedtls_gcm_stock *ctx, unsigned char *output,
                             size_t output_size, size_t *output_length, unsigned char *tag,
                             size_t tag_len);

#endif
