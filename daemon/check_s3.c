/* The start-up check of S3. The child sends its verdict through a pipe: an errno with a sentence
 * for the operator, and the traits of the server. */
#include "daemon/check_s3.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/child_ask.h"
#include "daemon/exit_code.h"

#define CHECK_LIMIT_MS 9000 /* without a probe */

struct verdict {
    struct err err; /* code 0: no error */
    struct server_traits traits;
};
static_assert(sizeof(struct verdict) <= CHILD_ANSWER_MAX, "");

static int limit_ms(const struct conf *conf)
{
    return CHECK_LIMIT_MS + (worker_probes(conf) ? WORKER_PROBE_MS : 0);
}

int check_exit_code(int r)
{
    return r == 0 ? EXIT_CODE_OK : r == -EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_S3;
}

uint64_t check_probe_limit_ns(void)
{
    return (CHECK_LIMIT_MS + WORKER_PROBE_MS) * NS_PER_MS;
}

static void run_check(const void *arg, void *answer)
{
    const struct worker_env *env = arg;
    struct verdict *v = answer;

    conf_forget_secrets((struct conf *)env->conf);
    v->err.code = -worker_check_s3(env, &v->traits, &v->err);
}

int check_s3(const struct worker_env *env, struct server_traits *ret_traits, struct err *err)
{
    const struct conf *conf = env->conf;
    struct verdict verdict = {0};
    int r = child_ask(run_check, env, limit_ms(conf), &verdict, sizeof(verdict));

    verdict.err.text[ERR_TEXT_MAX - 1] = '\0';
    if (r == 0 && verdict.err.code == 0) {
        *ret_traits = verdict.traits;
        return 0;
    }
    if (r == 0 && verdict.traits.moved) {
        *ret_traits = verdict.traits;
        return CHECK_S3_MOVED;
    }
    if (r == 0) {
        *err = verdict.err;
        return check_exit_code(-verdict.err.code);
    }
    if (r == -ETIMEDOUT) {
        err_set(err, -r,
                "S3 does not answer within %d s: endpoint \"%s\", bucket "
                "\"%s\"",
                limit_ms(conf) / 1000, conf->s3.endpoint, conf->bucket);
        return EXIT_CODE_S3;
    }
    err_set(err, -r, "the start-up check of S3 failed: %s", strerror(-r));
    return EXIT_CODE_SYSTEM;
}
