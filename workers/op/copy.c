/* A copy in parts: HEAD of the source, for its version and (unless they are replaced) its metadata;
 * Create; UploadPartCopy of all parts; Complete. */
#include "workers/op/copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/min.h"
#include "s3/s3_etag.h"
#include "workers/op/tags.h"
#include "workers/op/upload_name.h"
#include "workers/op/upload_proof.h"

#define COPY_FLIGHT 8                   /* parts at the same time */
#define COPY_PART (UINT64_C(512) << 20) /* bytes of a part, if they are not too many */
#define COPY_PAIRS_MAX 64               /* more do not fit into a request */

struct large_copy {
    struct worker *w;
    s3_done_fn *done;
    void *arg;
    struct s3_object source; /* as HEAD has told */
    char from[S3_KEY_MAX + 1];
    char type[S3_TYPE_MAX];
    char source_etag[S3_ETAG_MAX], target_etag[S3_ETAG_MAX]; /* "": no condition */
    bool replace_meta, is_new;
    struct s3_meta_pair pair[COPY_PAIRS_MAX];
    size_t n_pairs;
    char *text;           /* of the pairs, if the caller has given them */
    struct s3_pairs kept; /* other headers of the object (s3.h) */
    bool has_kept;
    char *tags;              /* of the source; NULL: none */
    struct upload_name name; /* of the copy */
    struct shm_upload_plan plan;
    unsigned n_parts, next, running;
    struct s3_part_done *part; /* n_parts */
    char (*etag)[S3_ETAG_MAX]; /* n_parts */
    struct s3_result failed;   /* the first failure; error 0: none */
    bool repeated;             /* Complete was sent more than once */
    uint64_t opened_ns;        /* the upload was created; clock_mono_ns */
    struct upload_proof proof;
};

/* A part under way. */
struct copy_part {
    struct large_copy *c;
    unsigned no;
};

/* ---- the end ---- */

static void copy_free(struct large_copy *c)
{
    free(c->text);
    free(c->tags);
    free(c->part);
    free(c->etag);
    free(c);
}

static void copy_end(struct large_copy *c, const struct s3_result *res)
{
    upload_completed(c->w, &c->name);
    c->done(c->arg, res);
    copy_free(c);
}

static void copy_fail(struct large_copy *c, int error)
{
    struct s3_result res = {.error = error, .fail = S3_FAIL_LOCAL, .text = "copy in parts"};

    copy_end(c, &res);
}

/* The upload is open, and has failed with this result. */
static void copy_abort(struct large_copy *c, const struct s3_result *res)
{
    upload_abort(c->w, &c->name);
    copy_end(c, res);
}

/* The same, with no result of S3. */
static void copy_give_up(struct large_copy *c, int error)
{
    upload_abort(c->w, &c->name);
    copy_fail(c, error);
}

/* ---- complete ---- */

static void complete_copy(struct large_copy *c);

static void on_copy_proof(struct upload_proof *proof, enum upload_found found,
                          const struct s3_result *res)
{
    struct large_copy *c = container_of(proof, struct large_copy, proof);

    if (found == UPLOAD_PENDING)
        complete_copy(c);
    else if (found == UPLOAD_THERE)
        copy_end(c, res);
    else if (found == UPLOAD_OTHER)
        copy_give_up(c, -ESTALE);
    else
        copy_abort(c, res);
}

/* `etag`: of the copy. `limit_ns`: how long it may take to appear. */
static void prove_copy(struct large_copy *c, const char *etag, uint64_t limit_ns)
{
    int r;

    c->proof.limit_ns = limit_ns;
    memcpy(c->proof.before, c->target_etag, sizeof(c->proof.before));
    memcpy(c->proof.etag, etag, sizeof(c->proof.etag));
    r = upload_prove(c->w, &c->proof, c->name.key, on_copy_proof);
    if (r < 0)
        copy_give_up(c, r);
}

static void on_copy_completed(void *arg, const struct s3_result *res)
{
    struct large_copy *c = arg;
    char etag[S3_ETAG_MAX];

    c->repeated |= res->may_have_acted;
    if (!res->error && c->repeated && *res->obj.etag)
        prove_copy(c, res->obj.etag, c->w->conf->s3.deadline_ns);
    else if (!res->error && *res->obj.etag && upload_needs_proof(c->w, c->opened_ns))
        prove_copy(c, res->obj.etag, 0);
    else if (res->error == -ESTALE && c->repeated && s3_etag_of_parts(c->part, c->n_parts, etag))
        prove_copy(c, etag, s3_settle_ns(c->w->s3));
    else if (res->error && res->error != -ESTALE)
        copy_abort(c, res);
    else
        copy_end(c, res);
}

