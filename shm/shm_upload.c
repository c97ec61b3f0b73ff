/* The table of multipart uploads, and how a file is divided into parts. */
#include "shm/shm_upload.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/min.h"
#include "shm/shm_patch.h"
#include "shm/shm_session.h"

#define MIB (UINT64_C(1) << 20)

size_t shm_upload_size(const struct shm_sizes *s)
{
    return (size_t)s->sessions * sizeof(struct shm_upload);
}

const struct shm_upload *shm_upload_at(struct shm *shm, uint32_t session)
{
    assert(session < shm->header->sizes.sessions);
    return &shm->uploads[session];
}

static struct shm_upload *upload_edit(struct shm *shm, uint32_t session)
{
    struct shm_upload *u = &shm->uploads[session];

    assert(session < shm->header->sizes.sessions);
    shm_save(shm, shm->meta, u, offsetof(struct shm_upload, key));
    return u;
}

/* ---- parts of a file ---- */

/* Parts of a file whose size is not known: how many have which multiple of the first size. */
static const struct {
    uint32_t parts;
    uint32_t times;
} growth[] = {
    {5000, 1}, {2000, 2}, {1000, 4},  {100, 8},   {100, 16},
    {100, 32}, {100, 64}, {100, 128}, {100, 256}, {SHM_UPLOAD_PARTS, 1024},
};

#define GROWTHS (sizeof(growth) / sizeof(growth[0]))

/* Size of the parts of step `i`, and how many there are. */
static uint64_t step(const struct shm_upload_plan *plan, size_t i, uint32_t *ret_parts)
{
    if (!plan->grows) {
        *ret_parts = SHM_UPLOAD_PARTS;
        return plan->part_size;
    }
    *ret_parts = growth[i].parts;
    return min_u64(plan->part_size * growth[i].times, SHM_UPLOAD_PART_MAX);
}

/* Offset and size of a full part; no limit on `no`. */
static uint64_t full_part(const struct shm_upload_plan *plan, uint32_t no, uint64_t *ret_len)
{
    uint64_t off = 0;
    uint32_t parts = 0;

    *ret_len = 0;
    for (size_t i = 0; i < GROWTHS; i++) {
        *ret_len = step(plan, i, &parts);
        if (no < parts || i == GROWTHS - 1)
            break;
        off += parts * *ret_len;
        no -= parts;
    }
    return off + no * *ret_len;
}

/* The number of parts in which `base` bytes are copied: equal ones, so that none is too small. */
static uint32_t copies_of(uint64_t base)
{
    return (uint32_t)((base + SHM_UPLOAD_PART_MAX - 1) / SHM_UPLOAD_PART_MAX);
}

struct shm_upload_plan shm_upload_plan(uint64_t part_size, bool grows, uint64_t base)
{
    return (struct shm_upload_plan){
        .part_size = part_size, .base = base, .grows = grows, .copies = copies_of(base)};
}

static void range_of_copy(const struct shm_upload_plan *plan, uint32_t no, uint64_t *ret_off,
                          uint64_t *ret_len)
{
    uint64_t each = plan->base / plan->copies;

    *ret_off = no * each;
    *ret_len = no + 1 == plan->copies ? plan->base - *ret_off : each;
}

bool shm_upload_range(const struct shm_upload_plan *plan, uint32_t no, uint64_t size,
                      uint64_t *ret_off, uint64_t *ret_len)
{
    uint64_t len, off;

    if (no < plan->copies) {
        range_of_copy(plan, no, ret_off, ret_len);
        return true;
    }
    off = plan->base + full_part(plan, no - plan->copies, &len);
    if (off >= size && no > 0)
        return false;
    *ret_off = off;
    *ret_len = min_u64(len, size - off);
    return true;
}

/* Parts of `size` bytes that are not copied. */
static uint32_t parts_of(const struct shm_upload_plan *plan, uint64_t size)
{
    uint32_t n = 0;

    for (size_t i = 0; i < GROWTHS; i++) {
        uint32_t parts;
        uint64_t len = step(plan, i, &parts), left = (size + len - 1) / len;

        if (left <= parts || !plan->grows)
            return n + (uint32_t)min_u64(left, SHM_UPLOAD_PARTS + 1);
        n += parts;
        size -= parts * len;
    }
    return SHM_UPLOAD_PARTS + 1;
}

uint32_t shm_upload_parts(const struct shm_upload_plan *plan, uint64_t size)
{
    uint32_t n = plan->copies;

    if (plan->patch)
        return plan->patch;
    n += parts_of(plan, size > plan->base ? size - plan->base : 0);

    return n ? n : 1;
}

uint64_t shm_upload_part_size(uint64_t size, uint64_t least)
{
    uint64_t share = (size + SHM_UPLOAD_PARTS - 1) / SHM_UPLOAD_PARTS;

    share = (share + MIB - 1) / MIB * MIB;
    return share > least ? share : least;
}

/* ---- the state of an upload ---- */

