/* The decisions of compare-and-set: see cas_put.h. */
#include "workers/cas/cas_put.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "workers/cas/cas.h"
#include "workers/op/settle.h"

#define META_COST (strlen("x-amz-meta-") + strlen(LINEAGE_META)) /* of a pair, without its value */

/* An ETag that no version has: ours was replaced before we learned its ETag. */
#define REPLACED "\"replaced\""

static void copy_id(char *to, const char *from)
{
    memcpy(to, from, SHM_ID_LEN);
    to[SHM_ID_LEN] = '\0';
}

static void mark_sent(struct cas_put *c, struct shm_session *s)
{
    c->tried = true;
    c->since_ns = s->expect.sent_ns = clock_mono_ns();
    s->expect.tried = true;
}

/* What the version to be written will carry. */
static void put_base(struct cas_put *c, const struct shm_session *s)
{
    memcpy(c->base, s->lineage, LINEAGE_CAP);
    c->base[LINEAGE_CAP - 1] = '\0';
    if (!c->expects)
        c->base[0] = '\0';
    (void)lineage_head(c->base, c->expected);
    lineage_extend(c->base, c->id, c->lineage);
}

void cas_put_open(struct cas_put *c, const struct shm_session *s)
{
    c->expects = s->expect.must;
    put_base(c, s);
}

void cas_put_begin(struct cas_put *c, struct shm_session *s, bool asks)
{
    bool unchanged = s->publishing_seq == s->write_seq;
    bool same = unchanged && *s->expect.write_id;

    c->expects = s->expect.must;
    c->ours = s->expect.ours;
    c->ambiguous = s->expect.tried;
    c->ask = c->expects && !s->expect.lineage_known && !s->expect.absent;
    c->look &= c->expects;
    if (c->ambiguous && same) {
        copy_id(c->id, s->expect.write_id);
    } else {
        if (c->ambiguous && *s->expect.write_id) {
            c->lost = *s->expect.old_id;
            copy_id(s->expect.old_id, s->expect.write_id);
        }
        copy_id(s->expect.write_id, c->id);
    }
    s->expect.spoilt &= unchanged; /* with other content it is an earlier write as any other */
    copy_id(c->old_id, s->expect.old_id);
    if (s->expect.spoilt)
        copy_id(c->spoilt_id, s->expect.old_id);
    put_base(c, s);
    c->tried = !asks && cas_put_first(c) == PUT_SEND;
    c->since_ns = s->expect.sent_ns;
    if (c->tried)
        mark_sent(c, s);
}

enum put_next cas_put_first(const struct cas_put *c)
{
    if (!c->expects)
        return c->ambiguous ? PUT_LOOK : PUT_SEND;
    if (c->lost)
        return PUT_UNKNOWN;
    return c->ambiguous || c->ours || c->ask || c->look ? PUT_LOOK : PUT_SEND;
}

void cas_put_meta(struct cas_put *c, struct meta_out *meta)
{
    bool added = meta->n && strcmp(meta->pair[meta->n - 1].name, LINEAGE_META) == 0;

    if (!added) {
        c->room =
            meta->bytes + META_COST < META_BYTES_MAX ? META_BYTES_MAX - meta->bytes - META_COST : 0;
        if (meta->n == META_PAIRS_MAX)
            meta->n--; /* a pair that is kept from the old version gives way */
        meta->pair[meta->n++] = (struct s3_meta_pair){LINEAGE_META, c->lineage};
    }
    lineage_cut(c->lineage, c->room);
}

enum put_next cas_put_refused(struct cas_put *c, const struct s3_result *res)
{
    if (c->ambiguous || res->may_have_acted) {
        c->ambiguous = true;
        c->since_ns = clock_mono_ns();
        return PUT_LOOK;
    }
    c->gone = res->error == -ENOENT;
    return PUT_CONFLICT;
}

static enum put_next put_again(struct cas_put *c)
{
    c->waits = 0;
    return ++c->puts <= CAS_PUTS_MAX ? PUT_SEND : PUT_UNKNOWN;
}

bool cas_put_waits(struct cas_put *c)
{
    c->wait_ns = settle_wait_ns(c->settle_ns, c->since_ns, clock_mono_ns(), c->waits++);
    return c->wait_ns;
}

/* The condition of the earlier PUT may become true again: that nothing is there, or an empty
 * file. */
static enum put_next put_settled(struct cas_put *c)
{
    return c->ambiguous && cas_put_waits(c) ? PUT_WAIT : put_again(c);
}

/* What the expected version was built on has only become known now. */
static void put_learn(struct cas_put *c, const char *lineage)
{
    c->ask = false;
    memset(c->base, 0, sizeof(c->base));
    if (lineage_is_valid(lineage))
        memcpy(c->base, lineage, strlen(lineage));
    (void)lineage_head(lineage, c->expected);
    lineage_extend(lineage, c->id, c->lineage);
}

/* An earlier write of ours, with other content, is there: this one replaces it. */
static enum put_next adopt(struct cas_put *c, const struct s3_object *obj, const char *lineage,
                           char etag[SHM_ETAG_MAX], bool *absent)
{
    shm_etag_copy(etag, obj->etag);
    *absent = false;
    copy_id(c->expected, c->old_id);
    c->old_id[0] = '\0';
    c->ours = cas_is_empty(obj->etag);
    lineage_extend(lineage, c->id, c->lineage);
    return put_again(c);
}

