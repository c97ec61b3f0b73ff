/* HEAD after HEAD, until one shows what has become of an upload. */
#include "workers/op/upload_proof.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/container.h"
#include "workers/op/settle.h"

#define OLD_NS (60 * NS_PER_S)

bool upload_needs_proof(const struct worker *w, uint64_t opened_ns)
{
    return s3_habit_has(w->s3, S3_HABIT_BLIND_COMPLETE) || clock_mono_ns() - opened_ns > OLD_NS;
}

bool upload_is_unchanged(const struct upload_proof *proof, const struct s3_result *res)
{
    if (proof->absent)
        return res->error == -ENOENT;
    return !*proof->before || (!res->error && strcmp(res->obj.etag, proof->before) == 0);
}

static void on_pause(struct loop_timer *t)
{
    struct upload_proof *proof = container_of(t, struct upload_proof, pause);

    proof->done(proof, UPLOAD_PENDING, NULL);
}

static void on_seen(void *arg, const struct s3_result *res)
{
    struct upload_proof *proof = arg;
    uint64_t wait;

    if (res->error && res->error != -ENOENT) {
        proof->done(proof, UPLOAD_FAILED, res);
        return;
    }
    if (!res->error && *proof->etag && strcmp(res->obj.etag, proof->etag) == 0) {
        proof->done(proof, UPLOAD_THERE, res);
        return;
    }
    wait = settle_wait_ns(proof->limit_ns, proof->since_ns, clock_mono_ns(), proof->looks++);
    if (!wait || !upload_is_unchanged(proof, res)) {
        proof->done(proof, UPLOAD_OTHER, res);
        return;
    }
    proof->pause.on_time = on_pause;
    loop_timer_set(proof->w->loop, &proof->pause, wait);
}

int upload_prove(struct worker *w, struct upload_proof *proof, const char *key,
                 upload_proof_fn *done)
{
    proof->w = w;
    proof->done = done;
    if (!proof->since_ns)
        proof->since_ns = clock_mono_ns();
    return s3_head(w->s3, key, on_seen, proof, NULL);
}