void shm_upload_open(struct shm *shm, uint32_t session, const struct shm_upload_new *new)
{
    struct shm_upload *u = &shm->uploads[session];
    uint32_t serial = u->serial + 1;

    assert(!u->open);
    shm_save(shm, shm->meta, u, offsetof(struct shm_upload, part));
    memset(u, 0, offsetof(struct shm_upload, part));
    u->open = 1;
    u->serial = serial;
    u->plan = new->plan;
    u->digest = new->digest;
    if (new->write_id)
        memcpy(u->write_id, new->write_id, strnlen(new->write_id, sizeof(u->write_id) - 1));
    u->seq = new->seq;
    u->opened_ns = new->opened_ns;
    if (new->base_etag)
        shm_etag_copy(u->base_etag, new->base_etag);
    u->checksum = new->checksum;
    memcpy(u->key, new->key, strnlen(new->key, sizeof(u->key) - 1));
    memcpy(u->id, new->id, strnlen(new->id, sizeof(u->id) - 1));
}

void shm_upload_end(struct shm *shm, uint32_t session)
{
    struct shm_upload *u;

    if (!shm_upload_at(shm, session)->open)
        return;
    u = upload_edit(shm, session);
    u->open = 0;
    u->serial++;
    u->sending = 0;
}

static enum shm_part_state state_of(const struct shm_upload *u, uint32_t no)
{
    const struct shm_upload_part *part = &u->part[no];

    return part->serial == u->serial ? (enum shm_part_state)part->state : SHM_PART_NONE;
}

static struct shm_upload_part *part_edit(struct shm *shm, uint32_t session, uint32_t no)
{
    struct shm_upload_part *part = &shm->uploads[session].part[no];

    shm_save(shm, shm->meta, part, sizeof(*part));
    return part;
}

bool shm_upload_is_whole(const struct shm_upload *u, uint32_t no, uint64_t size)
{
    uint64_t off, len;

    return u->plan.patch || /* (while there is one the content does not change) */
           (shm_upload_range(&u->plan, no, size, &off, &len) && u->part[no].len == len);
}

void shm_upload_grown(struct shm *shm, uint32_t session, uint64_t size)
{
    const struct shm_upload *now = shm_upload_at(shm, session);
    uint32_t no = now->taken - 1;
    struct shm_upload *u;

    if (!now->open || !now->taken || state_of(now, no) != SHM_PART_DONE ||
        shm_upload_is_whole(now, no, size))
        return;
    part_edit(shm, session, no)->state = SHM_PART_NONE;
    u = upload_edit(shm, session);
    u->next = min_u32(u->next, no);
    u->prefix = min_u32(u->prefix, no);
}

/* From the first part that may be one of those: the next to be sent. */
static uint32_t find_part(const struct shm_upload *u, uint32_t limit, enum shm_upload_take which)
{
    uint32_t no = which == SHM_UPLOAD_ALL ? u->prefix : u->next;

    while (no < limit && no < u->taken && state_of(u, no) != SHM_PART_NONE &&
           (which != SHM_UPLOAD_ALL || state_of(u, no) != SHM_PART_CHANGED))
        no++;
    return no;
}

/* Sets the bytes of a part that is taken. */
static void set_range(struct shm *shm, uint32_t session, uint32_t no, uint64_t size)
{
    const struct shm_upload *u = shm_upload_at(shm, session);
    struct shm_upload_part *part = &shm->uploads[session].part[no];
    const struct shm_upload_plan *plan = &u->plan;
    bool copied = no < plan->copies;

    if (plan->patch) { /* (the first time in order: the part before it has been taken) */
        part->off = no ? u->part[no - 1].off + u->part[no - 1].len : 0;
        part->len = shm_patch_part(shm, session, part->off, size, plan->part_size, plan->copy_size,
                                   &copied);
    } else {
        (void)!shm_upload_range(plan, no, size, &part->off, &part->len);
    }
    part->copied = copied;
}

uint32_t shm_upload_take(struct shm *shm, uint32_t session, uint32_t owner, uint32_t limit,
                         uint64_t size, enum shm_upload_take which)
{
    struct shm_upload *u = upload_edit(shm, session);
    struct shm_upload_part *part;
    uint32_t no;

    if (!u->open)
        return SHM_NIL;
    no = find_part(u, limit, which);
    if (u->next < no)
        u->next = no;
    if (no >= limit || no >= SHM_UPLOAD_PARTS)
        return SHM_NIL;
    part = part_edit(shm, session, no);
    part->serial = u->serial;
    part->state = SHM_PART_SENDING;
    part->owner = (uint8_t)owner;
    part->changed = 0;
    set_range(shm, session, no, size);
    if (no == u->next)
        u->next++;
    u->sending++;
    if (u->taken < u->next)
        u->taken = u->next;
    return no;
}

