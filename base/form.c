/* Forms: written, read, and carried over. What the tables of the segment look like is not here but
 * in shm/shm_form.c. */
#include "base/form.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FORM_MAGIC UINT64_C(0x314d524f46505453) /* "STPFORM1" */
#define FORM_KIND(f) ((f)->kind & 0xffu)

/* As it is written. */
struct wire_head {
    uint64_t magic;
    uint32_t n_parts, n_fields;
};

struct wire_part {
    char name[FORM_NAME_MAX];
    uint64_t at;
    uint64_t sets, set_stride;
    uint64_t n, stride, len;
    uint32_t first, n_fields; /* of the fields */
};

struct wire_field {
    char name[FORM_NAME_MAX];
    uint32_t off, size, n, stride, kind;
    uint32_t zero;
};

static_assert(sizeof(struct wire_head) == 16 && sizeof(struct wire_part) == 96 &&
                  sizeof(struct wire_field) == 64,
              "no holes: forms are compared whole");

struct form {
    uint32_t n_parts, n_fields;
    struct wire_part *parts;
    struct wire_field *fields;
};

/* ---- writing ---- */

static unsigned fields_of(const struct form_part *p)
{
    return p->n_fields ? p->n_fields : 1;
}

static unsigned count_fields(const struct form_part *parts, unsigned n_parts)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_parts; i++)
        n += fields_of(&parts[i]);
    return n;
}

static size_t form_bytes(uint64_t n_parts, uint64_t n_fields)
{
    return sizeof(struct wire_head) + n_parts * sizeof(struct wire_part) +
           n_fields * sizeof(struct wire_field);
}

size_t form_len(const struct form_part *parts, unsigned n_parts)
{
    return form_bytes(n_parts, count_fields(parts, n_parts));
}

static void put_name(char out[FORM_NAME_MAX], const char *name)
{
    assert(strlen(name) < FORM_NAME_MAX);
    memcpy(out, name, strlen(name));
}

static void put_field(struct wire_field *w, const struct form_field *f)
{
    *w = (struct wire_field){
        .off = f->off, .size = f->size, .n = f->n, .stride = f->stride, .kind = f->kind};
    put_name(w->name, f->name);
}

static void put_part(struct wire_part *w, const struct form_part *p, uint32_t first)
{
    *w = (struct wire_part){.at = p->at,
                            .sets = p->sets,
                            .set_stride = p->set_stride,
                            .n = p->n,
                            .stride = p->stride,
                            .len = p->len,
                            .first = first,
                            .n_fields = fields_of(p)};
    put_name(w->name, p->name);
}

void form_write(const struct form_part *parts, unsigned n_parts, void *out)
{
    struct wire_head head = {FORM_MAGIC, n_parts, count_fields(parts, n_parts)};
    struct wire_part *to = (void *)((uint8_t *)out + sizeof(head));
    struct wire_field *fields = (void *)(to + n_parts);
    uint32_t at = 0;

    memcpy(out, &head, sizeof(head));
    for (unsigned i = 0; i < n_parts; i++) {
        const struct form_part *p = &parts[i];
        const struct form_field bytes = {"bytes", 0, (uint32_t)p->len, 1, 0, FORM_BYTES};

        put_part(&to[i], p, at);
        for (unsigned k = 0; k < fields_of(p); k++)
            put_field(&fields[at++], p->n_fields ? &p->fields[k] : &bytes);
    }
}

/* ---- reading ---- */

/* Names are shown to the operator. */
static bool is_name(const char name[FORM_NAME_MAX])
{
    size_t len = strnlen(name, FORM_NAME_MAX);

    for (size_t i = 0; i < len; i++) {
        if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') &&
            !strchr("_.[]", name[i]))
            return false;
    }
    return len > 0 && len < FORM_NAME_MAX;
}

/* The end of n times `len` bytes, each `stride` after the one before, from `at` on. False: they
 * overlap, or are beyond all numbers. */
static bool array_end(uint64_t at, uint64_t n, uint64_t stride, uint64_t len, uint64_t *ret)
{
    uint64_t span = 0;

    if (n > 1 && (stride < len || __builtin_mul_overflow(n - 1, stride, &span)))
        return false;
    return !__builtin_add_overflow(at, span, ret) && !__builtin_add_overflow(*ret, len, ret);
}

