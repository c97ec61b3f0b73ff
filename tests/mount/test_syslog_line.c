/* Lines of stateproxyd's log, taken apart, and written to a file. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "mount/syslog_line.h"

static void check(const char *line, int priority, const char *level, const char *message)
{
    struct syslog_parts parts;

    syslog_line_parse(line, &parts);
    assert_int_equal(parts.priority, priority);
    assert_string_equal(parts.level, level);
    assert_string_equal(parts.message, message);
}

static void test_parts(void **state)
{
    (void)state;
    check("2026-11-25T10:11:12.345Z err worker[12]: upload failed: x", 3,
          "err worker[12]: upload failed: x", "upload failed: x");
    check("2026-11-25T10:11:12.345Z debug worker[12]: y", 7, "debug worker[12]: y", "y");
    check("no such line", 5, "no such line", "no such line");
    check("2026-11-25T10:11:12.345Z other worker[12]: y", 5,
          "2026-11-25T10:11:12.345Z other worker[12]: y",
          "2026-11-25T10:11:12.345Z other worker[12]: y");
    check("", 5, "", "");
}

static void test_file(void **state)
{
    char path[] = "/tmp/test_syslog_line.XXXXXX", text[64];
    struct syslog_sink sink;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(syslog_sink_open(&sink, path, NULL), 0);
    syslog_line_write(&sink, "one");
    syslog_line_write(&sink, "two");
    assert_int_equal(fd_read_file(path, text, sizeof(text)), 8);
    assert_string_equal(text, "one\ntwo\n");
    close(sink.fd);
    unlink(path);
    assert_int_equal(syslog_sink_open(&sink, "/nowhere/log", NULL), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
