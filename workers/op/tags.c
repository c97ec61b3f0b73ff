/* See tags.h. */
#include "workers/op/tags.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

bool tags_wanted(const struct worker *w, const struct s3_object *obj)
{
    return obj->tags && !s3_habit_has(w->s3, S3_HABIT_NO_TAGS);
}

int tags_take(struct worker *w, const char *key, const struct s3_result *res, char **ret_tags)
{
    *ret_tags = NULL;
    if (res->error)
        return res->error == -ENOENT || s3_tags_refused(w->s3, res) ? 0 : res->error;
    if (res->tags_lost)
        log_warn("tags dropped key=\"%s\": they do not fit into a header", key);
    if (!res->tags)
        return 0;
    *ret_tags = strdup(res->tags);
    return *ret_tags ? 0 : -ENOMEM;
}