static bool field_is_right(const struct wire_field *f, uint64_t len)
{
    uint32_t kind = FORM_KIND(f);
    uint64_t end;
    bool number = kind == FORM_UINT || kind == FORM_INT || kind == FORM_FD;

    return is_name(f->name) && f->size && f->n && kind < FORM_KINDS &&
           (f->kind & ~(0xffu | FORM_HINT)) == 0 && !f->zero &&
           (!number || f->size == 1 || f->size == 2 || f->size == 4 || f->size == 8) &&
           array_end(f->off, f->n, f->stride, f->size, &end) && end <= len;
}

static bool part_is_right(const struct form *form, const struct wire_part *p, uint64_t size)
{
    uint64_t set, end;

    if (!is_name(p->name) || !p->len || !p->sets || p->first > form->n_fields || !p->n_fields ||
        p->n_fields > form->n_fields - p->first)
        return false;
    if (p->n && (!array_end(0, p->n, p->stride, p->len, &set) ||
                 !array_end(p->at, p->sets, p->set_stride, set, &end) || end > size))
        return false;
    for (uint32_t i = 0; i < p->n_fields; i++) {
        if (!field_is_right(&form->fields[p->first + i], p->len))
            return false;
    }
    return true;
}

static int form_copy(const struct wire_head *head, const void *data, struct form **ret)
{
    size_t parts = head->n_parts * sizeof(struct wire_part);
    size_t fields = head->n_fields * sizeof(struct wire_field);
    struct form *form = malloc(sizeof(*form) + parts + fields);

    if (!form)
        return -ENOMEM;
    form->n_parts = head->n_parts;
    form->n_fields = head->n_fields;
    form->parts = (void *)(form + 1);
    form->fields = (void *)(form->parts + form->n_parts);
    memcpy(form->parts, (const uint8_t *)data + sizeof(*head), parts + fields);
    *ret = form;
    return 0;
}

int form_read(const void *data, size_t len, uint64_t size, struct form **ret, struct err *err)
{
    struct wire_head head = {0};
    struct form *form;

    if (len >= sizeof(head))
        memcpy(&head, data, sizeof(head));
    if (head.magic != FORM_MAGIC || head.n_parts > FORM_PARTS_MAX ||
        head.n_fields > FORM_FIELDS_MAX || form_bytes(head.n_parts, head.n_fields) != len)
        return err_set(err, EPROTO, "it does not say how it is laid out");
    if (form_copy(&head, data, &form) < 0)
        return err_set(err, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < form->n_parts; i++) {
        if (!part_is_right(form, &form->parts[i], size)) {
            form_free(form);
            return err_set(err, EPROTO, "what it says of its layout makes no sense (part %u)", i);
        }
    }
    *ret = form;
    return 0;
}

void form_free(struct form *form)
{
    free(form);
}

static const struct wire_part *part_named(const struct form *form, const char *name)
{
    for (uint32_t i = 0; i < form->n_parts; i++) {
        if (strcmp(form->parts[i].name, name) == 0)
            return &form->parts[i];
    }
    return NULL;
}

/* Not one of an alternative: these are found with their union. */
static const struct wire_field *field_named(const struct form *form, const struct wire_part *p,
                                            const char *name)
{
    const struct wire_field *f = &form->fields[p->first];

    for (uint32_t i = 0; i < p->n_fields; i++) {
        if (FORM_KIND(&f[i]) != FORM_ALT && strcmp(f[i].name, name) == 0)
            return &f[i];
    }
    return NULL;
}

bool form_find(const struct form *form, const char *part, const char *field, uint64_t *ret_at,
               uint32_t *ret_size)
{
    const struct wire_part *p = part_named(form, part);
    const struct wire_field *f = p && p->n ? field_named(form, p, field) : NULL;

    if (!f)
        return false;
    *ret_at = p->at + f->off;
    *ret_size = f->size;
    return true;
}

/* ---- carrying ---- */

/* One field of an entry. `to` NULL: it is lost, and must be zero. */
struct step {
    const struct wire_field *from, *to;
};

struct carrying {
    const struct form_memory *to, *from;
    const struct wire_part *to_part, *from_part; /* to_part NULL: the new form has none of it */
    struct step step[FORM_FIELDS_MAX];
    unsigned n;
    bool dry; /* nothing is stored */
    struct err *err;
};

static bool is_touched(const struct form_memory *m, uint64_t at, uint64_t len)
{
    if (!m->touched)
        return true;
    for (uint64_t p = at >> m->page_shift; p <= (at + len - 1) >> m->page_shift; p++) {
        if (m->touched[p / 64] >> p % 64 & 1)
            return true;
    }
    return false;
}

