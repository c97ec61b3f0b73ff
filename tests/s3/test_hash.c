/* Payload hashes from memory and descriptors, whole and in slices. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "s3/s3_hash.h"

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void hash_is(const struct s3_body *body, uint64_t slice, const char *want)
{
    struct s3_hash h;
    char hex[S3_HASH_HEX_MAX];

    s3_hash_init(&h, true, S3_CRC_NONE);
    for (uint64_t at = 0; at < body->len; at += slice) {
        uint64_t n = body->len - at < slice ? body->len - at : slice;

        assert_int_equal(s3_hash_body(&h, body, at, n), 0);
    }
    s3_hash_hex(&h, hex);
    assert_string_equal(hex, want);
}

static void test_memory(void **state)
{
    struct s3_body body = {.mem = "abc", .fd = -1, .len = 3};

    (void)state;
    hash_is(&body, 3, ABC);
    hash_is(&body, 1, ABC);
    body = (struct s3_body){.mem = "xxabcx", .fd = -1, .off = 2, .len = 3};
    hash_is(&body, 2, ABC);
    body.len = 0;
    hash_is(&body, 1, S3_HASH_EMPTY);
}

static void test_descriptor(void **state)
{
    struct s3_body body = {.off = 1000, .len = 300000}, same;
    struct s3_hash h;
    char want[S3_HASH_HEX_MAX], *mem = malloc(301000);
    int fd = memfd_create("test", MFD_CLOEXEC);

    (void)state;
    assert_true(fd >= 0 && mem);
    for (size_t i = 0; i < 301000; i++)
        mem[i] = (char)(i * 31 >> 3);
    assert_int_equal(fd_pwrite_full(fd, mem, 301000, 0), 0);
    same = body;
    same.mem = mem;
    s3_hash_init(&h, true, S3_CRC_NONE);
    assert_int_equal(s3_hash_body(&h, &same, 0, same.len), 0);
    s3_hash_hex(&h, want);
    body.fd = fd;
    hash_is(&body, 300000, want);
    hash_is(&body, 65537, want);
    body.len++; /* one more than the file has */
    assert_int_equal(s3_hash_body(&h, &body, 0, body.len), -EIO);
    body.fd = -1;
    assert_int_equal(s3_hash_body(&h, &body, 0, body.len), -EBADF);
    assert_int_equal(s3_hash_body(&h, &body, 0, 0), 0);
    close(fd);
    free(mem);
}

/* Both in one pass, or one of them, in slices. */
static void test_with_checksum(void **state)
{
    static const char nine[] = "123456789";
    const struct s3_body body = {.mem = nine, .fd = -1, .len = 9};
    char hex[S3_HASH_HEX_MAX], alone[S3_HASH_HEX_MAX];
    struct s3_hash h;

    (void)state;
    s3_hash_init(&h, true, S3_CRC_NONE);
    assert_int_equal(s3_hash_body(&h, &body, 0, 9), 0);
    s3_hash_hex(&h, alone);
    for (int sha = 0; sha < 2; sha++) {
        s3_hash_init(&h, sha, S3_CRC_64NVME);
        assert_int_equal(s3_hash_body(&h, &body, 0, 4), 0);
        assert_int_equal(s3_hash_body(&h, &body, 4, 5), 0);
        assert_true(h.crc == UINT64_C(0xae8b14860a799888));
    }
    s3_hash_hex(&h, hex);
    assert_string_equal(hex, alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_with_checksum),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
