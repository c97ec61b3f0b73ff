/* mbedTLS's own ChaCha20-Poly1305 under names of its own, beside chachapoly_alt.c. */
#ifndef CHACHAPOLY_STOCK_H
#define CHACHAPOLY_STOCK_H

#include <stddef.h>

/* What mbedtls_chachapoly_context is without MBEDTLS_CHACHAPOLY_ALT. */
struct mbedtls_chachapoly_stock;

/* Initialised, without a key; NULL without memory. */
struct mbedtls_chachapoly_stock *chachapoly_stock_new(void);
void chachapoly_stock_delete(struct mbedtls_chachapoly_stock *ctx); /* wipes; NULL is no error */

/* As the functions of mbedtls/chachapoly.h without "_stock"; mode 0 encrypts, 1 decrypts. */
int mbedtls_chachapoly_stock_setkey(struct mbedtls_chachapoly_stock *ctx,
                                    const unsigned char key[32]);
int chachapoly_stock_begin(struct mbedtls_chachapoly_stock *ctx, const unsigned char nonce[12],
                           int mode);
int mbedtls_chachapoly_stock_update_aad(struct mbedtls_chachapoly_stock *ctx,
                                        const unsigned char *aad, size_t aad_len);
int mbedtls_chachapoly_stock_update(struct mbedtls_chachapoly_stock *ctx, size_t len,
                                    const unsigned char *input, unsigned char *output);
int mbedtls_chachapoly_stock_finish(struct mbedtls_chachapoly_stock *ctx, unsigned char mac[16]);
int mbedtls_chachapoly_stock_encrypt_and_tag(struct mbedtls_chachapoly_stock *ctx, size_t length,
                                             const unsigned char nonce[12],
                                             const unsigned char *aad, size_t aad_len,
                                             const unsigned char *input, unsigned char *output,
                                             unsigned char tag[16]);
int mbedtls_chachapoly_stock_auth_decrypt(struct mbedtls_chachapoly_stock *ctx, size_t length,
                                          const unsigned char nonce[12], const unsigned char *aad,
                                          size_t aad_len, const unsigned char tag[16],
                                          const unsigned char *input, unsigned char *output);

#endif
