/* Forms: what is carried between two layouts of the same things, what is refused, and forms that
 * are cut or make no sense. */
#include "base/form.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct inner {
    uint32_t a;
    uint8_t b[4];
};

struct old {
    uint32_t number;
    uint16_t narrow;
    uint8_t flag, unused;
    int32_t sign;
    char text[8];
    union {
        uint64_t whole;
        uint32_t half;
    };
    struct inner inner[3];
    uint32_t lost;
    uint32_t hint;
};

/* The same in another order; `narrow` is wider, `text` longer, `added` new; `lost` and `hint` are
 * not there. */
struct new
{
    char text[12];
    uint64_t narrow;
    int32_t sign;
    uint32_t added;
    struct inner inner[3];
    uint32_t number;
    union {
        uint64_t whole;
        uint32_t half;
    };
    uint8_t flag;
};

#define UNION(type)                                                                                \
    {                                                                                              \
        "either", offsetof(type, whole), 8, 1, 0, FORM_UNION                                       \
    }

static const struct form_field old_fields[] = {
    FORM_FIELD(struct old, number),
    FORM_FIELD(struct old, narrow),
    FORM_FIELD(struct old, flag),
    FORM_FIELD_AS(struct old, unused, FORM_PAD),
    FORM_FIELD(struct old, sign),
    FORM_FIELD(struct old, text),
    UNION(struct old),
    FORM_IN_UNION(struct old, whole),
    FORM_IN_UNION(struct old, half),
    FORM_EACH(struct old, inner, a),
    FORM_EACH(struct old, inner, b),
    FORM_FIELD(struct old, lost),
    FORM_FIELD_AS(struct old, hint, FORM_UINT | FORM_HINT),
};

static const struct form_field new_fields[] = {
    FORM_FIELD(struct new, text),     FORM_FIELD(struct new, narrow),
    FORM_FIELD(struct new, sign),     FORM_FIELD(struct new, added),
    FORM_EACH(struct new, inner, b),  FORM_EACH(struct new, inner, a),
    FORM_FIELD(struct new, number),   UNION(struct new),
    FORM_IN_UNION(struct new, whole), FORM_IN_UNION(struct new, half),
    FORM_FIELD(struct new, flag),
};

#define N 5 /* entries, with a gap of 8 bytes in the old, and of 24 in the new memory */
#define OLD_AT 16
#define NEW_AT 64
#define SIZE 4096

#define ROWS(f) f, sizeof(f) / sizeof((f)[0])

static const struct form_part old_part = {
    "thing", OLD_AT, 1, 0, N, sizeof(struct old) + 8, sizeof(struct old), ROWS(old_fields)};
static const struct form_part new_part = {
    "thing", NEW_AT, 1, 0, N, sizeof(struct new) + 24, sizeof(struct new), ROWS(new_fields)};

static _Alignas(16) uint8_t old_bytes[SIZE], new_bytes[SIZE];

static struct old *old_at(unsigned i)
{
    return (void *)(old_bytes + old_part.at + i * old_part.stride);
}

static struct new *new_at(unsigned i)
{
    return (void *)(new_bytes + new_part.at + i * new_part.stride);
}

static struct form *form_of(const struct form_part *parts, unsigned n)
{
    size_t len = form_len(parts, n);
    void *text = malloc(len);
    struct form *form;
    struct err err = {0};

    form_write(parts, n, text);
    if (form_read(text, len, SIZE, &form, &err) < 0)
        fail_msg("%s", err.text);
    free(text);
    return form;
}

static int fill(void **state)
{
    (void)state;
    memset(old_bytes, 0xee, sizeof(old_bytes));
    memset(new_bytes, 0, sizeof(new_bytes));
    for (unsigned i = 0; i < N; i++) {
        *old_at(i) = (struct old){.number = 1000 + i,
                                  .narrow = (uint16_t)(65535 - i),
                                  .flag = i & 1,
                                  .unused = 0xee,
                                  .sign = -(int)i,
                                  .text = "text",
                                  .whole = UINT64_C(0x1122334455667788) + i,
                                  .inner = {{1, "ab"}, {2, "cd"}, {3, "ef"}},
                                  .hint = 7};
        new_at(i)->added = 42;
    }
    return 0;
}

