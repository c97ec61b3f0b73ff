/* The parts of the segment: where each array is. */
#include "shm/shm_form.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "shm/shm_baseline.h"
#include "shm/shm_conflict.h"
#include "shm/shm_cred.h"
#include "shm/shm_fields.h"
#include "shm/shm_flock.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_node.h"
#include "shm/shm_patch.h"
#include "shm/shm_session.h"
#include "shm/shm_trace.h"
#include "shm/shm_upload.h"

struct listing {
    const struct shm_header *h;
    struct form_part *part;
    unsigned n;
};

static struct form_part *form_add(struct listing *l, const struct form_part *p)
{
    assert(l->n < FORM_PARTS_MAX);
    l->part[l->n] = *p;
    return &l->part[l->n++];
}

/* n entries of `len` bytes from `at` on; without fields: bytes. */
static struct form_part *add_array(struct listing *l, const char *name, uint64_t at, uint64_t n,
                                   uint64_t len, const struct shm_fields *fields)
{
    return form_add(l, &(struct form_part){.name = name,
                                           .at = at,
                                           .sets = 1,
                                           .n = n,
                                           .stride = len,
                                           .len = len,
                                           .fields = fields ? fields->row : NULL,
                                           .n_fields = fields ? fields->n : 0});
}

static void add_struct(struct listing *l, const char *name, uint64_t at, uint64_t len,
                       const struct shm_fields *fields)
{
    (void)add_array(l, name, at, 1, len, fields);
}

static uint64_t table_at(const struct listing *l, enum shm_table table)
{
    return l->h->table_off[table];
}

static void add_nodes(struct listing *l)
{
    const struct shm_sizes *s = &l->h->sizes;
    struct shm_node_places p = shm_node_places(s);
    uint64_t at = table_at(l, SHM_TABLE_NODE);

    add_struct(l, "node_table", at, sizeof(struct shm_node_table), &shm_fields_node_table);
    add_array(l, "node_heads", at + p.heads, s->nodes, sizeof(uint32_t), &shm_fields_link);
    add_array(l, "ino_heads", at + p.ino_heads, s->nodes, sizeof(uint32_t), &shm_fields_link);
    add_array(l, "node", at + p.nodes, s->nodes, sizeof(struct shm_node), &shm_fields_node);
    add_array(l, "long_name", at + p.names[SHM_NAMES_LONG], s->long_names,
              p.name_len[SHM_NAMES_LONG], &shm_fields_name);
    add_array(l, "longest_name", at + p.names[SHM_NAMES_LONGEST], s->longest_names,
              p.name_len[SHM_NAMES_LONGEST], &shm_fields_longest_name);
}

static void add_sessions(struct listing *l)
{
    uint64_t at = table_at(l, SHM_TABLE_SESSION);
    uint32_t n = l->h->sizes.sessions;

    add_struct(l, "session_table", at, sizeof(struct shm_session_table), &shm_fields_session_table);
    add_array(l, "session", at + sizeof(struct shm_session_table), n, sizeof(struct shm_session),
              &shm_fields_session);
    add_array(l, "upload", table_at(l, SHM_TABLE_UPLOAD), n, sizeof(struct shm_upload),
              &shm_fields_upload);
    add_array(l, "patch", table_at(l, SHM_TABLE_PATCH), n, sizeof(struct shm_patch),
              &shm_fields_patch);
}

static void add_handles(struct listing *l)
{
    uint64_t at = table_at(l, SHM_TABLE_HANDLE);
    uint32_t n = l->h->sizes.handles;

    add_struct(l, "handle_table", at, sizeof(struct shm_handle_table), &shm_fields_handle_table);
    add_array(l, "handle", at + sizeof(struct shm_handle_table), n, sizeof(struct shm_handle),
              &shm_fields_handle);
    add_array(l, "handle_start", at + shm_handle_filled(&l->h->sizes), n, SHM_START_MAX, NULL);
    at = table_at(l, SHM_TABLE_FLOCK);
    add_struct(l, "flock_table", at, sizeof(struct shm_flock_table), &shm_fields_flock_table);
    add_array(l, "flock", at + sizeof(struct shm_flock_table), n, sizeof(struct shm_flock_cell),
              &shm_fields_flock_cell);
}

static void add_baselines(struct listing *l)
{
    uint64_t at = table_at(l, SHM_TABLE_BASELINE);
    uint32_t n = l->h->sizes.baselines, traces = n * SHM_TRACES_EACH;

    add_struct(l, "baseline_table", at, sizeof(struct shm_baseline_table),
               &shm_fields_baseline_table);
    at += sizeof(struct shm_baseline_table);
    add_array(l, "baseline", at, n, sizeof(struct shm_baseline), &shm_fields_baseline);
    at += n * (uint64_t)sizeof(struct shm_baseline);
    add_array(l, "trace", at, traces, sizeof(struct shm_trace), &shm_fields_trace);
    at += shm_trace_size(n);
    add_array(l, "trace_heads", at, traces, sizeof(uint32_t), &shm_fields_link);
    at += shm_trace_heads_size(n);
    add_array(l, "baseline_heads", at, n, sizeof(uint32_t), &shm_fields_link);
    at += n * (uint64_t)sizeof(uint32_t);
    add_array(l, "baseline_filter", at, n, SHM_BASELINE_FILTER, NULL);
}

