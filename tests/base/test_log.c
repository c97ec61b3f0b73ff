/* Log lines: their form, levels, and that no text can forge a line or drive a terminal. */
#include <endian.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/log_journal.h"

static int old_stderr, capture;

static int setup(void **state)
{
    (void)state;
    old_stderr = dup(STDERR_FILENO);
    capture = memfd_create("log", MFD_CLOEXEC);
    return old_stderr < 0 || capture < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    close(old_stderr);
    close(capture);
    return 0;
}

static void begin(void)
{
    assert_int_equal(ftruncate(capture, 0), 0);
    assert_int_equal(lseek(capture, 0, SEEK_SET), 0);
    assert_true(dup2(capture, STDERR_FILENO) >= 0);
}

/* What was logged since begin(). */
static const char *end(void)
{
    static char text[2 * LOG_LINE_MAX + 1024];
    ssize_t n;

    assert_true(dup2(old_stderr, STDERR_FILENO) >= 0);
    n = pread(capture, text, sizeof(text) - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

/* What follows "role[pid]: ", without the line end. Exactly one line must be there. */
static const char *logged(const char *text)
{
    static char line[2 * LOG_LINE_MAX + 1024];
    const char *start;

    begin();
    log_line(LOG_ERR, "%s", text);
    snprintf(line, sizeof(line), "%s", end());
    assert_true(strlen(line) > 0 && strchr(line, '\n') == line + strlen(line) - 1);
    line[strlen(line) - 1] = '\0';
    start = strstr(line, "]: ");
    assert_non_null(start);
    return start + 3;
}

static void test_form(void **state)
{
    char pattern[200];
    const char *text;
    regex_t re;

    (void)state;
    log_init(LOG_DEBUG, "worker");
    snprintf(pattern, sizeof(pattern),
             "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}"
             "Z notice "
             "worker\\[%d\\]: put key=\"a/b\" bytes=7\n$",
             (int)getpid());
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    begin();
    log_notice("put key=\"%s\" bytes=%d", "a/b", 7);
    text = end();
    if (regexec(&re, text, 0, NULL, 0) != 0)
        fail_msg("%s", text);
    regfree(&re);
}

static void test_levels(void **state)
{
    (void)state;
    log_init(LOG_WARN, "t");
    assert_true(log_enabled(LOG_ERR));
    assert_true(log_enabled(LOG_WARN));
    assert_false(log_enabled(LOG_NOTICE));
    begin();
    log_debug("d");
    log_notice("n");
    assert_string_equal(end(), "");
    begin();
    log_err("e");
    assert_non_null(strstr(end(), "Z err t["));
    begin();
    log_warn("w");
    assert_non_null(strstr(end(), "Z warn t["));
    log_init(LOG_DEBUG, "t");
    begin();
    log_debug("d");
    assert_non_null(strstr(end(), "Z debug t["));
}

static void test_escaping(void **state)
{
    (void)state;
    assert_string_equal(logged("a\nb"), "a\\x0ab");
    assert_string_equal(logged("\x1b[31mred\r"), "\\x1b[31mred\\x0d");
    assert_string_equal(logged("\t\x7f\x01\x1f"), "\\x09\\x7f\\x01\\x1f");
    assert_string_equal(logged(""), "");
    assert_string_equal(logged("%s %n"), "%s %n");
    /* UTF-8 passes, but not its control characters: U+0085 and U+009B. */
    assert_string_equal(logged("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xc2\xa0"),
                        "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xc2\xa0");
    assert_string_equal(logged("\xc2\x85|\xc2\x9b"), "\\xc2\\x85|\\xc2\\x9b");
    assert_string_equal(logged("\xc2"), "\xc2");
}

/* However long the text, and however much longer it becomes: one bounded line. */
static void test_long_lines(void **state)
{
    char text[LOG_LINE_MAX + 500];

    (void)state;
    for (size_t n = LOG_LINE_MAX - 5; n < sizeof(text); n++) {
        memset(text, 'x', n);
        text[n] = '\0';
        assert_int_equal(strlen(logged(text)), n < LOG_LINE_MAX ? n : LOG_LINE_MAX - 1);
    }
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_true(strlen(logged(text)) < LOG_LINE_MAX + 512);
    for (size_t n = 500; n < 700; n++) {
        memset(text, '\n', n);
        text[n] = '\0';
        assert_true(strlen(logged(text)) < LOG_LINE_MAX + 512);
    }
}

/* It ends within its room, and never half-way through an escape. */
static void test_escape_in_little_room(void **state)
{
    char out[16];

    (void)state;
    for (size_t cap = 1; cap < sizeof(out); cap++) {
        size_t n;

        memset(out, '#', sizeof(out));
        n = log_escape(out, cap, "a\n\n");
        assert_true(n < cap);
        assert_int_equal(out[n], '\0');
        assert_int_equal(out[cap], '#');
        assert_int_equal(strncmp("a\\x0a\\x0a", out, n), 0);
        assert_true(n == 0 || n == 1 || n == 5 || n == 9);
    }
}

/* The whole line of this text. */
static const char *line_of(const char *text)
{
    begin();
    log_line(LOG_WARN, "%s", text);
    return end();
}

static void check_message(const char *text, const char *before, const char *message,
                          const char *after)
{
    char want[256];
    const char *line = line_of(text), *at;

    snprintf(want, sizeof(want), "%s%s%s\n", before, message, after);
    at = strstr(line, before);
    assert_non_null(at);
    assert_string_equal(at, want);
}

static void test_json(void **state)
{
    static const struct {
        const char *text, *message;
    } all[] = {
        {"plain key=\"a\"", "plain key=\\\"a\\\""},
        {"a\\b\n", "a\\\\b\\u000a"},
        {"\x1b[2J\x7f", "\\u001b[2J\\u007f"},
        {"\xc2\x9b|", "\\u009b|"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xff|\xe2\x82", "\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd"},
        {"", ""},
    };
    char head[128];

    (void)state;
    log_init(LOG_DEBUG, "worker");
    log_set_format(LOG_JSON);
    snprintf(head, sizeof(head),
             "\",\"level\":\"warn\",\"process\":\"worker\",\"pid\":%d,\"message\":\"",
             (int)getpid());
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        check_message(all[i].text, head, all[i].message, "\"}");
        assert_int_equal(strncmp(line_of(all[i].text), "{\"time\":\"2", 10), 0);
    }
    log_set_format(LOG_TEXT);
}

static void test_logfmt(void **state)
{
    char head[128];

    (void)state;
    log_init(LOG_DEBUG, "worker");
    log_set_format(LOG_LOGFMT);
    snprintf(head, sizeof(head), " level=warn process=worker pid=%d message=\"", (int)getpid());
    check_message("put key=\"a\nb\"", head, "put key=\\\"a\\x0ab\\\"", "\"");
    check_message("\xff", head, "\xef\xbf\xbd", "\"");
    assert_int_equal(strncmp(line_of("x"), "time=2", 6), 0);
    log_set_format(LOG_TEXT);
}

/* A line that is too long is cut between two characters, and ends as every other. */
static void test_long_lines_in_quotes(void **state)
{
    static const char *const units[] = {"x", "\n", "\"", "\xe2\x82\xac", "\xff"};
    char text[LOG_LINE_MAX + 500];

    (void)state;
    log_set_format(LOG_JSON);
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
        for (size_t n = 0; n + strlen(units[u]) < sizeof(text); n += strlen(units[u])) {
            const char *line;

            memcpy(text + n, units[u], strlen(units[u]) + 1);
            line = line_of(text);
            assert_true(strlen(line) <= 4096);
            assert_string_equal(line + strlen(line) - 3, "\"}\n");
        }
    }
    log_set_format(LOG_TEXT);
}

static void test_priorities(void **state)
{
    char stream[64];
    struct stat st;

    (void)state;
    log_init(LOG_DEBUG, "t");
    assert_int_equal(fstat(capture, &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    begin();
    log_set_journal(stream);
    log_err("e");
    assert_int_equal(strncmp(end(), "<3>2", 4), 0);
    begin();
    log_debug("d");
    assert_int_equal(strncmp(end(), "<7>2", 4), 0);
    log_set_format(LOG_JSON);
    assert_int_equal(strncmp(line_of("w"), "<4>{\"time\"", 10), 0);
    log_set_format(LOG_TEXT);
    for (size_t i = 0; i < 4; i++) {
        static const char *const others[] = {NULL, "", "1:2", "text"};

        begin();
        log_set_journal(others[i]);
        log_err("e");
        assert_int_equal(end()[0], '2');
    }
}

/* ---- the journal's native protocol ---- */

/* Listens as the journal does. Returns its descriptor; stderr is meanwhile `capture`. */
static int journal_begin(struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;
    char stream[64];

    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(addr->sun_path, sizeof(addr->sun_path), "/tmp/test-log-%d", (int)getpid());
    assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
    begin();
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    log_set_journal(stream);
    log_journal_open(addr->sun_path);
    assert_true(log_journal_is_open());
    return fd;
}

static void journal_end(int fd, const struct sockaddr_un *addr)
{
    close(fd);
    unlink(addr->sun_path);
    log_set_journal(NULL);
    end();
}

struct journal_field {
    char name[65], value[2600];
    size_t len;
};

/* Reads a datagram by the protocol's rules. Returns the number of fields. */
static size_t journal_read(int fd, struct journal_field *all, size_t max)
{
    static char data[16384];
    ssize_t size = recv(fd, data, sizeof(data), 0);
    char *p = data, *stop = data + size;
    size_t n = 0;

    assert_true(size > 0);
    for (; p < stop && n < max; n++) {
        size_t name = strcspn(p, "=\n");
        uint64_t len;

        assert_true(name > 0 && name <= 64 && p + name < stop);
        snprintf(all[n].name, sizeof(all[n].name), "%.*s", (int)name, p);
        assert_int_equal(strspn(all[n].name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"), name);
        p += name;
        if (*p++ == '=') {
            len = strcspn(p, "\n");
        } else {
            memcpy(&len, p, sizeof(len));
            len = le64toh(len);
            p += sizeof(len);
        }
        assert_true(len < sizeof(all[n].value) && p + len < stop && p[len] == '\n');
        memcpy(all[n].value, p, len);
        all[n].value[len] = '\0';
        all[n].len = len;
        p += len + 1;
    }
    assert_true(p == stop);
    return n;
}

static const char *journal_value(const struct journal_field *all, size_t n, const char *name)
{
    const char *found = NULL;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i].name, name) == 0) {
            assert_null(found);
            found = all[i].value;
        }
    }
    return found;
}

static void test_journal_fields(void **state)
{
    static const char odd[] = "a\nPRIORITY=0\" pid=1 id=\"x";
    struct journal_field all[20];
    struct sockaddr_un addr;
    int fd = journal_begin(&addr);
    size_t n;

    (void)state;
    log_init(LOG_DEBUG, "worker");
    log_warn(
        "upload failed key=\"%s\" bytes=%llu error=\"%.*s\" took=%u.%03u 100%% id=%s pid=%d: %s",
        odd, 1ULL << 40, 3, "EIOX", 1u, 5u, "R1", 77, "why=\"1\"");
    n = journal_read(fd, all, 20);
    assert_int_equal(n, 9);
    assert_string_equal(journal_value(all, n, "MESSAGE"),
                        "upload failed key=\"a\\x0aPRIORITY=0\" pid=1 id=\"x\" bytes=1099511627776 "
                        "error=\"EIO\" took=1.005 100% id=R1 pid=77: why=\"1\"");
    assert_string_equal(journal_value(all, n, "PRIORITY"), "4");
    assert_string_equal(journal_value(all, n, "SYSLOG_IDENTIFIER"), "stateproxyd");
    assert_string_equal(journal_value(all, n, "STATEPROXY_PROCESS"), "worker");
    assert_string_equal(journal_value(all, n, "STATEPROXY_KEY"), odd);
    assert_string_equal(journal_value(all, n, "STATEPROXY_BYTES"), "1099511627776");
    assert_string_equal(journal_value(all, n, "STATEPROXY_ERROR"), "EIO");
    assert_string_equal(journal_value(all, n, "STATEPROXY_ID"), "R1");
    assert_string_equal(journal_value(all, n, "STATEPROXY_PID"), "77");
    log_notice("n=%zu k=%ld x=%x c=%c w=\"%5d\"", (size_t)-1, -2L, 255u, 'c', 3);
    n = journal_read(fd, all, 20);
    assert_string_equal(journal_value(all, n, "STATEPROXY_N"), "18446744073709551615");
    assert_string_equal(journal_value(all, n, "STATEPROXY_K"), "-2");
    assert_string_equal(journal_value(all, n, "STATEPROXY_X"), "ff");
    assert_string_equal(journal_value(all, n, "STATEPROXY_C"), "c");
    assert_string_equal(journal_value(all, n, "STATEPROXY_W"), "    3");
    journal_end(fd, &addr);
}

/* Bounded, and a field is whole or not there. */
static void test_journal_long(void **state)
{
    struct journal_field all[20];
    struct sockaddr_un addr;
    int fd = journal_begin(&addr);
    static char text[5000];

    (void)state;
    for (size_t n = 0; n + 1 < sizeof(text); n += 97) {
        memset(text, n % 2 ? '\n' : 'x', n);
        text[n] = '\0';
        log_err("a key=\"%s\" again=\"%s\" third=\"%s\"", text, text, text);
        assert_true(journal_read(fd, all, 20) >= 5);
        assert_string_equal(all[0].name, "MESSAGE");
        assert_true(all[0].len > 0);
    }
    journal_end(fd, &addr);
}

/* A journal that is gone, or does not read: the line goes to stderr. */
static void test_journal_gone(void **state)
{
    struct journal_field all[20];
    struct sockaddr_un addr;
    int fd = journal_begin(&addr);
    size_t n = 0;

    (void)state;
    while (lseek(STDERR_FILENO, 0, SEEK_END) == 0 && n++ < 100000)
        log_err("again and again");
    assert_true(n < 100000);
    close(fd);
    unlink(addr.sun_path);
    begin();
    log_err("nobody there");
    assert_int_equal(strncmp(end(), "<3>2", 4), 0);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    log_journal_renew();
    begin();
    log_err("there again");
    assert_string_equal(end(), "");
    assert_int_equal(journal_read(fd, all, 20), 4);
    log_set_format(LOG_JSON);
    begin();
    log_err("in its form");
    assert_int_equal(strncmp(end(), "<3>{", 4), 0);
    log_set_format(LOG_TEXT);
    journal_end(fd, &addr);
}

/* A child sees what its parent sets, and cannot set it. */
static void test_shared(void **state)
{
    int ready[2], go[2], status = 0;
    pid_t pid;
    char c = 0;

    (void)state;
    log_init(LOG_WARN, "t");
    log_share();
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid = fork();
    if (pid == 0) {
        bool ok = !log_enabled(LOG_DEBUG);

        ok = ok && write(ready[1], &c, 1) == 1 && read(go[0], &c, 1) == 1;
        ok = ok && log_enabled(LOG_DEBUG);
        log_init(LOG_ERR, "child");
        _exit(ok && log_enabled(LOG_DEBUG) ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    log_init(LOG_DEBUG, "t");
    assert_int_equal(write(go[1], &c, 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(log_enabled(LOG_DEBUG));
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
}

/* Nobody reads the log: nothing happens. */
static void test_closed_stderr(void **state)
{
    (void)state;
    close(STDERR_FILENO);
    log_err("unheard");
    assert_true(dup2(old_stderr, STDERR_FILENO) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_escape_in_little_room),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_logfmt),
        cmocka_unit_test(test_long_lines_in_quotes),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_journal_fields),
        cmocka_unit_test(test_journal_long),
        cmocka_unit_test(test_journal_gone),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_closed_stderr),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
