/* The AES-GCM and ChaCha20-Poly1305 that mbedTLS was built with (tools/mbedtls/) against mbedTLS's
 * own: the same bytes, the same tags, the same refusals. The self tests alone do not find what
 * goes wrong at odd lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <mbedtls/chachapoly.h>
#include <mbedtls/gcm.h>
#include <sodium.h>

#if defined(MBEDTLS_GCM_ALT) && defined(MBEDTLS_CHACHAPOLY_ALT)

#include <chachapoly_stock.h>
#include <fast_aead.h>
#include <gcm_stock.h>

#define TEXT_MAX 17000
#define AAD_MAX 64
#define IV_MAX 40
#define SHORT_LENGTHS 1500
#define RANDOM_CASES 600
#define PIECES_MAX 400

/* One message of a case, and room for what comes out of it. */
struct message {
    unsigned char key[32], iv[IV_MAX], aad[AAD_MAX];
    unsigned key_bits;
    size_t iv_len, aad_len, len, tag_len;
    unsigned char *text;     /* len bytes */
    unsigned char *expected; /* mbedTLS's own ciphertext */
    unsigned char expected_tag[16];
    unsigned char *out; /* one byte more than len, which nobody may touch */
};

static unsigned char seed[randombytes_SEEDBYTES];

/* The same in each run: each case has a seed of its own. */
static void fill_random(void *to, size_t len)
{
    randombytes_buf_deterministic(to, len, seed);
    sodium_increment(seed, sizeof(seed));
}

static size_t random_below(size_t limit)
{
    uint32_t x;

    fill_random(&x, sizeof(x));
    return x % limit;
}

static void new_message(struct message *m, size_t len)
{
    static const unsigned bits[] = {128, 192, 256};

    fill_random(m->key, sizeof(m->key));
    fill_random(m->iv, sizeof(m->iv));
    fill_random(m->aad, sizeof(m->aad));
    m->key_bits = bits[random_below(3)];
    m->iv_len = random_below(4) ? 12 : 1 + random_below(IV_MAX);
    m->tag_len = random_below(4) ? 16 : 4 + random_below(13);
    m->aad_len = random_below(AAD_MAX + 1);
    m->len = len;
    m->text = malloc(len + 1);
    m->expected = malloc(len + 1);
    m->out = malloc(len + 1);
    assert_true(m->text && m->expected && m->out);
    fill_random(m->text, len + 1);
    m->out[len] = 0xa5;
}

static void drop_message(struct message *m)
{
    assert_int_equal(m->out[m->len], 0xa5);
    free(m->text);
    free(m->expected);
    free(m->out);
}

static bool all_zero(const unsigned char *p, size_t len)
{
    return len == 0 || sodium_is_zero(p, len);
}

/* ---- AES-GCM ---- */

static void ask_gcm_stock(struct message *m)
{
    struct mbedtls_gcm_stock *stock = gcm_stock_new();

    assert_non_null(stock);
    assert_int_equal(mbedtls_gcm_stock_setkey(stock, MBEDTLS_CIPHER_ID_AES, m->key, m->key_bits),
                     0);
    assert_int_equal(mbedtls_gcm_stock_crypt_and_tag(stock, MBEDTLS_GCM_ENCRYPT, m->len, m->iv,
                                                     m->iv_len, m->aad, m->aad_len, m->text,
                                                     m->expected, m->tag_len, m->expected_tag),
                     0);
    gcm_stock_delete(stock);
}

static int gcm_crypt(mbedtls_gcm_context *ctx, int mode, struct message *m,
                     const unsigned char *from, unsigned char *tag)
{
    return mbedtls_gcm_crypt_and_tag(ctx, mode, m->len, m->iv, m->iv_len, m->aad, m->aad_len, from,
                                     m->out, m->tag_len, tag);
}

static int gcm_open(mbedtls_gcm_context *ctx, struct message *m, const unsigned char *tag,
                    const unsigned char *from)
{
    return mbedtls_gcm_auth_decrypt(ctx, m->len, m->iv, m->iv_len, m->aad, m->aad_len, tag,
                                    m->tag_len, from, m->out);
}