static void complete_copy(struct large_copy *c)
{
    struct s3_complete complete = {
        .key = c->name.key,
        .upload_id = c->name.id,
        .parts = c->part,
        .n_parts = c->n_parts,
        .if_match = *c->target_etag ? c->target_etag : NULL,
    };
    struct s3_result res = {.text = "copy in parts"};

    res.error = s3_complete(c->w->s3, &complete, on_copy_completed, c, NULL);
    if (res.error < 0)
        copy_abort(c, &res);
}

/* Some servers ignore the condition on the source of a part (publish_parts.c). */
static void on_source_still(void *arg, const struct s3_result *res)
{
    static const struct s3_result changed = {
        .error = -ESTALE, .fail = S3_FAIL_LOCAL, .text = "copy in parts: the source has changed"};
    struct large_copy *c = arg;

    if (res->error)
        copy_abort(c, res);
    else if (strcmp(res->obj.etag, c->source.etag) != 0)
        copy_abort(c, &changed);
    else
        complete_copy(c);
}

/* All parts are there. (A copy onto itself has the condition in Complete, where there is one.) */
static void parts_copied(struct large_copy *c)
{
    struct s3_result res = {.text = "copy in parts"};

    if (strcmp(c->from, c->name.key) == 0) {
        complete_copy(c);
        return;
    }
    res.error = s3_head(c->w->s3, c->from, on_source_still, c, NULL);
    if (res.error < 0)
        copy_abort(c, &res);
}

/* ---- parts ---- */

static void next_parts(struct large_copy *c);

static void on_part_copied(void *arg, const struct s3_result *res)
{
    struct copy_part *part = arg;
    struct large_copy *c = part->c;

    c->running--;
    if (res->error && !c->failed.error)
        c->failed = *res;
    else if (!res->error)
        memcpy(c->etag[part->no], res->obj.etag, S3_ETAG_MAX);
    c->part[part->no] = (struct s3_part_done){.number = part->no + 1, .etag = c->etag[part->no]};
    free(part);
    next_parts(c);
}

static int start_part(struct large_copy *c, unsigned no)
{
    struct s3_part_copy copy = {
        .key = c->name.key,
        .upload_id = c->name.id,
        .number = no + 1,
        .from_key = c->from,
        .if_source_match = c->source.etag,
    };
    struct copy_part *part = malloc(sizeof(*part));
    int r;

    if (!part)
        return -ENOMEM;
    (void)!shm_upload_range(&c->plan, no, c->source.size, &copy.off, &copy.len);
    *part = (struct copy_part){c, no};
    r = s3_part_copy(c->w->s3, &copy, on_part_copied, part, NULL);
    if (r < 0)
        free(part);
    return r;
}

static void next_parts(struct large_copy *c)
{
    while (!c->failed.error && c->running < COPY_FLIGHT && c->next < c->n_parts) {
        int r = start_part(c, c->next);

        if (r < 0) {
            c->failed.error = r;
            break;
        }
        c->running++;
        c->next++;
    }
    if (c->running)
        return;
    if (c->failed.error)
        copy_abort(c, &c->failed);
    else
        parts_copied(c);
}

/* ---- create ---- */

static void on_copy_created(void *arg, const struct s3_result *res)
{
    struct large_copy *c = arg;

    c->w->creating--;
    if (res->error) {
        copy_end(c, res);
        return;
    }
    strncpy(c->name.id, res->upload_id, sizeof(c->name.id) - 1);
    c->opened_ns = clock_mono_ns();
    worker_lock(c->w);
    upload_note(c->w, &c->name);
    worker_unlock(c->w);
    next_parts(c);
}

/* The source's own metadata. */
static void take_meta(struct large_copy *c)
{
    const char *at = c->source.meta, *end = at + c->source.meta_len;

    while (at < end && c->n_pairs < COPY_PAIRS_MAX) {
        const char *value = at + strlen(at) + 1;

        c->pair[c->n_pairs++] = (struct s3_meta_pair){at, value};
        at = value + strlen(value) + 1;
    }
    memcpy(c->type, c->source.content_type, sizeof(c->type));
    c->kept = c->source.kept;
    c->has_kept = true;
}

