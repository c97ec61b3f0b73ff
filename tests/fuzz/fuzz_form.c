/* base/form.h: a form that somebody else has written, of memory that is exactly as long as it may
 * lead, and carrying from there. */
#include "tests/fuzz/fuzz.h"

#include "base/form.h"

#define SIZE 2048

struct thing {
    uint64_t a;
    uint32_t b;
    int32_t c;
    char text[24];
    uint16_t numbers[4];
};

static const struct form_field fields[] = {
    FORM_FIELD(struct thing, a),    FORM_FIELD(struct thing, b),       FORM_FIELD(struct thing, c),
    FORM_FIELD(struct thing, text), FORM_ARRAY(struct thing, numbers),
};

#define N (SIZE / sizeof(struct thing))

static const struct form_part parts[] = {
    {"thing", 0, 2, SIZE / 2, N / 2, sizeof(struct thing), sizeof(struct thing), fields, 5},
};

static struct form *own;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    size_t len = form_len(parts, 1);
    uint8_t *text = malloc(len);

    (void)argc, (void)argv;
    fuzz_check(text);
    form_write(parts, 1, text);
    fuzz_check(form_read(text, len, SIZE, &own, NULL) == 0);
    free(text);
    return 0;
}

static void carry(const struct form *form)
{
    uint8_t *old = malloc(SIZE), *new = malloc(SIZE);
    struct form_memory from = {.form = form, .base = old}, to = {.form = own, .base = new};
    struct err err = {0}, look = {0};
    int r;

    fuzz_check(old && new);
    for (unsigned i = 0; i < SIZE; i++)
        old[i] = i % 3 ? 0 : (uint8_t)(i / 7);
    memset(new, 0, SIZE);
    r = form_check_carry(&to, &from, &look);
    fuzz_check(form_carry(&to, &from, &err) == r);
    fuzz_check(r == 0 || strcmp(err.text, look.text) == 0);
    fuzz_check_text(err.text);
    free(old);
    free(new);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *text = fuzz_copy(data, size);
    struct form *form = NULL;
    struct err err = {0};
    uint64_t at;
    uint32_t len;

    if (form_read(text, size, SIZE, &form, &err) == 0) {
        if (form_find(form, "thing", "b", &at, &len))
            fuzz_check(at + len <= SIZE);
        carry(form);
    } else {
        fuzz_check_text(err.text);
    }
    form_free(form);
    free(text);
    return 0;
}
