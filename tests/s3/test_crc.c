/* Checksums: known values, the fast way against the tables, and putting parts together. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "s3/s3_crc.h"

#define MANY 20000
#define NINE "123456789"

static const enum s3_crc both[] = {S3_CRC_64NVME, S3_CRC_32C};
static unsigned char bytes[MANY];
static uint32_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        bytes[i] = (unsigned char)draw(256);
    return 0;
}

/* The check values of the catalogues, and of RFC 3720. */
static void test_known(void **state)
{
    unsigned char zeros[32] = {0};

    (void)state;
    assert_true(s3_crc_add(S3_CRC_64NVME, 0, NINE, 9) == UINT64_C(0xae8b14860a799888));
    assert_true(s3_crc_add(S3_CRC_32C, 0, NINE, 9) == 0xe3069283);
    assert_true(s3_crc_add(S3_CRC_32C, 0, zeros, 32) == 0x8a9136aa);
    for (size_t i = 0; i < 2; i++)
        assert_true(s3_crc_add(both[i], 0, "", 0) == 0);
}

/* All short lengths, at all alignments; random long ones, in pieces. */
static void test_against_tables(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (size_t len = 0; len < 600; len++) {
            size_t off = len % 67;

            assert_true(s3_crc_add(both[k], len, bytes + off, len) ==
                        s3_crc_add_portable(both[k], len, bytes + off, len));
        }
        for (int round = 0; round < 300; round++) {
            size_t len = draw(MANY), cut = len ? draw((uint32_t)len) : 0;
            uint64_t crc = s3_crc_add(both[k], 0, bytes, cut);

            crc = s3_crc_add(both[k], crc, bytes + cut, len - cut);
            assert_true(crc == s3_crc_add_portable(both[k], 0, bytes, len));
        }
    }
}

static void test_combine(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (int round = 0; round < 300; round++) {
            size_t len = draw(MANY), cut = len ? draw((uint32_t)len) : 0;
            uint64_t a = s3_crc_add(both[k], 0, bytes, cut);
            uint64_t b = s3_crc_add(both[k], 0, bytes + cut, len - cut);

            assert_true(s3_crc_combine(both[k], a, b, len - cut) ==
                        s3_crc_add(both[k], 0, bytes, len));
        }
        assert_true(s3_crc_combine(both[k], 7, 0, 0) == 7);
        assert_true(s3_crc_combine(both[k], 0, 9, 1000) == 9);
    }
}

/* 5 GiB of zeros, from one block of them doubled: lengths beyond 32 bits. */
static void test_combine_long(void **state)
{
    unsigned char zeros[1024] = {0};

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        uint64_t block = s3_crc_add(both[k], 0, zeros, sizeof(zeros)), whole = 0, len = 0;
        uint64_t twice = block, size = sizeof(zeros);

        for (uint64_t left = UINT64_C(5) << 20; left > 0; left >>= 1) { /* blocks */
            if (left & 1) {
                whole = s3_crc_combine(both[k], whole, twice, size);
                len += size;
            }
            twice = s3_crc_combine(both[k], twice, twice, size);
            size *= 2;
        }
        assert_true(len == UINT64_C(5) << 30);
        /* once more, in another order */
        twice = block;
        for (size = sizeof(zeros); size < UINT64_C(1) << 30; size *= 2)
            twice = s3_crc_combine(both[k], twice, twice, size);
        block = twice;
        for (int i = 1; i < 5; i++)
            block = s3_crc_combine(both[k], block, twice, size);
        assert_true(block == whole);
    }
}

static void test_body(void **state)
{
    int fd = memfd_create("body", MFD_CLOEXEC);
    struct s3_body mem = {.mem = bytes, .off = 5}, file = {.fd = fd, .off = 5};
    uint64_t a = 0, b = 0;

    (void)state;
    assert_true(fd >= 0 && write(fd, bytes, MANY) == MANY);
    assert_int_equal(s3_crc_body(S3_CRC_64NVME, &a, &mem, 10, 15000), 0);
    assert_int_equal(s3_crc_body(S3_CRC_64NVME, &b, &file, 10, 15000), 0);
    assert_true(a == b && a == s3_crc_add(S3_CRC_64NVME, 0, bytes + 15, 15000));
    assert_int_equal(s3_crc_body(S3_CRC_64NVME, &b, &file, 10, MANY), -EIO);
    close(fd);
}

static void test_text(void **state)
{
    static const char *const bad[] = {"",         "rosUhgp5mIg", "rosUhgp5mIg=-5",
                                      "4waSgw==", "?",           "AAAAAAAAAAAA"};
    char text[S3_CRC_TEXT_MAX];
    uint64_t crc = 1;

    (void)state;
    s3_crc_write(S3_CRC_64NVME, UINT64_C(0xae8b14860a799888), text);
    assert_string_equal(text, "rosUhgp5mIg=");
    assert_true(s3_crc_read(S3_CRC_64NVME, text, &crc) && crc == UINT64_C(0xae8b14860a799888));
    s3_crc_write(S3_CRC_32C, 0xe3069283, text);
    assert_string_equal(text, "4waSgw==");
    assert_true(s3_crc_read(S3_CRC_32C, text, &crc) && crc == 0xe3069283);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(s3_crc_read(S3_CRC_64NVME, bad[i], &crc));
    assert_true(crc == 0xe3069283);
    assert_string_equal(s3_crc_name(S3_CRC_32C), "crc32c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),   cmocka_unit_test(test_against_tables),
        cmocka_unit_test(test_combine), cmocka_unit_test(test_combine_long),
        cmocka_unit_test(test_body),    cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
