/* list_page.c: round trips, pages that are cut or hostile, tokens, and where the next page
 * starts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "workers/names/list_page.h"

#define CAP 8192
#define MD5 "\"0123456789abcdef0123456789abcdef\""
#define AFTER_ALL "\xf4\x8f\xbf\xbf"

static _Alignas(8) uint8_t page[CAP];

static bool add(enum list_type type, const char *name, size_t len, const char *etag)
{
    struct list_entry e = {
        .type = type, .size = len * 1000, .mtime_ns = -5, .name = name, .name_len = (uint16_t)len};

    strncpy(e.etag, etag, sizeof(e.etag) - 1);
    return list_page_add(page, CAP, &e);
}

static void add_name(enum list_type type, const char *name)
{
    assert_true(add(type, name, strlen(name), type == LIST_DIR ? "" : MD5));
}

static void assert_next(size_t *off, enum list_type type, const char *name, size_t len,
                        const char *etag)
{
    struct list_entry e;

    assert_true(list_page_next(page, off, &e));
    assert_int_equal(e.type, type);
    assert_int_equal(e.name_len, len);
    assert_memory_equal(e.name, name, len);
    assert_int_equal(e.size, len * 1000);
    assert_int_equal(e.mtime_ns, -5);
    assert_string_equal(e.etag, etag);
}

static void round_trip(void **state)
{
    static const char *const etags[] = {
        MD5,
        "",
        "\"0123456789ABCDEF0123456789abcdef\"", /* not as we would write it */
        "\"0123456789abcdef0123456789abcde\"",
        "\"0123456789abcdef0123456789abcdef-12\"",
        "0123456789abcdef0123456789abcdef\"x",
        "\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggg\"",
    };
    char name[LIST_NAME_MAX];
    struct list_entry e;
    size_t off = 0;

    (void)state;
    memset(name, 'n', sizeof(name));
    list_page_begin(page, "a start", 7, 8);
    for (size_t i = 0; i < 7; i++)
        assert_true(add(LIST_FILE, name, i ? 30 * i + 75 : 1, etags[i]));
    assert_true(add(LIST_DIR, name, LIST_NAME_MAX, ""));
    assert_int_equal(list_page_check(page, CAP), 0);
    assert_int_equal(list_page_header(page)->n, 8);
    assert_string_equal(list_page_header(page)->start, "a start");
    assert_int_equal(list_page_header(page)->listing_ns, 7);
    assert_int_equal(list_page_header(page)->page_ns, 8);
    for (size_t i = 0; i < 7; i++)
        assert_next(&off, LIST_FILE, name, i ? 30 * i + 75 : 1, etags[i]);
    assert_next(&off, LIST_DIR, name, LIST_NAME_MAX, "");
    assert_false(list_page_next(page, &off, &e));
    assert_int_equal(off, list_page_header(page)->used);
}

static void full_page_takes_no_more(void **state)
{
    char name[LIST_NAME_MAX];
    struct list_entry e;
    uint32_t used, n = 0;
    size_t off = 0;

    (void)state;
    memset(name, 'n', sizeof(name));
    memset(page, 0xee, CAP);
    list_page_begin(page, "", 1, 1);
    while (add(LIST_FILE, name, LIST_NAME_MAX, MD5))
        n++;
    used = list_page_header(page)->used;
    assert_true(used > CAP - LIST_ENTRY_MAX && used <= CAP);
    assert_int_equal(list_page_header(page)->n, n);
    while (list_page_next(page, &off, &e))
        n--;
    assert_int_equal(n, 0);
    /* To the last byte. */
    while (add(LIST_FILE, name, 1, ""))
        ;
    assert_true(CAP - list_page_header(page)->used < 25);
}

/* Reads a copy in exactly `len` bytes of heap, so that a sanitizer sees one read too many. */
static void read_all(const uint8_t *from, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct list_entry e;
    size_t off = 0, last = 0;
    unsigned sum = 0;
    char token[64];

    assert_non_null(copy);
    memcpy(copy, from, len);
    if (list_page_check(copy, len) == 0) {
        while (list_page_next(copy, &off, &e)) {
            assert_true(off > last && off <= len);
            assert_true(strlen(e.etag) < sizeof(e.etag));
            for (int i = 0; i < e.name_len; i++)
                sum += (uint8_t)e.name[i];
            last = off;
        }
        list_page_token(copy, token, sizeof(token));
        sum += (uint8_t)token[0];
    }
    free(copy);
    assert_true(sum < UINT32_MAX);
}

static void sample(void)
{
    list_page_begin(page, "", 1, 1);
    add_name(LIST_FILE, "a");
    add_name(LIST_FILE, "a-b");
    add_name(LIST_DIR, "a");
    assert_true(add(LIST_FILE, "b", 1, "\"odd\""));
    list_page_end_at(page, "b", 1, false);
}

