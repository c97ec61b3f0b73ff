/* ChaCha20-Poly1305 for mbedTLS (MBEDTLS_CHACHAPOLY_ALT): whole messages go to libgcrypt, those in
 * pieces to mbedTLS's own code. */
#include "mbedtls/chachapoly.h"

#include <string.h>

#include "mbedtls/constant_time.h"
#include "mbedtls/error.h"
#include "mbedtls/platform.h"
#include "mbedtls/platform_util.h"

#include "chachapoly_stock.h"
#include "fast_aead.h"

#define KEY_BYTES 32

void mbedtls_chachapoly_init(mbedtls_chachapoly_context *ctx)
{
    memset(ctx, 0, sizeof(*ctx));
}

void mbedtls_chachapoly_free(mbedtls_chachapoly_context *ctx)
{
    if (!ctx)
        return;
    fast_aead_free(ctx->fast);
    chachapoly_stock_delete(ctx->stock);
    mbedtls_chachapoly_init(ctx);
}

int mbedtls_chachapoly_setkey(mbedtls_chachapoly_context *ctx, const unsigned char key[KEY_BYTES])
{
    int r;

    mbedtls_chachapoly_free(ctx);
    ctx->stock = chachapoly_stock_new();
    if (!ctx->stock)
        return MBEDTLS_ERR_CHACHAPOLY_BAD_STATE;
    r = mbedtls_chachapoly_stock_setkey(ctx->stock, key);
    if (r == 0)
        ctx->fast = fast_aead_new(FAST_CHACHA20_POLY1305, key, KEY_BYTES);
    return r;
}

int mbedtls_chachapoly_encrypt_and_tag(mbedtls_chachapoly_context *ctx, size_t length,
                                       const unsigned char nonce[12], const unsigned char *aad,
                                       size_t aad_len, const unsigned char *input,
                                       unsigned char *output, unsigned char tag[16])
{
    const struct fast_aead_message m = {
        .nonce = nonce, .aad = aad, .aad_len = aad_len, .in = input, .out = output, .len = length};

    if (!ctx->fast || length > FAST_AEAD_MAX)
        return mbedtls_chachapoly_stock_encrypt_and_tag(ctx->stock, length, nonce, aad, aad_len,
                                                        input, output, tag);
    return fast_aead_crypt(ctx->fast, &m, tag) < 0 ? MBEDTLS_ERR_PLATFORM_HW_ACCEL_FAILED : 0;
}

int mbedtls_chachapoly_auth_decrypt(mbedtls_chachapoly_context *ctx, size_t length,
                                    const unsigned char nonce[12], const unsigned char *aad,
                                    size_t aad_len, const unsigned char tag[16],
                                    const unsigned char *input, unsigned char *output)
{
    const struct fast_aead_message m = {.decrypt = true,
                                        .nonce = nonce,
                                        .aad = aad,
                                        .aad_len = aad_len,
                                        .in = input,
                                        .out = output,
                                        .len = length};
    unsigned char computed[FAST_AEAD_TAG];
    int r = 0;

    if (!ctx->fast || length > FAST_AEAD_MAX)
        return mbedtls_chachapoly_stock_auth_decrypt(ctx->stock, length, nonce, aad, aad_len, tag,
                                                     input, output);
    if (fast_aead_crypt(ctx->fast, &m, computed) < 0)
        r = MBEDTLS_ERR_PLATFORM_HW_ACCEL_FAILED;
    else if (mbedtls_ct_memcmp(tag, computed, sizeof(computed)) != 0)
        r = MBEDTLS_ERR_CHACHAPOLY_AUTH_FAILED;
    if (r != 0)
        mbedtls_platform_zeroize(output, length); /* nobody reads what is not authentic */
    return r;
}

/* ---- in pieces ---- */

int mbedtls_chachapoly_starts(mbedtls_chachapoly_context *ctx, const unsigned char nonce[12],
                              mbedtls_chachapoly_mode_t mode)
{
    return chachapoly_stock_begin(ctx->stock, nonce, mode == MBEDTLS_CHACHAPOLY_DECRYPT);
}

int mbedtls_chachapoly_update_aad(mbedtls_chachapoly_context *ctx, const unsigned char *aad,
                                  size_t aad_len)
{
    return mbedtls_chachapoly_stock_update_aad(ctx->stock, aad, aad_len);
}

int mbedtls_chachapoly_update(mbedtls_chachapoly_context *ctx, size_t len,
                              const unsigned char *input, unsigned char *output)
{
    return mbedtls_chachapoly_stock_update(ctx->stock, len, input, output);
}

int mbedtls_chachapoly_finish(mbedtls_chachapoly_context *ctx, unsigned char mac[16])
{
    return mbedtls_chachapoly_stock_finish(ctx->stock, mac);
}