static void gcm_encrypts(mbedtls_gcm_context *ctx, struct message *m)
{
    unsigned char tag[16];

    assert_int_equal(gcm_crypt(ctx, MBEDTLS_GCM_ENCRYPT, m, m->text, tag), 0);
    assert_memory_equal(m->out, m->expected, m->len);
    assert_memory_equal(tag, m->expected_tag, m->tag_len);
    memcpy(m->out, m->text, m->len); /* in place */
    assert_int_equal(gcm_crypt(ctx, MBEDTLS_GCM_ENCRYPT, m, m->out, tag), 0);
    assert_memory_equal(m->out, m->expected, m->len);
    assert_memory_equal(tag, m->expected_tag, m->tag_len);
}

static void gcm_decrypts(mbedtls_gcm_context *ctx, struct message *m)
{
    unsigned char tag[16];

    assert_int_equal(gcm_open(ctx, m, m->expected_tag, m->expected), 0);
    assert_memory_equal(m->out, m->text, m->len);
    memcpy(m->out, m->expected, m->len);
    assert_int_equal(gcm_open(ctx, m, m->expected_tag, m->out), 0);
    assert_memory_equal(m->out, m->text, m->len);
    assert_int_equal(gcm_crypt(ctx, MBEDTLS_GCM_DECRYPT, m, m->expected, tag), 0);
    assert_memory_equal(m->out, m->text, m->len);
    assert_memory_equal(tag, m->expected_tag, m->tag_len);
}

/* Any bit of tag, text or AAD that is not as it was: refused, and nothing is told. */
static void gcm_refuses(mbedtls_gcm_context *ctx, struct message *m)
{
    unsigned char tag[16], bit = (unsigned char)(1u << random_below(8));
    size_t at;

    memcpy(tag, m->expected_tag, sizeof(tag));
    tag[random_below(m->tag_len)] ^= bit;
    assert_int_equal(gcm_open(ctx, m, tag, m->expected), MBEDTLS_ERR_GCM_AUTH_FAILED);
    assert_true(all_zero(m->out, m->len));
    if (m->len > 0) {
        at = random_below(m->len);
        m->expected[at] ^= bit;
        memcpy(m->out, m->expected, m->len);
        assert_int_equal(gcm_open(ctx, m, m->expected_tag, m->out), MBEDTLS_ERR_GCM_AUTH_FAILED);
        assert_true(all_zero(m->out, m->len));
        m->expected[at] ^= bit;
    }
    if (m->aad_len > 0) {
        at = random_below(m->aad_len);
        m->aad[at] ^= bit;
        assert_int_equal(gcm_open(ctx, m, m->expected_tag, m->expected),
                         MBEDTLS_ERR_GCM_AUTH_FAILED);
        m->aad[at] ^= bit;
    }
}

static void gcm_in_pieces(mbedtls_gcm_context *ctx, struct message *m)
{
    unsigned char tag[16];
    size_t at = 0, n, out, half = random_below(m->aad_len + 1);

    assert_int_equal(mbedtls_gcm_starts(ctx, MBEDTLS_GCM_ENCRYPT, m->iv, m->iv_len), 0);
    assert_int_equal(mbedtls_gcm_update_ad(ctx, m->aad, half), 0);
    assert_int_equal(mbedtls_gcm_update_ad(ctx, m->aad + half, m->aad_len - half), 0);
    while (at < m->len) {
        n = 1 + random_below(PIECES_MAX);
        n = n < m->len - at ? n : m->len - at;
        assert_int_equal(mbedtls_gcm_update(ctx, m->text + at, n, m->out + at, n, &out), 0);
        assert_int_equal(out, n);
        at += n;
    }
    assert_int_equal(mbedtls_gcm_finish(ctx, NULL, 0, &out, tag, m->tag_len), 0);
    assert_memory_equal(m->out, m->expected, m->len);
    assert_memory_equal(tag, m->expected_tag, m->tag_len);
}

static void gcm_agrees(size_t len)
{
    mbedtls_gcm_context ctx;
    struct message m;

    new_message(&m, len);
    ask_gcm_stock(&m);
    mbedtls_gcm_init(&ctx);
    assert_int_equal(mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, m.key, m.key_bits), 0);
    gcm_encrypts(&ctx, &m);
    gcm_decrypts(&ctx, &m);
    gcm_refuses(&ctx, &m);
    gcm_in_pieces(&ctx, &m);
    gcm_decrypts(&ctx, &m); /* a context forgets the message before */
    mbedtls_gcm_free(&ctx);
    drop_message(&m);
}

