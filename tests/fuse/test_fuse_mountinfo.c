/* fuse_mountinfo: lines as kernels write them, escapes, lines that are cut, too long or broken. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/fuse_mountinfo.h"

static const char fuse_line[] =
    "90 25 0:45 / /mnt/a\\040b\\134c\\011d rw,nosuid,nodev,relatime shared:3 "
    "master:1 - fuse.stateproxy s3://bucket/a\\040b "
    "rw,user_id=1000,group_id=100,allow_other";

static void test_fuse_line(void **state)
{
    struct fuse_mountinfo m;

    (void)state;
    assert_int_equal(fuse_mountinfo_parse(fuse_line, &m), 0);
    assert_int_equal(m.mnt_id, 90);
    assert_int_equal(m.dev_major, 0);
    assert_int_equal(m.dev_minor, 45);
    assert_string_equal(m.path, "/mnt/a b\\c\td");
    assert_string_equal(m.type, "fuse.stateproxy");
    assert_string_equal(m.source, "s3://bucket/a b");
    assert_int_equal(m.user_id, 1000);
    assert_int_equal(m.group_id, 100);
}

static void test_other_lines(void **state)
{
    struct fuse_mountinfo m;

    (void)state;
    assert_int_equal(fuse_mountinfo_parse("1 0 8:1 / / rw - ext4 /dev/sda1 rw", &m), 0);
    assert_int_equal(m.mnt_id, 1);
    assert_int_equal(m.dev_major, 8);
    assert_string_equal(m.path, "/");
    assert_string_equal(m.type, "ext4");
    assert_string_equal(m.source, "/dev/sda1");
    assert_int_equal(m.user_id, 0);

    /* No optional fields, no source, a name that only looks like the option. */
    assert_int_equal(fuse_mountinfo_parse("2 1 0:3 / /x rw - proc  rw,not_user_id=5", &m), 0);
    assert_string_equal(m.type, "proc");
    assert_string_equal(m.source, "");
    assert_int_equal(m.user_id, 0);
}

/* Every prefix of a line parses or not, but reads nothing beyond it, and never a path that is
 * cut. */
static void test_cut(void **state)
{
    size_t path_end = (size_t)(strstr(fuse_line, " rw,nosuid") - fuse_line);

    (void)state;
    for (size_t n = 0; n < sizeof(fuse_line); n++) {
        char *part = strndup(fuse_line, n);
        struct fuse_mountinfo m;
        int r;

        assert_non_null(part);
        r = fuse_mountinfo_parse(part, &m);
        assert_int_equal(r, n > path_end ? 0 : -EINVAL);
        if (r == 0)
            assert_string_equal(m.path, "/mnt/a b\\c\td");
        free(part);
    }
}

static void test_broken(void **state)
{
    static const char *const lines[] = {
        "",
        " ",
        "x 0 8:1 / / rw - ext4 s rw",
        "-1 0 8:1 / / rw - ext4 s rw",
        "1 0 8 / / rw - ext4 s rw",
        "1 0 8:x / / rw - ext4 s rw",
        "99999999999999999999999 0 8:1 / / rw - ext4 s rw",
        "1 0 99999999999:1 / / rw - ext4 s rw",
        "1 0 8:1",
        "1 0 8:1 /",
        "1 0 8:1 / /",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct fuse_mountinfo m;

        assert_int_equal(fuse_mountinfo_parse(lines[i], &m), -EINVAL);
    }
}

static void test_long_fields(void **state)
{
    static char line[3 * PATH_MAX];
    struct fuse_mountinfo m;
    size_t at = (size_t)sprintf(line, "1 0 8:1 / /");

    (void)state;
    memset(line + at, 'p', PATH_MAX - 2); /* with "/" and NUL: just fits */
    strcpy(line + at + PATH_MAX - 2, " rw - t s rw");
    assert_int_equal(fuse_mountinfo_parse(line, &m), 0);
    assert_int_equal(strlen(m.path), PATH_MAX - 1);
    memset(line + at, 'p', PATH_MAX - 1);
    strcpy(line + at + PATH_MAX - 1, " rw - t s rw");
    assert_int_equal(fuse_mountinfo_parse(line, &m), -EINVAL);

    at = (size_t)sprintf(line, "1 0 8:1 / /x rw - fuse ");
    memset(line + at, 's', 1000); /* a source is cut */
    strcpy(line + at + 1000, " rw,user_id=7");
    assert_int_equal(fuse_mountinfo_parse(line, &m), 0);
    assert_int_equal(strlen(m.source), sizeof(m.source) - 1);
    assert_int_equal(m.user_id, 7);
}

