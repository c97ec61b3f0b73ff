/* libgcrypt behind mbedTLS: what gcm_alt.c and chachapoly_alt.c share. libgcrypt's random
 * generator and its secure memory are not used. One thread at a time, as in mbedTLS without its
 * threading layer. */
#include "fast_aead.h"

#include <gcrypt.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static bool switched_off;

/* Without these libgcrypt has tables for AES, which tell the key by their timing. */
static bool cpu_has_aes(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
    unsigned long has = getauxval(AT_HWCAP);

    return (has & HWCAP_AES) && (has & HWCAP_PMULL);
#else
    return false;
#endif
}

/* Once in a process; never in one that only forks others. */
static bool library_is_ready(void)
{
    if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
        return true;
    if (!gcry_check_version(GCRYPT_VERSION))
        return false;
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    return true;
}

static int algorithm(enum fast_aead_kind kind, size_t key_len)
{
    if (kind == FAST_CHACHA20_POLY1305)
        return key_len == 32 ? GCRY_CIPHER_CHACHA20 : GCRY_CIPHER_NONE;
    switch (key_len) {
    case 16:
        return GCRY_CIPHER_AES128;
    case 24:
        return GCRY_CIPHER_AES192;
    case 32:
        return GCRY_CIPHER_AES256;
    default:
        return GCRY_CIPHER_NONE;
    }
}

/* In FIPS mode libgcrypt takes the key and then refuses to encrypt with a nonce of ours. */
static bool works(struct fast_aead *aead)
{
    static const unsigned char nonce[FAST_AEAD_NONCE];
    unsigned char byte = 0, tag[FAST_AEAD_TAG];
    struct fast_aead_message m = {.nonce = nonce, .in = &byte, .out = &byte, .len = 1};

    return fast_aead_crypt(aead, &m, tag) == 0;
}

struct fast_aead *fast_aead_new(enum fast_aead_kind kind, const unsigned char *key, size_t key_len)
{
    bool gcm = kind == FAST_AES_GCM;
    int algo = algorithm(kind, key_len);
    gcry_cipher_hd_t h = NULL;
    struct fast_aead *aead;

    if (switched_off || algo == GCRY_CIPHER_NONE || (gcm && !cpu_has_aes()) || !library_is_ready())
        return NULL;
    if (gcry_cipher_open(&h, algo, gcm ? GCRY_CIPHER_MODE_GCM : GCRY_CIPHER_MODE_POLY1305, 0))
        return NULL;
    aead = (struct fast_aead *)h;
    if (gcry_cipher_setkey(h, key, key_len) || !works(aead)) {
        gcry_cipher_close(h);
        return NULL;
    }
    return aead;
}

void fast_aead_free(struct fast_aead *aead)
{
    gcry_cipher_close((gcry_cipher_hd_t)aead);
}

int fast_aead_crypt(struct fast_aead *aead, const struct fast_aead_message *m,
                    unsigned char tag[FAST_AEAD_TAG])
{
    gcry_cipher_hd_t h = (gcry_cipher_hd_t)aead;

    if (gcry_cipher_reset(h) || gcry_cipher_setiv(h, m->nonce, FAST_AEAD_NONCE))
        return -1;
    if (m->aad_len && gcry_cipher_authenticate(h, m->aad, m->aad_len))
        return -1;
    if (m->len && (m->decrypt ? gcry_cipher_decrypt(h, m->out, m->len, m->in, m->len)
                              : gcry_cipher_encrypt(h, m->out, m->len, m->in, m->len)))
        return -1;
    return gcry_cipher_gettag(h, tag, FAST_AEAD_TAG) ? -1 : 0;
}

void fast_aead_disable(bool disabled)
{
    switched_off = disabled;
}