static int carry(const struct form_part *to, const struct form_part *from, bool dry,
                 struct err *err)
{
    struct form *a = form_of(from, 1), *b = form_of(to, 1);
    bool forth = from == &old_part || from->at == OLD_AT;
    struct form_memory m_from = {.form = a, .base = forth ? old_bytes : new_bytes};
    struct form_memory m_to = {.form = b, .base = forth ? new_bytes : old_bytes};
    int r = dry ? form_check_carry(&m_to, &m_from, err) : form_carry(&m_to, &m_from, err);

    form_free(a);
    form_free(b);
    return r;
}

static void test_another_layout(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(carry(&new_part, &old_part, true, &err), 0);
    assert_int_equal(new_at(0)->number, 0); /* (it only looked) */
    assert_int_equal(carry(&new_part, &old_part, false, &err), 0);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(new_at(i)->number, 1000 + i);
        assert_int_equal(new_at(i)->narrow, 65535 - i);
        assert_int_equal(new_at(i)->flag, i & 1);
        assert_int_equal(new_at(i)->sign, -(int)i);
        assert_memory_equal(new_at(i)->text, "text\0\0\0\0\0\0\0\0", 12);
        assert_true(new_at(i)->whole == old_at(i)->whole);
        assert_memory_equal(new_at(i)->inner, old_at(i)->inner, sizeof(old_at(i)->inner));
        assert_int_equal(new_at(i)->added, 42);
    }
    assert_int_equal(new_bytes[NEW_AT + sizeof(struct new)], 0); /* between two entries */
}

static void test_back(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(carry(&new_part, &old_part, false, &err), 0);
    for (unsigned i = 0; i < N; i++)
        new_at(i)->added = 0;
    memset(old_bytes, 0, sizeof(old_bytes));
    assert_int_equal(carry(&old_part, &new_part, false, &err), 0);
    assert_int_equal(old_at(4)->number, 1004);
    assert_int_equal(old_at(4)->narrow, 65531);
    assert_string_equal(old_at(4)->text, "text");
    assert_int_equal(old_at(4)->hint, 0);
}

static void refused(const struct form_part *to, const struct form_part *from, const char *why)
{
    struct err err = {0};

    assert_int_equal(carry(to, from, true, &err), -EXDEV);
    assert_non_null(strstr(err.text, why));
    assert_int_equal(carry(to, from, false, &err), -EXDEV);
}

static void test_what_does_not_fit(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(carry(&new_part, &old_part, false, &err), 0);
    refused(&old_part, &new_part, "thing.added is in use, and unknown to this version");
    for (unsigned i = 0; i < N; i++)
        new_at(i)->added = 0;
    new_at(3)->narrow = 65536;
    refused(&old_part, &new_part, "thing.narrow has more than fits");
    new_at(3)->narrow = 1;
    new_at(4)->text[8] = 'x';
    refused(&old_part, &new_part, "thing.text has more than fits");
    old_at(2)->lost = 1;
    refused(&new_part, &old_part, "thing.lost is in use, and unknown to this version");
}

static void test_other_forms(void **state)
{
    struct form_field fields[sizeof(new_fields) / sizeof(new_fields[0])];
    struct form_part part = new_part;

    (void)state;
    part.fields = fields;
    memcpy(fields, new_fields, sizeof(fields));
    fields[2].kind = FORM_UINT;
    refused(&part, &old_part, "thing.sign has another form");
    memcpy(fields, new_fields, sizeof(fields));
    fields[4].n = 2;
    refused(&part, &old_part, "thing.inner.b has another form");
    memcpy(fields, new_fields, sizeof(fields));
    fields[9].name = "third";
    refused(&part, &old_part, "thing.either has another form");
    memcpy(fields, new_fields, sizeof(fields));
    part.n = N - 1;
    refused(&part, &old_part, "thing has 5 entries, and 4 in this version");
    part.n = N;
    part.name = "things"; /* as a whole it is unknown */
    refused(&part, &old_part, "thing.number is in use");
}