static void test_escapes_at_the_edge(void **state)
{
    struct fuse_mountinfo m;

    (void)state;
    assert_int_equal(fuse_mountinfo_parse("1 0 8:1 / /a\\04 rw - t\\0 s\\999 rw", &m), 0);
    assert_string_equal(m.path, "/a\\04");
    assert_string_equal(m.type, "t\\0");
    assert_string_equal(m.source, "s\\999");
}

static char *temp_file(const char *text, size_t len)
{
    static char path[64];
    int fd;

    strcpy(path, "/tmp/test-mountinfo-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    close(fd);
    return path;
}

static void test_find(void **state)
{
    size_t cap = 200000;
    char *text = malloc(cap);
    size_t at = 0;
    struct fuse_mountinfo m;
    char *path;

    (void)state;
    assert_non_null(text);
    /* A line longer than any buffer, whose rest looks like a line of its own. */
    at += (size_t)sprintf(text + at, "5 1 0:9 / /long rw - overlay o lowerdir=");
    memset(text + at, ' ', 100000);
    at += 100000;
    at += (size_t)sprintf(text + at, "90 25 0:1 / /wrong rw - t s rw\n");
    at += (size_t)sprintf(text + at, "garbage\n\n%s\n", fuse_line);
    at += (size_t)sprintf(text + at, "91 1 8:2 / /last rw - ext4 s rw");
    path = temp_file(text, at);

    assert_int_equal(fuse_mountinfo_find(path, 90, &m), 0);
    assert_string_equal(m.type, "fuse.stateproxy");
    assert_int_equal(fuse_mountinfo_find(path, 5, &m), 0);
    assert_string_equal(m.path, "/long");
    assert_int_equal(fuse_mountinfo_find(path, 91, &m), 0); /* no newline */
    assert_string_equal(m.path, "/last");
    assert_int_equal(fuse_mountinfo_find(path, 9, &m), -ENOENT);
    assert_int_equal(fuse_mountinfo_find(path, 0, &m), -ENOENT);
    unlink(path);
    assert_int_equal(fuse_mountinfo_find(path, 90, &m), -ENOENT);
    free(text);
}

/* The topmost mount of the device at this path: it is listed last. */
static void test_find_by_device(void **state)
{
    static const char text[] = "20 1 0:7 / /mnt rw - fuse.stateproxy a rw\n"
                               "21 1 0:7 / /other rw - fuse.stateproxy a rw\n"
                               "22 1 0:8 / /mnt rw - tmpfs b rw\n"
                               "23 1 0:7 / /mnt rw - fuse.stateproxy a rw\n"
                               "24 1 7:0 / /mnt rw - ext4 c rw\n";
    char *path = temp_file(text, sizeof(text) - 1);
    struct fuse_mountinfo m = {0};

    (void)state;
    assert_int_equal(fuse_mountinfo_find_dev(path, 0, 7, "/mnt", &m), 0);
    assert_int_equal(m.mnt_id, 23);
    assert_int_equal(fuse_mountinfo_find_dev(path, 0, 8, "/other", &m), -ENOENT);
    assert_int_equal(m.mnt_id, 23); /* untouched */
    unlink(path);
}

static void test_random_lines(void **state)
{
    static const char alphabet[] = "0123456789 :/-\\abr,=";

    (void)state;
    srandom(2);
    for (int i = 0; i < 100000; i++) {
        size_t len = (size_t)random() % 80;
        char *line = malloc(len + 1);
        struct fuse_mountinfo m;

        assert_non_null(line);
        for (size_t k = 0; k < len; k++)
            line[k] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
        line[len] = '\0';
        if (len > 20 && random() % 2)
            memcpy(line, "1 0 8:1 / /", 11);
        (void)!fuse_mountinfo_parse(line, &m); /* only that it reads no further */
        free(line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fuse_line),
        cmocka_unit_test(test_other_lines),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_long_fields),
        cmocka_unit_test(test_escapes_at_the_edge),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_random_lines),
        cmocka_unit_test(test_find_by_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
