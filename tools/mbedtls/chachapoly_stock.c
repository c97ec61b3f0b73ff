/* mbedTLS's own source of ChaCha20-Poly1305 once more, with its functions and its context
 * renamed. */
#include "mbedtls/build_info.h"

#undef MBEDTLS_CHACHAPOLY_ALT
#undef MBEDTLS_SELF_TEST

#define mbedtls_chachapoly_context mbedtls_chachapoly_stock
#define mbedtls_chachapoly_init mbedtls_chachapoly_stock_init
#define mbedtls_chachapoly_free mbedtls_chachapoly_stock_free
#define mbedtls_chachapoly_setkey mbedtls_chachapoly_stock_setkey
#define mbedtls_chachapoly_starts mbedtls_chachapoly_stock_starts
#define mbedtls_chachapoly_update_aad mbedtls_chachapoly_stock_update_aad
#define mbedtls_chachapoly_update mbedtls_chachapoly_stock_update
#define mbedtls_chachapoly_finish mbedtls_chachapoly_stock_finish
#define mbedtls_chachapoly_encrypt_and_tag mbedtls_chachapoly_stock_encrypt_and_tag
#define mbedtls_chachapoly_auth_decrypt mbedtls_chachapoly_stock_auth_decrypt

#include "chachapoly.c"

#include "chachapoly_stock.h"

struct mbedtls_chachapoly_stock *chachapoly_stock_new(void)
{
    struct mbedtls_chachapoly_stock *ctx = mbedtls_calloc(1, sizeof(*ctx));

    if (ctx)
        mbedtls_chachapoly_stock_init(ctx);
    return ctx;
}

void chachapoly_stock_delete(struct mbedtls_chachapoly_stock *ctx)
{
    mbedtls_chachapoly_stock_free(ctx);
    mbedtls_free(ctx);
}

int chachapoly_stock_begin(struct mbedtls_chachapoly_stock *ctx, const unsigned char nonce[12],
                           int mode)
{
    return mbedtls_chachapoly_stock_starts(
        ctx, nonce, mode ? MBEDTLS_CHACHAPOLY_DECRYPT : MBEDTLS_CHACHAPOLY_ENCRYPT);
}
