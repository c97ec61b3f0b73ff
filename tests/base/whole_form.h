/* For the tests of lists of fields: no byte of the struct is forgotten. Fails the test that
 * runs. */
#ifndef TESTS_BASE_WHOLE_FORM_H
#define TESTS_BASE_WHOLE_FORM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/form.h"

#define WHOLE_UNION_TAIL 8 /* bytes with which the longest alternative may end */

static inline void whole_mark(uint8_t *seen, const struct form_field *f, size_t len)
{
    for (uint32_t i = 0; i < f->n; i++) {
        size_t at = f->off + (size_t)i * f->stride;

        assert_true(at + f->size <= len);
        for (size_t k = at; k < at + f->size; k++)
            seen[k]++;
    }
}

/* Every byte is in one field. */
static inline void whole_struct(const struct form_part *p)
{
    uint8_t *seen = calloc(1, p->len);

    for (uint32_t i = 0; i < p->n_fields; i++) {
        if (p->fields[i].kind != FORM_ALT)
            whole_mark(seen, &p->fields[i], p->len);
    }
    for (size_t i = 0; p->n_fields && i < p->len; i++) {
        if (seen[i] != 1)
            fail_msg("%s: byte %zu is in %u fields", p->name, i, seen[i]);
    }
    free(seen);
}

/* Each byte of a union is in an alternative. */
static inline void whole_unions(const struct form_part *p)
{
    uint8_t *seen = calloc(1, p->len);

    for (uint32_t i = 0; i < p->n_fields; i++) {
        if (p->fields[i].kind == FORM_ALT)
            whole_mark(seen, &p->fields[i], p->len);
    }
    for (uint32_t i = 0; i < p->n_fields; i++) {
        const struct form_field *f = &p->fields[i];
        size_t in = 0;

        for (size_t k = f->off; f->kind == FORM_UNION && k < f->off + f->size; k++)
            in += seen[k] > 0;
        if (f->kind == FORM_UNION && in + WHOLE_UNION_TAIL < f->size)
            fail_msg("%s.%s: %zu bytes of %u are in alternatives", p->name, f->name, in, f->size);
    }
    free(seen);
}

static inline void whole_names(const struct form_part *p)
{
    for (uint32_t i = 0; i < p->n_fields; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (p->fields[i].kind != FORM_PAD && p->fields[i].kind != FORM_ALT &&
                strcmp(p->fields[i].name, p->fields[k].name) == 0)
                fail_msg("%s.%s twice", p->name, p->fields[i].name);
        }
    }
}

static inline void whole_form(const struct form_part *parts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        whole_struct(&parts[i]);
        whole_unions(&parts[i]);
        whole_names(&parts[i]);
    }
}

#endif
