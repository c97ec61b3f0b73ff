/* Memory that describes itself, so that a program of another version can read it, and carry what is
 * in it over to memory of its own form: entry by entry, field by field, by their names.
 *
 * A form is a list of parts; a part is one struct, or an array of them; a part has fields. It is
 * written into the memory that it describes. Whoever reads it checks it like any bytes from
 * outside: nothing that it says leads out of the memory.
 *
 * What is carried: a field that both have. One that only the new form has keeps what is there (the
 * caller has initialised it). One that only the old form has must be zero everywhere, unless it is
 * a hint: something would be lost. So whoever changes what a field means gives it another name, and
 * that is refused where it matters. */
#ifndef BASE_FORM_H
#define BASE_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FORM_NAME_MAX 40 /* of a part, of a field; with NUL */
#define FORM_PARTS_MAX 64
#define FORM_FIELDS_MAX 1024 /* of all parts */

enum form_kind {
    FORM_UINT,  /* may have another size, if the values fit */
    FORM_INT,   /* signed: of one size */
    FORM_BYTES, /* a text, bits, another's struct: may be longer, and then ends with zeroes */
    FORM_UNION, /* followed by its alternatives, which must be the same in both forms */
    FORM_ALT,   /* a field of an alternative */
    FORM_OWN,   /* of this memory alone: described, and not carried */
    FORM_PAD,   /* nothing, or what another part describes */
    FORM_FD,    /* a descriptor: as FORM_INT, but -1 is none, so nothing is lost with it */
    FORM_KINDS
};

#define FORM_HINT 0x100u /* beside a kind: may be lost */

struct form_field {
    const char *name;
    uint32_t off;  /* in its entry */
    uint32_t size; /* of one */
    uint32_t n;    /* so many of them, each `stride` after the one before */
    uint32_t stride;
    uint32_t kind; /* enum form_kind, FORM_HINT */
};

/* `sets` arrays, each `set_stride` after the one before, of n entries of `len` bytes, each `stride`
 * after the one before. Without fields it is bytes, which have no form. */
struct form_part {
    const char *name;
    uint64_t at; /* in the memory */
    uint64_t sets, set_stride;
    uint64_t n, stride, len;
    const struct form_field *fields;
    uint32_t n_fields;
};

/* ---- rows of form_field ---- */

#define FORM_KIND_OF(lvalue)                                                                       \
    _Generic((lvalue), bool                                                                        \
             : FORM_UINT, uint8_t                                                                  \
             : FORM_UINT, uint16_t                                                                 \
             : FORM_UINT, uint32_t                                                                 \
             : FORM_UINT, uint64_t                                                                 \
             : FORM_UINT, unsigned long long                                                       \
             : FORM_UINT, int32_t                                                                  \
             : FORM_INT, int64_t                                                                   \
             : FORM_INT, default                                                                   \
             : FORM_BYTES)

#define FORM_OF(type, member) (((type *)0)->member)

/* A member. */
#define FORM_FIELD(type, member)                                                                   \
    {                                                                                              \
#member, offsetof(type, member), sizeof(FORM_OF(type, member)), 1, 0,                      \
            FORM_KIND_OF(FORM_OF(type, member))                                                    \
    }

/* The same, but what it is, is said. */
#define FORM_FIELD_AS(type, member, kind)                                                          \
    {                                                                                              \
#member, offsetof(type, member), sizeof(FORM_OF(type, member)), 1, 0, kind                 \
    }

/* An array of numbers. */
#define FORM_ARRAY(type, member)                                                                   \
    {                                                                                              \
#member, offsetof(type, member), sizeof(FORM_OF(type, member[0])),                         \
            sizeof(FORM_OF(type, member)) / sizeof(FORM_OF(type, member[0])),                      \
            sizeof(FORM_OF(type, member[0])), FORM_KIND_OF(FORM_OF(type, member[0]))               \
    }

#define FORM_ARRAY_AS(type, member, kind)                                                          \
    {                                                                                              \
#member, offsetof(type, member), sizeof(FORM_OF(type, member[0])),                         \
            sizeof(FORM_OF(type, member)) / sizeof(FORM_OF(type, member[0])),                      \
            sizeof(FORM_OF(type, member[0])), kind                                                 \
    }

/* A member of each struct of an array. */
#define FORM_EACH_AS(type, array, member, kind)                                                    \
    {                                                                                              \
#array "." #member, offsetof(type, array[0].member),                                       \
            sizeof(FORM_OF(type, array[0].member)),                                                \
            sizeof(FORM_OF(type, array)) / sizeof(FORM_OF(type, array[0])),                        \
            sizeof(FORM_OF(type, array[0])), kind                                                  \
    }
#define FORM_EACH(type, array, member)                                                             \
    FORM_EACH_AS(type, array, member, FORM_KIND_OF(FORM_OF(type, array[0].member)))

/* A member of an alternative of a union. */
#define FORM_IN_UNION(type, member) FORM_FIELD_AS(type, member, FORM_ALT)

/* What is between two members, without a name. */
#define FORM_BETWEEN(type, first, next, kind)                                                      \
    {                                                                                              \
#first, offsetof(type, first), offsetof(type, next) - offsetof(type, first), 1, 0, kind    \
    }

/* ---- writing ---- */

/* The bytes that the form of these parts takes. */
size_t form_len(const struct form_part *parts, unsigned n_parts);

/* Writes it: form_len bytes. */
void form_write(const struct form_part *parts, unsigned n_parts, void *out);

/* ---- reading ---- */

struct form;

/* Checks a form of `len` bytes, of a memory of `size` bytes, and copies it. 0 and *ret, which the
 * caller frees (form_free); -EPROTO with *err, -ENOMEM. */
must_use int form_read(const void *data, size_t len, uint64_t size, struct form **ret,
                       struct err *err);

/* NULL is allowed. */
void form_free(struct form *form);

/* Where a field of the only entry of a part is: false if there is none. */
must_use bool form_find(const struct form *form, const char *part, const char *field,
                        uint64_t *ret_at, uint32_t *ret_size);

/* ---- carrying ---- */

/* The memory that a form describes. */
struct form_memory {
    const struct form *form;
    uint8_t *base;
    /* a bit for each page (1 << page_shift bytes) that has been touched: all else is zero; NULL:
     * all of them */
    const uint64_t *touched;
    unsigned page_shift;
};

/* Whether what is in `from` can be carried over to `to`, whose base may be NULL. It may be changing
 * meanwhile. 0; -EXDEV with *err: it cannot; -ENOMEM. */
must_use int form_check_carry(const struct form_memory *to, const struct form_memory *from,
                              struct err *err);

/* Carries it over. Results as form_check_carry. */
must_use int form_carry(const struct form_memory *to, const struct form_memory *from,
                        struct err *err);

#endif