static int create_copy(struct large_copy *c)
{
    struct s3_create create = {
        .key = c->name.key,
        .content_type = *c->type ? c->type : NULL,
        .meta = c->pair,
        .n_meta = c->n_pairs,
        .kept = c->has_kept ? &c->kept : NULL,
        .tags = c->tags,
    };
    uint64_t least = min_u64(COPY_PART, c->w->conf->upload.copy_limit);
    int r;

    c->plan = shm_upload_plan(shm_upload_part_size(c->source.size, least), false, 0);
    c->n_parts = shm_upload_parts(&c->plan, c->source.size);
    c->part = calloc(c->n_parts, sizeof(*c->part));
    c->etag = calloc(c->n_parts, sizeof(*c->etag));
    if (!c->part || !c->etag)
        return -ENOMEM;
    r = s3_create(c->w->s3, &create, on_copy_created, c, NULL);
    c->w->creating += r == 0;
    return r;
}

/* ---- the source ---- */

static void on_source_tags(void *arg, const struct s3_result *res)
{
    struct large_copy *c = arg;
    int r = tags_take(c->w, c->name.key, res, &c->tags);

    if (r < 0 && r == res->error) {
        copy_end(c, res);
        return;
    }
    if (r == 0)
        r = create_copy(c);
    if (r < 0)
        copy_fail(c, r);
}

static void on_source(void *arg, const struct s3_result *res)
{
    struct large_copy *c = arg;
    int r;

    if (res->error) {
        copy_end(c, res);
        return;
    }
    if (!*res->obj.etag || (*c->source_etag && strcmp(c->source_etag, res->obj.etag) != 0)) {
        copy_fail(c, -ESTALE);
        return;
    }
    c->source = res->obj;
    if (!c->replace_meta)
        take_meta(c);
    if (!c->source.size)
        r = -ESTALE;
    else if (!c->is_new && !c->tags && tags_wanted(c->w, &c->source))
        r = s3_tags(c->w->s3, c->from, on_source_tags, c, NULL);
    else
        r = create_copy(c);
    if (r < 0)
        copy_fail(c, r);
}

/* Copies the pairs, with their text. */
static int keep_pairs(struct large_copy *c, const struct s3_copy *copy)
{
    size_t size = 1;
    char *at;

    if (copy->n_meta > COPY_PAIRS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < copy->n_meta; i++)
        size += strlen(copy->meta[i].name) + strlen(copy->meta[i].value) + 2;
    c->text = at = malloc(size);
    if (!at)
        return -ENOMEM;
    for (size_t i = 0; i < copy->n_meta; i++) {
        c->pair[i].name = at;
        at = stpcpy(at, copy->meta[i].name) + 1;
        c->pair[i].value = at;
        at = stpcpy(at, copy->meta[i].value) + 1;
    }
    c->n_pairs = copy->n_meta;
    return 0;
}

/* Copies `from`, NULL as "". False: it does not fit. */
static bool keep_text(char *to, size_t cap, const char *from)
{
    size_t len = from ? strlen(from) : 0;

    if (len >= cap)
        return false;
    memcpy(to, from ? from : "", len + 1);
    return true;
}

static int keep_all(struct large_copy *c, const struct s3_copy *copy)
{
    if (!keep_text(c->from, sizeof(c->from), copy->from_key) ||
        !keep_text(c->name.key, sizeof(c->name.key), copy->to_key) ||
        !keep_text(c->type, sizeof(c->type), copy->content_type) ||
        !keep_text(c->source_etag, sizeof(c->source_etag), copy->if_source_match) ||
        !keep_text(c->target_etag, sizeof(c->target_etag), copy->if_match))
        return -EINVAL;
    c->replace_meta = copy->replace_meta;
    c->is_new = copy->is_new;
    c->has_kept = copy->kept != NULL;
    if (copy->kept)
        c->kept = *copy->kept;
    if (copy->tags) {
        c->tags = strdup(copy->tags);
        if (!c->tags)
            return -ENOMEM;
    }
    return copy->replace_meta ? keep_pairs(c, copy) : 0;
}

int copy_object(struct worker *w, const struct s3_copy *copy, uint64_t size, s3_done_fn *done,
                void *arg, struct s3_req **ret_req)
{
    struct large_copy *c;
    int r;

    if (size <= w->conf->upload.copy_limit)
        return s3_copy(w->s3, copy, done, arg, ret_req);
    if (ret_req)
        *ret_req = NULL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->w = w;
    c->done = done;
    c->arg = arg;
    r = keep_all(c, copy);
    if (r == 0)
        r = s3_head(w->s3, c->from, on_source, c, NULL);
    if (r < 0)
        copy_free(c);
    return r;
}
