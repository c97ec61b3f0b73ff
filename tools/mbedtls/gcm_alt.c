/* AES-GCM for mbedTLS (MBEDTLS_GCM_ALT). A whole message with a nonce of 12 bytes, which is what
 * TLS has, goes to libgcrypt; everything else goes to mbedTLS's own code: other ciphers and
 * nonces, messages in pieces, arguments that it refuses, a CPU without AES. */
#include "mbedtls/gcm.h"

#include <string.h>

#include "mbedtls/constant_time.h"
#include "mbedtls/error.h"
#include "mbedtls/platform_util.h"

#include "fast_aead.h"
#include "gcm_stock.h"

void mbedtls_gcm_init(mbedtls_gcm_context *ctx)
{
    memset(ctx, 0, sizeof(*ctx));
}

void mbedtls_gcm_free(mbedtls_gcm_context *ctx)
{
    if (!ctx)
        return;
    fast_aead_free(ctx->fast);
    gcm_stock_delete(ctx->stock);
    mbedtls_gcm_init(ctx);
}

int mbedtls_gcm_setkey(mbedtls_gcm_context *ctx, mbedtls_cipher_id_t cipher,
                       const unsigned char *key, unsigned int keybits)
{
    int r;

    mbedtls_gcm_free(ctx);
    ctx->stock = gcm_stock_new();
    if (!ctx->stock)
        return MBEDTLS_ERR_CIPHER_ALLOC_FAILED;
    r = mbedtls_gcm_stock_setkey(ctx->stock, cipher, key, keybits);
    if (r == 0 && cipher == MBEDTLS_CIPHER_ID_AES)
        ctx->fast = fast_aead_new(FAST_AES_GCM, key, keybits / 8);
    return r;
}

/* What libgcrypt does as mbedTLS does it. */
static bool is_plain(const mbedtls_gcm_context *ctx, size_t length, size_t iv_len, size_t tag_len,
                     const unsigned char *input, const unsigned char *output)
{
    return ctx->fast && length <= FAST_AEAD_MAX && iv_len == FAST_AEAD_NONCE && tag_len >= 4 &&
           tag_len <= FAST_AEAD_TAG && (output <= input || (size_t)(output - input) >= length);
}

int mbedtls_gcm_crypt_and_tag(mbedtls_gcm_context *ctx, int mode, size_t length,
                              const unsigned char *iv, size_t iv_len, const unsigned char *add,
                              size_t add_len, const unsigned char *input, unsigned char *output,
                              size_t tag_len, unsigned char *tag)
{
    const struct fast_aead_message m = {.decrypt = mode == MBEDTLS_GCM_DECRYPT,
                                        .nonce = iv,
                                        .aad = add,
                                        .aad_len = add_len,
                                        .in = input,
                                        .out = output,
                                        .len = length};
    unsigned char whole[FAST_AEAD_TAG];

    if (!is_plain(ctx, length, iv_len, tag_len, input, output))
        return mbedtls_gcm_stock_crypt_and_tag(ctx->stock, mode, length, iv, iv_len, add, add_len,
                                               input, output, tag_len, tag);
    if (fast_aead_crypt(ctx->fast, &m, whole) < 0)
        return MBEDTLS_ERR_PLATFORM_HW_ACCEL_FAILED;
    memcpy(tag, whole, tag_len);
    return 0;
}

int mbedtls_gcm_auth_decrypt(mbedtls_gcm_context *ctx, size_t length, const unsigned char *iv,
                             size_t iv_len, const unsigned char *add, size_t add_len,
                             const unsigned char *tag, size_t tag_len, const unsigned char *input,
                             unsigned char *output)
{
    unsigned char computed[FAST_AEAD_TAG];
    int r = mbedtls_gcm_crypt_and_tag(ctx, MBEDTLS_GCM_DECRYPT, length, iv, iv_len, add, add_len,
                                      input, output, tag_len, computed);

    if (r == 0 && mbedtls_ct_memcmp(tag, computed, tag_len) != 0)
        r = MBEDTLS_ERR_GCM_AUTH_FAILED;
    if (r == MBEDTLS_ERR_GCM_AUTH_FAILED || r == MBEDTLS_ERR_PLATFORM_HW_ACCEL_FAILED)
        mbedtls_platform_zeroize(output, length); /* nobody reads what is not authentic */
    return r;
}

/* ---- in pieces ---- */

int mbedtls_gcm_starts(mbedtls_gcm_context *ctx, int mode, const unsigned char *iv, size_t iv_len)
{
    return mbedtls_gcm_stock_starts(ctx->stock, mode, iv, iv_len);
}

int mbedtls_gcm_update_ad(mbedtls_gcm_context *ctx, const unsigned char *add, size_t add_len)
{
    return mbedtls_gcm_stock_update_ad(ctx->stock, add, add_len);
}

int mbedtls_gcm_update(mbedtls_gcm_context *ctx, const unsigned char *input, size_t input_length,
                       unsigned char *output, size_t output_size, size_t *output_length)
{
    return mbedtls_gcm_stock_update(ctx->stock, input, input_length, output, output_size,
                                    output_length);
}

int mbedtls_gcm_finish(mbedtls_gcm_context *ctx, unsigned char *output, size_t output_size,
                       size_t *output_length, unsigned char *tag, size_t tag_len)
{
    return mbedtls_gcm_stock_finish(ctx->stock, output, output_size, output_length, tag, tag_len);
}