static void add_conflicts(struct listing *l)
{
    uint64_t at = table_at(l, SHM_TABLE_CONFLICT);

    add_struct(l, "conflict_ring", at, sizeof(struct shm_conflict_ring), &shm_fields_conflict_ring);
    add_array(l, "conflict", at + sizeof(struct shm_conflict_ring),
              l->h->sizes.baselines ? SHM_CONFLICTS : 0, sizeof(struct shm_conflict),
              &shm_fields_conflict);
}

static void add_small(struct listing *l, const char *name, enum shm_table table,
                      const struct shm_fields *fields)
{
    add_struct(l, name, table_at(l, table), l->h->table_len[table], fields);
}

/* An array in each arena. */
static void add_in_arenas(struct listing *l, const char *name, uint64_t at, uint64_t n,
                          uint64_t len, const struct shm_fields *fields)
{
    struct form_part *p = add_array(l, name, table_at(l, SHM_TABLE_ARENA) + at, n, len, fields);

    p->sets = l->h->sizes.workers;
    p->set_stride = l->h->sizes.workers ? shm_arena_size(&l->h->sizes) / p->sets : 0;
}

static void add_arenas(struct listing *l)
{
    const struct shm_sizes *s = &l->h->sizes;
    uint64_t arena = (uint64_t)s->page + s->payload;

    add_in_arenas(l, "arena_head", s->page - SHM_READ_HEAD, 1, SHM_READ_HEAD, NULL);
    add_in_arenas(l, "arena_payload", s->page, s->payload / SHM_PAYLOAD_MIN, SHM_PAYLOAD_MIN, NULL);
    add_in_arenas(l, "arena", arena, 1, sizeof(struct shm_arena), &shm_fields_arena);
    add_in_arenas(l, "arena_current", arena + offsetof(struct shm_arena, current), 1,
                  sizeof(struct shm_record), &shm_fields_record);
    add_in_arenas(l, "arena_record", arena + sizeof(struct shm_arena), s->records,
                  sizeof(struct shm_record), &shm_fields_record);
    add_in_arenas(l, "arena_beside", shm_arena_filled(s), s->records, SHM_REQUEST_MAX, NULL);
}

static void add_creds(struct listing *l)
{
    uint64_t at = table_at(l, SHM_TABLE_CRED);
    uint64_t creds = at + offsetof(struct shm_cred_table, creds);
    struct form_part *p;

    add_struct(l, "cred_table", at, sizeof(struct shm_cred_table), &shm_fields_cred_table);
    add_array(l, "cred", creds, 2, sizeof(struct shm_cred), &shm_fields_cred);
    p = add_array(l, "cred_key", creds + offsetof(struct shm_cred, keys), SHM_CRED_DAYS,
                  sizeof(struct shm_cred_key), &shm_fields_cred_key);
    p->sets = 2;
    p->set_stride = sizeof(struct shm_cred);
    add_array(l, "cred_news", at + offsetof(struct shm_cred_table, news), 2,
              sizeof(struct shm_cred_news), &shm_fields_cred_news);
}

unsigned shm_form_parts(const struct shm_header *h, struct form_part ret[FORM_PARTS_MAX])
{
    struct listing l = {.h = h, .part = ret};

    add_struct(&l, SHM_FORM_HEADER, 0, sizeof(struct shm_header), &shm_fields_header);
    add_small(&l, SHM_FORM_LOCK, SHM_TABLE_META_LOCK, &shm_fields_mutex);
    add_nodes(&l);
    add_sessions(&l);
    add_handles(&l);
    add_baselines(&l);
    add_conflicts(&l);
    add_small(&l, "win", SHM_TABLE_WIN, &shm_fields_win_table);
    add_small(&l, "abort", SHM_TABLE_ABORT, &shm_fields_abort_table);
    add_small(&l, "version_id", SHM_TABLE_VERSION_ID, &shm_fields_version_table);
    add_small(&l, "notify", SHM_TABLE_NOTIFY, &shm_fields_notify_ring);
    add_arenas(&l);
    add_creds(&l);
    return l.n;
}

/* The same for all sizes. */
size_t shm_form_size(const struct shm_sizes *sizes)
{
    static const struct shm_header none = {.sizes = {.workers = 1}};
    struct form_part part[FORM_PARTS_MAX];

    (void)sizes;
    return form_len(part, shm_form_parts(&none, part));
}

void shm_form_init(struct shm *shm)
{
    struct form_part part[FORM_PARTS_MAX];
    unsigned n = shm_form_parts(shm->header, part);

    form_write(part, n, shm->base + shm->header->form_off);
}

int shm_form_is_own(const struct shm_header *own, const uint8_t *base)
{
    struct form_part part[FORM_PARTS_MAX];
    unsigned n = shm_form_parts(own, part);
    cleanup_free uint8_t *text = malloc(form_len(part, n));

    if (!text)
        return -ENOMEM;
    form_write(part, n, text);
    return memcmp(text, base + own->table_off[SHM_TABLE_FORM], form_len(part, n)) == 0;
}