static enum put_next nothing_there(struct cas_put *c, bool absent)
{
    if (*c->spoilt_id) /* it was there: somebody has removed it */
        return PUT_UNKNOWN;
    if (absent)
        return put_settled(c);
    c->gone = true;
    return c->ambiguous ? PUT_UNKNOWN : PUT_CONFLICT;
}

static bool is_built_on(const char *lineage, const char *id)
{
    return *id && lineage_judge(lineage, id, NULL) == LINEAGE_OURS;
}

/* Another writer's version is there. */
static enum put_next not_ours(struct cas_put *c, const char *lineage)
{
    bool earlier = *c->old_id && lineage_judge(lineage, c->old_id, c->expected) == LINEAGE_OURS;

    if (is_built_on(lineage, c->spoilt_id))
        return PUT_UNKNOWN;
    /* Built on an earlier write of ours, not on this one; or no attempt can have taken effect. */
    if (earlier || !c->ambiguous ||
        lineage_judge(lineage, c->id, c->expected) == LINEAGE_CONFLICT) {
        c->ambiguous = false;
        return PUT_CONFLICT;
    }
    return PUT_UNKNOWN;
}

void cas_put_condition(const struct s3_result *res, char etag[SHM_ETAG_MAX], bool *absent)
{
    *absent = res->error == -ENOENT;
    shm_etag_copy(etag, res->obj.etag);
}

enum put_next cas_put_found(struct cas_put *c, const struct s3_result *res, char etag[SHM_ETAG_MAX],
                            bool *absent)
{
    const struct s3_object *obj = &res->obj;
    const char *lineage = s3_object_meta(obj, LINEAGE_META);
    char head[LINEAGE_ID_CAP];

    if (res->error == -ENOENT && c->expects)
        return nothing_there(c, *absent);
    shm_etag_copy(c->found, obj->etag);
    (void)lineage_head(lineage, head);
    if (lineage_judge(lineage, c->id, c->expected) == LINEAGE_OURS) {
        const char *now = strcmp(head, c->id) == 0 ? obj->etag : REPLACED;

        shm_etag_copy(c->etag, now);
        return PUT_OURS;
    }
    if (!c->expects) { /* unconditional, but a retry must not overwrite unseen */
        if (strcmp(head, c->old_id) != 0 && is_built_on(lineage, c->old_id))
            return PUT_UNKNOWN;
        if (res->error == -ENOENT && *c->spoilt_id)
            return PUT_UNKNOWN;
        cas_put_condition(res, etag, absent);
        return *absent ? put_settled(c) : put_again(c);
    }
    if (*c->old_id && strcmp(head, c->old_id) == 0)
        return adopt(c, obj, lineage, etag, absent);
    if (c->ask && !*absent && strcmp(obj->etag, etag) == 0)
        put_learn(c, lineage);
    if (!*absent && strcmp(obj->etag, etag) == 0 && (!c->ours || strcmp(head, c->expected) == 0))
        return cas_is_empty(etag) ? put_settled(c) : put_again(c);
    /* A server that reads ETag and metadata separately may have been overtaken by our own PUT. If
     * the second HEAD says the same, it is a copy of the expected version onto itself. */
    if (!c->doubted && *c->expected && strcmp(head, c->expected) == 0) {
        c->doubted = true;
        return PUT_LOOK;
    }
    return not_ours(c, lineage);
}

void cas_put_sends(struct cas_put *c, struct shm_session *s)
{
    mark_sent(c, s);
    c->unsent = false;
    if (!c->expects || c->ask)
        return;
    s->expect.lineage_known = true;
    memcpy(s->lineage, c->base, LINEAGE_CAP);
}

enum put_next cas_put_spoilt(struct cas_put *c, struct shm_session *s,
                             const char id[LINEAGE_ID_CAP])
{
    copy_id(c->spoilt_id, c->id);
    copy_id(c->old_id, c->id);
    copy_id(s->expect.old_id, c->id);
    s->expect.spoilt = true;
    copy_id(c->id, id);
    copy_id(s->expect.write_id, id);
    lineage_extend(c->base, c->id, c->lineage);
    c->ambiguous = c->unsent = true;
    c->since_ns = clock_mono_ns();
    return ++c->spoilt < CAS_SPOILT_MAX ? PUT_LOOK : PUT_FAILED;
}

void cas_put_failed(const struct cas_put *c, struct shm_session *s)
{
    if (!c->ambiguous)
        s->expect.tried = false;
    else if (c->unsent || c->lost) /* it was never sent */
        s->expect.write_id[0] = '\0';
}

void cas_put_done(const struct cas_put *c, struct shm_session *s, uint64_t size)
{
    s->expect.tried = s->expect.spoilt = false;
    s->expect.must = s->expect.lineage_known = true;
    s->expect.ours = size == 0;
    memset(s->expect.old_id, 0, sizeof(s->expect.old_id));
    memset(s->lineage, 0, sizeof(s->lineage));
    memcpy(s->lineage, c->lineage, strlen(c->lineage));
}
