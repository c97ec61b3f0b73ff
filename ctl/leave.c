/* The comparison before `stateproxyctl leave`. */
#include "ctl/leave.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/client.h"

#define STATUS_MS 10000

/* Whether the answer has the line "NAME VALUE". */
static bool has_line(const char *answer, const char *name, const char *value)
{
    char line[128];

    snprintf(line, sizeof(line), "\n%s %s\n", name, value);
    return strstr(answer, line);
}

int leave_check(const char *socket, const struct conf *conf, struct err *err)
{
    char answer[CLIENT_ANSWER_MAX], id[CONF_FIXED_ID_MAX];
    int fd = -1;
    int r = client_ask(socket, "status", STATUS_MS, answer, &fd, err);

    if (r < 0)
        return r;
    if (fd >= 0)
        close(fd);
    r = conf_fixed_id(conf, id);
    if (r < 0)
        return err_set(err, -r, "out of memory");
    /* Another version may have other keys: the daemon asks the next one itself, by names. */
    if (!has_line(answer, "version", PACKAGE_VERSION))
        return 0;
    if (!has_line(answer, "configuration", id))
        return err_set(err, EXDEV,
                       "a value of the configuration has changed that cannot change while files "
                       "are open, and the next daemon could not take over what this one leaves: "
                       "stop it and start it instead");
    return 0;
}