/* Cut anywhere: what says it is longer than it is, is no page; one that ends within an entry ends
 * before it. */
static void cut_anywhere(void **state)
{
    uint32_t used;

    (void)state;
    sample();
    used = list_page_header(page)->used;
    for (uint32_t len = 0; len < used; len++) {
        assert_int_equal(list_page_check(page, len), -EPROTO);
        read_all(page, len);
        if (len < sizeof(struct list_header))
            continue;
        ((struct list_header *)(void *)page)->used = len;
        read_all(page, len);
        ((struct list_header *)(void *)page)->used = used;
    }
    assert_int_equal(list_page_check(page, used), 0);
}

/* In the middle of one of the header's texts: a byte there is as good as its neighbours. */
static bool is_within_text(size_t at)
{
    size_t start = offsetof(struct list_header, start), next = offsetof(struct list_header, next);

    return (at > start + 8 && at < next - 8) || (at > next + 8 && at < next + LIST_START_MAX - 8);
}

static void any_byte_may_be_wrong(void **state)
{
    uint32_t used;

    (void)state;
    sample();
    used = list_page_header(page)->used;
    for (uint32_t at = 0; at < used; at++) {
        uint8_t was = page[at];

        if (is_within_text(at))
            continue;
        for (int value = 0; value < 256; value++) {
            page[at] = (uint8_t)value;
            read_all(page, used);
        }
        page[at] = was;
    }
}

static void header_must_be_whole(void **state)
{
    struct list_header *h = (struct list_header *)(void *)page;

    (void)state;
    sample();
    memset(h->next, 'x', sizeof(h->next));
    assert_int_equal(list_page_check(page, CAP), -EPROTO);
    sample();
    memset(h->start, 'x', sizeof(h->start));
    assert_int_equal(list_page_check(page, CAP), -EPROTO);
    sample();
    h->used = sizeof(*h) - 1;
    assert_int_equal(list_page_check(page, CAP), -EPROTO);
    sample();
    h->magic++;
    assert_int_equal(list_page_check(page, CAP), -EPROTO);
}

/* ---- shadowed files ---- */

static void a_file_is_shadowed(void **state)
{
    uint32_t at;
    size_t off = 0;

    (void)state;
    list_page_begin(page, "", 1, 1);
    add_name(LIST_FILE, "a");
    at = list_page_header(page)->used;
    add_name(LIST_FILE, "b");
    add_name(LIST_DIR, "b");
    list_page_shadow(page, at);
    assert_next(&off, LIST_FILE, "a", 1, MD5);
    assert_next(&off, LIST_SHADOWED, "b", 1, MD5);
    assert_next(&off, LIST_DIR, "b", 1, "");
}

static void the_end_is_cut_off(void **state)
{
    uint32_t b, c, used;

    (void)state;
    list_page_begin(page, "", 1, 1);
    add_name(LIST_DIR, "a");
    b = list_page_header(page)->used;
    add_name(LIST_FILE, "b");
    c = list_page_header(page)->used;
    add_name(LIST_FILE, "c");
    add_name(LIST_FILE, "d");
    used = list_page_header(page)->used;
    list_page_end_at(page, "d", 1, false);
    assert_false(list_page_cut(page, c, 1));                          /* two they are */
    assert_false(list_page_cut(page, sizeof(struct list_header), 9)); /* nothing would be left */
    assert_false(list_page_cut(page, c + 1, 9));
    assert_int_equal(list_page_header(page)->used, used);
    assert_true(list_page_cut(page, c, 2));
    assert_int_equal(list_page_header(page)->n, 2);
    assert_int_equal(list_page_header(page)->used, c);
    assert_string_equal(list_page_header(page)->next, "b");
    assert_true(list_page_cut(page, b, 1));
    assert_string_equal(list_page_header(page)->next, "a/" AFTER_ALL);
    assert_int_equal(list_page_check(page, CAP), 0);
}

/* The next page begins behind the object, not behind the name that it is shown by: other names are
 * between the two. */
static void the_end_is_a_folder(void **state)
{
    struct list_entry e = {.type = LIST_DIR, .name = "n", .name_len = 1, .folder = true};
    uint32_t used;
    size_t off = 0;

    (void)state;
    list_page_begin(page, "", 1, 1);
    assert_true(list_page_add(page, CAP, &e));
    used = list_page_header(page)->used;
    add_name(LIST_FILE, "o");
    assert_true(list_page_cut(page, used, 1));
    assert_string_equal(list_page_header(page)->next, "n_$folder$");
    assert_true(list_page_next(page, &off, &e));
    assert_true(e.folder && e.type == LIST_DIR);
}

/* ---- the token ---- */