static void gcm_of_every_length(void **state)
{
    (void)state;
    for (size_t len = 0; len <= SHORT_LENGTHS; len++)
        gcm_agrees(len);
    for (int i = 0; i < RANDOM_CASES; i++)
        gcm_agrees(random_below(TEXT_MAX + 1));
}

/* The machine of the tests has AES in its CPU, or the figures of the benches mean nothing; but not
 * every machine has. */
static void gcm_without_fast_code(void **state)
{
    mbedtls_gcm_context ctx;

    (void)state;
    fast_aead_disable(true);
    mbedtls_gcm_init(&ctx);
    assert_int_equal(mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, seed, 128), 0);
    assert_null(ctx.fast);
    mbedtls_gcm_free(&ctx);
    for (int i = 0; i < 50; i++)
        gcm_agrees(random_below(TEXT_MAX + 1));
    fast_aead_disable(false);
}

/* What a caller may do wrong ends as it does with mbedTLS's own code. */
static void gcm_arguments(void **state)
{
    static const size_t bad_tag_len[] = {0, 3, 17};
    unsigned char key[32] = {0}, buf[64] = {0}, tag[20];
    mbedtls_gcm_context ctx;

    (void)state;
    mbedtls_gcm_init(&ctx);
    mbedtls_gcm_free(&ctx);
    mbedtls_gcm_free(NULL);
    assert_int_not_equal(mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, key, 100), 0);
    assert_int_equal(mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, key, 256), 0);
    assert_int_equal(mbedtls_gcm_setkey(&ctx, MBEDTLS_CIPHER_ID_AES, key, 128), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(mbedtls_gcm_crypt_and_tag(&ctx, MBEDTLS_GCM_ENCRYPT, 16, key, 12, NULL, 0,
                                                   buf, buf, bad_tag_len[i], tag),
                         MBEDTLS_ERR_GCM_BAD_INPUT);
    assert_int_equal(mbedtls_gcm_crypt_and_tag(&ctx, MBEDTLS_GCM_ENCRYPT, 16, key, 0, NULL, 0, buf,
                                               buf, 16, tag),
                     MBEDTLS_ERR_GCM_BAD_INPUT);
    assert_int_equal(mbedtls_gcm_crypt_and_tag(&ctx, MBEDTLS_GCM_ENCRYPT, 32, key, 12, NULL, 0, buf,
                                               buf + 8, 16, tag),
                     MBEDTLS_ERR_GCM_BAD_INPUT); /* output over the input to come */
    mbedtls_gcm_free(&ctx);
}

/* ---- ChaCha20-Poly1305 ---- */

static void ask_chacha_stock(struct message *m)
{
    struct mbedtls_chachapoly_stock *stock = chachapoly_stock_new();

    assert_non_null(stock);
    assert_int_equal(mbedtls_chachapoly_stock_setkey(stock, m->key), 0);
    assert_int_equal(mbedtls_chachapoly_stock_encrypt_and_tag(stock, m->len, m->iv, m->aad,
                                                              m->aad_len, m->text, m->expected,
                                                              m->expected_tag),
                     0);
    chachapoly_stock_delete(stock);
}

static int chacha_open(mbedtls_chachapoly_context *ctx, struct message *m, const unsigned char *tag,
                       const unsigned char *from)
{
    return mbedtls_chachapoly_auth_decrypt(ctx, m->len, m->iv, m->aad, m->aad_len, tag, from,
                                           m->out);
}

static void chacha_both_ways(mbedtls_chachapoly_context *ctx, struct message *m)
{
    unsigned char tag[16];

    assert_int_equal(mbedtls_chachapoly_encrypt_and_tag(ctx, m->len, m->iv, m->aad, m->aad_len,
                                                        m->text, m->out, tag),
                     0);
    assert_memory_equal(m->out, m->expected, m->len);
    assert_memory_equal(tag, m->expected_tag, 16);
    assert_int_equal(chacha_open(ctx, m, tag, m->out), 0); /* in place */
    assert_memory_equal(m->out, m->text, m->len);
    assert_int_equal(mbedtls_chachapoly_encrypt_and_tag(ctx, m->len, m->iv, m->aad, m->aad_len,
                                                        m->out, m->out, tag),
                     0);
    assert_memory_equal(m->out, m->expected, m->len);
    assert_int_equal(chacha_open(ctx, m, tag, m->expected), 0);
    assert_memory_equal(m->out, m->text, m->len);
}