static int refuse(const struct carrying *c, const struct wire_field *f, const char *why)
{
    return err_set(c->err, EXDEV, "%s.%s %s", c->from_part->name, f->name, why);
}

static bool is_carried(const struct wire_field *f)
{
    uint32_t kind = FORM_KIND(f);

    return kind != FORM_ALT && kind != FORM_OWN && kind != FORM_PAD;
}

static const struct wire_field *end_of(const struct form *form, const struct wire_part *p)
{
    return &form->fields[p->first + p->n_fields];
}

/* The alternatives of a union say the same. */
static bool same_union(const struct carrying *c, const struct wire_field *a,
                       const struct wire_field *b)
{
    const struct wire_field *a_end = end_of(c->from->form, c->from_part);
    const struct wire_field *b_end = end_of(c->to->form, c->to_part);
    uint32_t a_off = a->off, b_off = b->off;

    if (a->size != b->size)
        return false;
    for (a++, b++; a < a_end && FORM_KIND(a) == FORM_ALT; a++, b++) {
        if (b == b_end || FORM_KIND(b) != FORM_ALT || strcmp(a->name, b->name) != 0 ||
            a->off - a_off != b->off - b_off || a->size != b->size || a->n != b->n ||
            a->stride != b->stride)
            return false;
    }
    return b == b_end || FORM_KIND(b) != FORM_ALT;
}

static bool fits_in_form(const struct carrying *c, const struct wire_field *a,
                         const struct wire_field *b)
{
    uint32_t kind = FORM_KIND(a);

    if (kind != FORM_KIND(b) || a->n != b->n)
        return false;
    if (kind == FORM_INT || kind == FORM_FD)
        return a->size == b->size;
    return kind == FORM_UNION ? same_union(c, a, b) : true;
}

static int plan_field(struct carrying *c, const struct wire_field *f)
{
    bool hint = f->kind & FORM_HINT;
    const struct wire_field *to = c->to_part ? field_named(c->to->form, c->to_part, f->name) : NULL;

    if (to && (!is_carried(to) || !fits_in_form(c, f, to))) {
        if (!hint)
            return refuse(c, f, "has another form in this version");
        to = NULL;
    }
    if (to || !hint)
        c->step[c->n++] = (struct step){f, to};
    return 0;
}

static int plan_part(struct carrying *c, const struct wire_part *from)
{
    const struct wire_part *to = part_named(c->to->form, from->name);

    c->from_part = from;
    c->to_part = to;
    c->n = 0;
    for (uint32_t i = 0; i < from->n_fields; i++) {
        const struct wire_field *f = &c->from->form->fields[from->first + i];
        int r = is_carried(f) ? plan_field(c, f) : 0;

        if (r < 0)
            return r;
    }
    if (c->n && to && (to->n != from->n || to->sets != from->sets))
        return err_set(c->err, EXDEV, "%s has %llu entries, and %llu in this version", from->name,
                       (unsigned long long)from->n, (unsigned long long)to->n);
    return 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i])
            return false;
    }
    return true;
}

static bool is_unused(const struct wire_field *f, const uint8_t *p)
{
    size_t ones = 0;

    while (FORM_KIND(f) == FORM_FD && ones < f->size && p[ones] == 0xff)
        ones++;
    return ones == f->size || all_zero(p, f->size);
}

static uint64_t get_uint(const uint8_t *p, uint32_t size)
{
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;

    switch (size) {
    case 1:
        return *p;
    case 2:
        memcpy(&v16, p, sizeof(v16));
        return v16;
    case 4:
        memcpy(&v32, p, sizeof(v32));
        return v32;
    default:
        memcpy(&v64, p, sizeof(v64));
        return v64;
    }
}

static void put_uint(uint8_t *p, uint32_t size, uint64_t v)
{
    const uint16_t v16 = (uint16_t)v;
    const uint32_t v32 = (uint32_t)v;

    switch (size) {
    case 1:
        *p = (uint8_t)v;
        break;
    case 2:
        memcpy(p, &v16, sizeof(v16));
        break;
    case 4:
        memcpy(p, &v32, sizeof(v32));
        break;
    default:
        memcpy(p, &v, sizeof(v));
    }
}

