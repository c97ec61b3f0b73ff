/* mbedTLS's own source of AES-GCM once more, with its functions and its context renamed. Compiled
 * under its own name, with MBEDTLS_GCM_ALT, it has only the self test in it. */
#include "mbedtls/build_info.h"

#undef MBEDTLS_GCM_ALT
#undef MBEDTLS_SELF_TEST

#define mbedtls_gcm_context mbedtls_gcm_stock
#define mbedtls_gcm_init mbedtls_gcm_stock_init
#define mbedtls_gcm_setkey mbedtls_gcm_stock_setkey
#define mbedtls_gcm_crypt_and_tag mbedtls_gcm_stock_crypt_and_tag
#define mbedtls_gcm_auth_decrypt mbedtls_gcm_stock_auth_decrypt
#define mbedtls_gcm_starts mbedtls_gcm_stock_starts
#define mbedtls_gcm_update_ad mbedtls_gcm_stock_update_ad
#define mbedtls_gcm_update mbedtls_gcm_stock_update
#define mbedtls_gcm_finish mbedtls_gcm_stock_finish
#define mbedtls_gcm_free mbedtls_gcm_stock_free

#include "gcm.c"

#include "gcm_stock.h"

struct mbedtls_gcm_stock *gcm_stock_new(void)
{
    struct mbedtls_gcm_stock *ctx = mbedtls_calloc(1, sizeof(*ctx));

    if (ctx)
        mbedtls_gcm_stock_init(ctx);
    return ctx;
}

void gcm_stock_delete(struct mbedtls_gcm_stock *ctx)
{
    mbedtls_gcm_stock_free(ctx);
    mbedtls_free(ctx);
}