static void chacha_refuses(mbedtls_chachapoly_context *ctx, struct message *m)
{
    unsigned char tag[16];

    memcpy(tag, m->expected_tag, sizeof(tag));
    tag[random_below(16)] ^= (unsigned char)(1u << random_below(8));
    assert_int_equal(chacha_open(ctx, m, tag, m->expected), MBEDTLS_ERR_CHACHAPOLY_AUTH_FAILED);
    assert_true(all_zero(m->out, m->len));
    if (m->aad_len > 0) {
        m->aad[0] ^= 1;
        assert_int_equal(chacha_open(ctx, m, m->expected_tag, m->expected),
                         MBEDTLS_ERR_CHACHAPOLY_AUTH_FAILED);
        m->aad[0] ^= 1;
    }
}

static void chacha_in_pieces(mbedtls_chachapoly_context *ctx, struct message *m)
{
    unsigned char tag[16];
    size_t at = 0, n;

    assert_int_equal(mbedtls_chachapoly_starts(ctx, m->iv, MBEDTLS_CHACHAPOLY_DECRYPT), 0);
    assert_int_equal(mbedtls_chachapoly_update_aad(ctx, m->aad, m->aad_len), 0);
    while (at < m->len) {
        n = 1 + random_below(PIECES_MAX);
        n = n < m->len - at ? n : m->len - at;
        assert_int_equal(mbedtls_chachapoly_update(ctx, n, m->expected + at, m->out + at), 0);
        at += n;
    }
    assert_int_equal(mbedtls_chachapoly_finish(ctx, tag), 0);
    assert_memory_equal(m->out, m->text, m->len);
    assert_memory_equal(tag, m->expected_tag, 16);
}

static void chacha_agrees(size_t len)
{
    mbedtls_chachapoly_context ctx;
    struct message m;

    new_message(&m, len);
    ask_chacha_stock(&m);
    mbedtls_chachapoly_init(&ctx);
    assert_int_equal(mbedtls_chachapoly_setkey(&ctx, m.key), 0);
    chacha_both_ways(&ctx, &m);
    chacha_refuses(&ctx, &m);
    chacha_in_pieces(&ctx, &m);
    assert_int_equal(chacha_open(&ctx, &m, m.expected_tag, m.expected), 0);
    mbedtls_chachapoly_free(&ctx);
    drop_message(&m);
}

static void chacha_of_every_length(void **state)
{
    (void)state;
    for (size_t len = 0; len <= SHORT_LENGTHS; len++)
        chacha_agrees(len);
    for (int i = 0; i < RANDOM_CASES; i++)
        chacha_agrees(random_below(TEXT_MAX + 1));
}

static void chacha_without_fast_code(void **state)
{
    (void)state;
    fast_aead_disable(true);
    for (int i = 0; i < 50; i++)
        chacha_agrees(random_below(TEXT_MAX + 1));
    fast_aead_disable(false);
}

/* ---- both ---- */

static void fast_where_the_cpu_can(void **state)
{
    unsigned char key[32] = {0};
    mbedtls_gcm_context gcm;
    mbedtls_chachapoly_context chacha;
    bool aes = true;

    (void)state;
#if defined(__x86_64__)
    aes = __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#endif
    mbedtls_gcm_init(&gcm);
    assert_int_equal(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 256), 0);
    assert_int_equal(gcm.fast != NULL, aes);
    mbedtls_gcm_free(&gcm);
    mbedtls_chachapoly_init(&chacha);
    assert_int_equal(mbedtls_chachapoly_setkey(&chacha, key), 0);
    assert_non_null(chacha.fast);
    mbedtls_chachapoly_free(&chacha);
}

static void self_tests(void **state)
{
    (void)state;
    assert_int_equal(mbedtls_gcm_self_test(0), 0);
    assert_int_equal(mbedtls_chachapoly_self_test(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_where_the_cpu_can),
        cmocka_unit_test(self_tests),
        cmocka_unit_test(gcm_of_every_length),
        cmocka_unit_test(gcm_without_fast_code),
        cmocka_unit_test(gcm_arguments),
        cmocka_unit_test(chacha_of_every_length),
        cmocka_unit_test(chacha_without_fast_code),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* The machine's mbedTLS (--with-system-curl) is as it is. */
int main(void)
{
    return 77;
}

#endif
