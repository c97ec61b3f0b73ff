/* daemon/driver_message.c: what a CSI driver says beside the descriptor of a mount. It is taken, or
 * refused in one clean line; what is told of ignored options is clean and bounded. A message that
 * names another bucket, or another prefix, is never taken. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdbool.h>

#include <jansson.h>

#include "base/err.h"
#include "daemon/driver_message.h"

#define BUCKET "bucket"
#define PREFIX "models/v2"

/* True if a list of the message has `option` with a value that is not the prefix, written as the
 * drivers write it. */
static bool names_other(json_t *json, const char *list, const char *option)
{
    size_t len = strlen(option);
    json_t *word;
    size_t i;

    json_array_foreach(json_object_get(json, list), i, word)
    {
        const char *text = json_string_value(word);

        if (text && strncmp(text, option, len) == 0 && text[len] == '=' &&
            strstr(text + len, PREFIX) == NULL)
            return true;
    }
    return false;
}

static void check_taken(const struct conf *conf, const char *text, size_t len)
{
    json_t *json = json_loadb(text, len, 0, NULL);
    const char *bucket = json_string_value(json_object_get(json, "bucketName"));

    fuzz_check(json_is_object(json));
    fuzz_check(!bucket || !*bucket || strcmp(bucket, BUCKET) == 0);
    if (conf->mount.fd_protocol == CONF_FD_GCSFUSE)
        fuzz_check(!names_other(json, "options", "only-dir"));
    if (conf->mount.fd_protocol == CONF_FD_MOUNTPOINT)
        fuzz_check(!names_other(json, "args", "--prefix"));
    json_decref(json);
}

static void check_ignored(const char ignored[DRIVER_IGNORED_MAX])
{
    fuzz_check(memchr(ignored, '\0', DRIVER_IGNORED_MAX));
    fuzz_check_text(ignored);
    fuzz_check(!strpbrk(ignored, "=: ")); /* never a value */
}

/* The first byte is the protocol. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char ignored[DRIVER_IGNORED_MAX] = "";
    struct conf conf = {.bucket = BUCKET, .prefix = PREFIX};
    struct err err = {0};
    uint8_t *text;
    int r;

    if (!size)
        return 0;
    conf.mount.fd_protocol = (enum conf_fd_protocol)(CONF_FD_META_FUSE + data[0] % 3);
    text = fuzz_copy(data + 1, size - 1);
    r = driver_message_check(&conf, (const char *)text, size - 1, ignored, &err);
    check_ignored(ignored);
    fuzz_check(r == 0 || r == -EINVAL || r == -EXDEV);
    if (r == 0)
        check_taken(&conf, (const char *)text, size - 1);
    else
        fuzz_check(*err.text && r == -err.code);
    fuzz_check_text(err.text);
    free(text);
    return 0;
}