/* What was not touched is not read, and not written. */
static void test_holes(void **state)
{
    const uint64_t none[8] = {0};
    struct form *a = form_of(&old_part, 1), *b = form_of(&new_part, 1);
    struct form_memory from = {.form = a, .base = old_bytes, .touched = none, .page_shift = 12};
    struct form_memory to = {.form = b, .base = new_bytes, .touched = none, .page_shift = 12};
    struct err err = {0};

    (void)state;
    assert_int_equal(form_carry(&to, &from, &err), 0);
    assert_int_equal(new_at(0)->number, 0);
    form_free(a);
    form_free(b);
}

/* Nothing, as often as there are numbers. */
static void test_empty_sets(void **state)
{
    struct form_part part = old_part;
    struct err err = {0};

    (void)state;
    part.n = 0;
    part.sets = UINT64_MAX;
    part.name = "none";
    assert_int_equal(carry(&new_part, &part, true, &err), 0);
}

static void test_find(void **state)
{
    struct form_part one = old_part;
    struct form *form;
    uint64_t at;
    uint32_t len;

    (void)state;
    one.n = 1;
    form = form_of(&one, 1);
    assert_true(form_find(form, "thing", "narrow", &at, &len));
    assert_int_equal(at, OLD_AT + offsetof(struct old, narrow));
    assert_int_equal(len, 2);
    assert_false(form_find(form, "thing", "half", &at, &len));
    assert_false(form_find(form, "other", "narrow", &at, &len));
    form_free(form);
}

/* ---- from outside ---- */

static void unreadable(const struct form_part *part)
{
    size_t len = form_len(part, 1);
    void *text = malloc(len);
    struct form *form;
    struct err err = {0};

    form_write(part, 1, text);
    assert_int_equal(form_read(text, len, SIZE, &form, &err), -EPROTO);
    free(text);
}

static void with_field(struct form_field field)
{
    struct form_part part = old_part;

    part.fields = &field;
    part.n_fields = 1;
    unreadable(&part);
}

static void test_what_makes_no_sense(void **state)
{
    struct form_part part;

    (void)state;
#define WITH(member, value)                                                                        \
    part = old_part;                                                                               \
    part.member = value;                                                                           \
    unreadable(&part)
    WITH(at, SIZE);
    WITH(at, UINT64_MAX);
    WITH(n, UINT64_MAX);
    WITH(n, SIZE);
    WITH(stride, 0);
    WITH(stride, UINT64_MAX / 2);
    WITH(sets, 0);
    WITH(sets, 2);
    WITH(len, 0);
    WITH(len, UINT64_MAX);
    WITH(name, "");
    WITH(name, "a\nb");
    with_field((struct form_field){"f", 0, 0, 1, 0, FORM_UINT});
    with_field((struct form_field){"f", 0, 3, 1, 0, FORM_UINT});
    with_field((struct form_field){"f", 0, 4, 0, 0, FORM_UINT});
    with_field((struct form_field){"f", sizeof(struct old), 4, 1, 0, FORM_UINT});
    with_field((struct form_field){"f", 0, 4, 1u << 31, 0, FORM_UINT});
    with_field((struct form_field){"f", 0, 4, 2, UINT32_MAX, FORM_UINT});
    with_field((struct form_field){"f", UINT32_MAX, UINT32_MAX, 1, 0, FORM_BYTES});
    with_field((struct form_field){"f", 0, 4, 1, 0, FORM_KINDS});
    with_field((struct form_field){"f", 0, 4, 1, 0, 1u << 30});
    with_field((struct form_field){"\x1b[2J", 0, 4, 1, 0, FORM_UINT});
}

static void test_cut(void **state)
{
    size_t len = form_len(&old_part, 1);
    uint8_t *text = malloc(len), *copy;
    struct form *form;

    (void)state;
    form_write(&old_part, 1, text);
    for (size_t n = 0; n < len; n++) {
        copy = malloc(n + 1);
        memcpy(copy, text, n);
        assert_int_equal(form_read(copy, n, SIZE, &form, NULL), -EPROTO);
        free(copy);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_another_layout, fill),
        cmocka_unit_test_setup(test_back, fill),
        cmocka_unit_test_setup(test_what_does_not_fit, fill),
        cmocka_unit_test_setup(test_other_forms, fill),
        cmocka_unit_test_setup(test_holes, fill),
        cmocka_unit_test_setup(test_empty_sets, fill),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_what_makes_no_sense),
        cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