/* False: it does not fit. `to` NULL: only whether it does. */
static bool carry_uint(uint8_t *to, uint32_t to_size, const uint8_t *from, uint32_t from_size)
{
    uint64_t v = get_uint(from, from_size);

    if (to_size < 8 && v >> (8 * to_size))
        return false;
    if (to)
        put_uint(to, to_size, v);
    return true;
}

static bool carry_bytes(uint8_t *to, uint32_t to_size, const uint8_t *from, uint32_t from_size)
{
    uint32_t both = from_size < to_size ? from_size : to_size;

    if (!all_zero(from + both, from_size - both))
        return false;
    if (to) {
        memcpy(to, from, both);
        memset(to + both, 0, to_size - both);
    }
    return true;
}

/* Whether a look at the bytes is needed before they are carried. */
static bool may_not_fit(const struct step *s)
{
    return !s->to || s->to->size < s->from->size;
}

static int carry_one(const struct carrying *c, const struct step *s, uint64_t from_at,
                     uint64_t to_at)
{
    const uint8_t *from = c->from->base + from_at;
    uint8_t *to = c->dry ? NULL : c->to->base + to_at;

    if (!s->to)
        return is_unused(s->from, from)
                   ? 0
                   : refuse(c, s->from, "is in use, and unknown to this version");
    if (s->from->size == s->to->size) {
        if (to)
            memcpy(to, from, s->to->size);
        return 0;
    }
    if (FORM_KIND(s->from) == FORM_UINT ? carry_uint(to, s->to->size, from, s->from->size)
                                        : carry_bytes(to, s->to->size, from, s->from->size))
        return 0;
    return refuse(c, s->from, "has more than fits into that of this version");
}

static int carry_field(const struct carrying *c, const struct step *s, uint64_t from_at,
                       uint64_t to_at)
{
    int r = 0;

    if (c->dry && !may_not_fit(s))
        return 0;
    from_at += s->from->off;
    to_at += s->to ? s->to->off : 0;
    for (uint32_t i = 0; r == 0 && i < s->from->n; i++) {
        if (s->from->n == 1 || is_touched(c->from, from_at, s->from->size) ||
            (s->to && !c->dry && is_touched(c->to, to_at, s->to->size)))
            r = carry_one(c, s, from_at, to_at);
        from_at += s->from->stride;
        to_at += s->to ? s->to->stride : 0;
    }
    return r;
}

static int carry_entry(const struct carrying *c, uint64_t from_at, uint64_t to_at)
{
    int r = 0;

    if (!is_touched(c->from, from_at, c->from_part->len) &&
        (!c->to_part || c->dry || !is_touched(c->to, to_at, c->to_part->len)))
        return 0;
    for (unsigned i = 0; r == 0 && i < c->n; i++)
        r = carry_field(c, &c->step[i], from_at, to_at);
    return r;
}

static bool part_needs_a_look(const struct carrying *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (may_not_fit(&c->step[i]))
            return true;
    }
    return false;
}

static int carry_part(struct carrying *c, const struct wire_part *from)
{
    int r = plan_part(c, from);

    if (r < 0 || !from->n || !c->n || (c->dry && !part_needs_a_look(c)))
        return r;
    for (uint64_t set = 0; r == 0 && set < from->sets; set++) {
        uint64_t from_at = from->at + set * from->set_stride;
        uint64_t to_at = c->to_part ? c->to_part->at + set * c->to_part->set_stride : 0;

        for (uint64_t i = 0; r == 0 && i < from->n; i++) {
            r = carry_entry(c, from_at, to_at);
            from_at += from->stride;
            to_at += c->to_part ? c->to_part->stride : 0;
        }
    }
    return r;
}

static int carry_all(const struct form_memory *to, const struct form_memory *from, bool dry,
                     struct err *err)
{
    struct carrying *c = calloc(1, sizeof(*c));
    int r = 0;

    if (!c)
        return err_set(err, ENOMEM, "out of memory");
    c->to = to;
    c->from = from;
    c->dry = dry;
    c->err = err;
    for (uint32_t i = 0; r == 0 && i < from->form->n_parts; i++)
        r = carry_part(c, &from->form->parts[i]);
    free(c);
    return r;
}

int form_check_carry(const struct form_memory *to, const struct form_memory *from, struct err *err)
{
    return carry_all(to, from, true, err);
}

int form_carry(const struct form_memory *to, const struct form_memory *from, struct err *err)
{
    return carry_all(to, from, false, err);
}