static void token_is_kept_behind_the_entries(void **state)
{
    char long_token[CAP], got[CAP];
    size_t off = 0;

    (void)state;
    sample();
    list_page_token(page, got, sizeof(got));
    assert_string_equal(got, "");
    list_page_set_token(page, CAP, "1/a+b=");
    assert_int_equal(list_page_len(page), list_page_header(page)->used + 6);
    assert_int_equal(list_page_check(page, list_page_len(page)), 0);
    assert_int_equal(list_page_check(page, list_page_len(page) - 1), -EPROTO);
    list_page_token(page, got, sizeof(got));
    assert_string_equal(got, "1/a+b=");
    list_page_token(page, got, 6);
    assert_string_equal(got, "");
    assert_next(&off, LIST_FILE, "a", 1, MD5);
    sample();
    memset(long_token, 't', sizeof(long_token));
    long_token[CAP - list_page_header(page)->used + 1] = '\0';
    list_page_set_token(page, CAP, long_token);
    assert_int_equal(list_page_len(page), list_page_header(page)->used);
}

/* ---- where the next page starts ---- */

static void assert_start(const char *name, size_t len, bool dir, const char *want)
{
    list_page_begin(page, "", 1, 1);
    list_page_end_at(page, name, len, dir);
    assert_string_equal(list_page_header(page)->next, want);
    assert_int_equal(list_page_check(page, CAP), 0);
}

static void starts_behind_the_last(void **state)
{
    (void)state;
    assert_start("file", 4, false, "file");
    assert_start("file/tail", 4, false, "file");
    assert_start("dir", 3, true, "dir/" AFTER_ALL);
    assert_start("", 0, true, "/" AFTER_ALL); /* a key "dir//..." */
}

static void starts_behind_long_names(void **state)
{
    char name[LIST_NAME_MAX + 200], want[sizeof(name)];

    (void)state;
    memset(name, 'n', sizeof(name));
    memset(want, 'n', sizeof(want));
    strcpy(want + LIST_NAME_MAX, "");
    assert_start(name, LIST_NAME_MAX, false, want);
    strcpy(want + LIST_NAME_MAX, "/" AFTER_ALL); /* whole: not cut within the character */
    assert_start(name, LIST_NAME_MAX, true, want);
    strcpy(want + LIST_NAME_MAX, AFTER_ALL);
    assert_start(name, LIST_NAME_MAX + 1, false, want);
    assert_start(name, sizeof(name), true, want);
}

/* A name that is too long is not cut within a character. */
static void cuts_between_characters(void **state)
{
    char name[LIST_NAME_MAX + 200], want[sizeof(name)];

    (void)state;
    for (size_t at = LIST_NAME_MAX - 3; at <= LIST_NAME_MAX; at++) {
        memset(name, 'n', sizeof(name));
        memcpy(name + at, "\xf0\x9f\x98\x80", 4);
        memcpy(want, name, sizeof(want));
        strcpy(want + at, AFTER_ALL);
        assert_start(name, sizeof(name), false, want);
    }
    memset(name, 'n', sizeof(name));
    memcpy(name + LIST_NAME_MAX - 4, "\xf0\x9f\x98\x80", 4);
    memcpy(want, name, sizeof(want));
    strcpy(want + LIST_NAME_MAX, AFTER_ALL);
    assert_start(name, sizeof(name), false, want);
}

/* Where the directory's key leaves no room for the last of all characters, the last of those that
 * fit stands for it: behind every key below, and no longer than a key. */
static void start_after_fits_a_key(void **state)
{
    static const char *const greatest[] = {"", "\x7f", "\xdf\xbf", "\xef\xbf\xbd", AFTER_ALL};
    char start[LIST_START_MAX], out[128], name[32];

    (void)state;
    for (int room = 0; room <= 4; room++) {
        int len = 20 - 4 - 1 - room; /* "dir/", the name, a slash: room is left of 20 bytes */

        memset(name, 'n', sizeof(name));
        snprintf(start, sizeof(start), "%.*s/" AFTER_ALL, len, name);
        list_page_start_after("dir/", start, 20, out);
        assert_int_equal(strlen(out), 20);
        assert_memory_equal(out, "dir/nnn", 7);
        assert_int_equal(out[4 + len], '/');
        assert_string_equal(out + 5 + len, greatest[room]);
    }
    list_page_start_after("dir/", "a file", 20, out);
    assert_string_equal(out, "dir/a file");
    list_page_start_after("", "d/" AFTER_ALL, 20, out);
    assert_string_equal(out, "d/" AFTER_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(full_page_takes_no_more),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(any_byte_may_be_wrong),
        cmocka_unit_test(header_must_be_whole),
        cmocka_unit_test(a_file_is_shadowed),
        cmocka_unit_test(the_end_is_cut_off),
        cmocka_unit_test(the_end_is_a_folder),
        cmocka_unit_test(token_is_kept_behind_the_entries),
        cmocka_unit_test(starts_behind_the_last),
        cmocka_unit_test(starts_behind_long_names),
        cmocka_unit_test(start_after_fits_a_key),
        cmocka_unit_test(cuts_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