void shm_upload_sent(struct shm *shm, uint32_t session, uint32_t no, const char *etag, uint64_t crc)
{
    struct shm_upload *u = upload_edit(shm, session);
    struct shm_upload_part *part = part_edit(shm, session, no);

    part->state = part->changed ? SHM_PART_CHANGED : SHM_PART_DONE;
    shm_etag_copy(part->etag, etag);
    part->crc = crc;
    u->sending--;
    while (u->prefix < u->taken && state_of(u, u->prefix) == SHM_PART_DONE)
        u->prefix++;
}

void shm_upload_unsent(struct shm *shm, uint32_t session, uint32_t no, int error)
{
    struct shm_upload *u = upload_edit(shm, session);
    struct shm_upload_part *part = part_edit(shm, session, no);

    u->sending--;
    if (part->changed) { /* perhaps S3 has refused it because it changed on the way */
        part->state = SHM_PART_CHANGED;
        return;
    }
    part->state = SHM_PART_NONE;
    if (no < u->next)
        u->next = no;
    if (!u->error) {
        u->error = error;
        u->copy_failed = error && part->copied;
    }
}

#define CHANGED_MAX 16 /* parts that are noted one by one: more, and the upload begins anew */

static void part_changed(struct shm *shm, uint32_t session, uint32_t no)
{
    enum shm_part_state state = state_of(shm_upload_at(shm, session), no);

    if (state == SHM_PART_SENDING)
        part_edit(shm, session, no)->changed = 1;
    else if (state == SHM_PART_DONE)
        part_edit(shm, session, no)->state = SHM_PART_CHANGED;
}

void shm_upload_changed(struct shm *shm, uint32_t session, uint64_t seq, uint64_t from, uint64_t to)
{
    const struct shm_upload *now = shm_upload_at(shm, session);
    uint32_t first, end;
    struct shm_upload *u;

    if (!now->open || now->seq + 1 != seq || now->plan.patch)
        return;
    first = shm_upload_parts(&now->plan, from + 1) - 1;
    end = to == UINT64_MAX ? now->taken : shm_upload_parts(&now->plan, to);
    end = min_u32(end, now->taken);
    if (end > first && end - first > CHANGED_MAX)
        return;
    for (uint32_t no = first; no < end; no++)
        part_changed(shm, session, no);
    u = upload_edit(shm, session);
    u->seq = seq;
    if (first < end)
        u->prefix = min_u32(u->prefix, first);
}

bool shm_upload_completes(struct shm *shm, uint32_t session, bool sent)
{
    bool before = shm_upload_at(shm, session)->completing;

    if (before != sent)
        upload_edit(shm, session)->completing = sent;
    return before;
}

bool shm_upload_worker_gone(struct shm *shm, uint32_t session, uint32_t owner)
{
    const struct shm_upload *u = shm_upload_at(shm, session);
    bool any = false;

    for (uint32_t no = u->prefix, left = u->sending; u->open && left && no < u->taken; no++) {
        if (state_of(u, no) != SHM_PART_SENDING)
            continue;
        left--;
        if (u->part[no].owner != owner)
            continue;
        shm_upload_unsent(shm, session, no, 0);
        any = true;
    }
    return any;
}

/* ---- check ---- */

static int upload_check_slot(struct shm *shm, uint32_t i, struct err *err)
{
    const struct shm_upload *u = shm_upload_at(shm, i);
    uint32_t sending = 0;

    if (!u->open)
        return u->sending ? err_set(err, EUCLEAN, "upload %u: ended, sends parts", i) : 0;
    if (shm_session_at(shm, i)->state == SHM_SESSION_FREE)
        return err_set(err, EUCLEAN, "upload %u: open, without a session", i);
    if (!u->plan.part_size || u->plan.part_size > SHM_UPLOAD_PART_MAX || !*u->id || !*u->key)
        return err_set(err, EUCLEAN, "upload %u: parts of %llu bytes, or no name", i,
                       (unsigned long long)u->plan.part_size);
    if (u->prefix > u->next || u->next > u->taken || u->taken > SHM_UPLOAD_PARTS)
        return err_set(err, EUCLEAN, "upload %u: part %u is next, %u are done", i, u->next,
                       u->prefix);
    for (uint32_t no = 0; no < u->taken; no++) {
        enum shm_part_state state = state_of(u, no);

        sending += state == SHM_PART_SENDING;
        if (state > SHM_PART_CHANGED || (no < u->prefix && state != SHM_PART_DONE) ||
            (no < u->next && state == SHM_PART_NONE))
            return err_set(err, EUCLEAN, "upload %u: part %u has state %u", i, no, state);
    }
    if (sending != u->sending)
        return err_set(err, EUCLEAN, "upload %u: sends %u parts, counted %u", i, sending,
                       u->sending);
    return 0;
}

int shm_upload_check(struct shm *shm, struct err *err)
{
    int r = 0;

    shm_lock(shm, shm->meta);
    for (uint32_t i = 0; i < shm->header->sizes.sessions && r == 0; i++)
        r = upload_check_slot(shm, i, err);
    shm_unlock(shm, shm->meta);
    return r;
}
