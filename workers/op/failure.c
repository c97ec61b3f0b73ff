/* The last failure of a request of this worker. A call is answered in the same turn of the event
 * loop in which its request fails, or a few later, so this is its reason; with the same error at
 * the same time it may be that of a neighbour, which met the same server. */
#include "workers/op/failure.h"

#include <string.h>

#include "base/clock.h"

#define RECENT_NS (200 * NS_PER_MS)

static struct {
    int error;
    uint64_t ns;
    char text[S3_TEXT_MAX];
    char request_id[S3_REQUEST_ID_MAX];
} last;

void failure_note(const struct s3_result *res)
{
    last.error = res->error;
    last.ns = clock_mono_ns();
    memcpy(last.text, res->text, sizeof(last.text));
    memcpy(last.request_id, res->request_id, sizeof(last.request_id));
}

static bool failure_is_recent(int error)
{
    return error == last.error && clock_mono_ns() - last.ns < RECENT_NS;
}

const char *failure_text(int error)
{
    return failure_is_recent(error) ? last.text : "";
}

const char *failure_request_id(int error)
{
    return failure_is_recent(error) ? last.request_id : "";
}
