/* The default control socket. "/mnt/x" becomes mnt-x.sock. If the path has to be shortened or
 * changed for that, a hash of the whole path is added, so that two mounts never share a name. */
#include "conf/conf_control.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fnv.h"
#include "conf/conf_check.h"
#include "conf/conf_env.h"

#define NAME_SHOWN 48 /* bytes of the mount path that are visible in the socket's name */

int conf_control_dir(char *const *env, char *out, size_t cap)
{
    const char *run = conf_env_get(env, "XDG_RUNTIME_DIR");
    int n;

    if (geteuid() == 0)
        n = snprintf(out, cap, "/run/stateproxy");
    else if (run && *run == '/')
        n = snprintf(out, cap, "%s/stateproxy", run);
    else
        n = snprintf(out, cap, "/tmp/stateproxy-%u", (unsigned)geteuid());
    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

/* The readable part: '-' for slashes, '_' for characters that a shell treats specially. True if
 * nothing of the path was lost. */
static bool show_path(const char *path, char out[NAME_SHOWN + 1])
{
    bool whole = true;
    size_t n = 0;

    for (path++; *path && n < NAME_SHOWN; path++) {
        bool plain = isalnum((unsigned char)*path) || strchr("._", *path);

        whole = whole && (plain || *path == '/');
        out[n++] = (char)(plain ? *path : strchr("/-", *path) ? '-' : '_');
    }
    out[n] = '\0';
    return whole && *path == '\0';
}

int conf_control_default(char *const *env, const char *mount_path, char *out, size_t cap)
{
    char dir[CONF_SOCKET_MAX], name[NAME_SHOWN + 1], tail[24] = "";
    int n = conf_control_dir(env, dir, sizeof(dir));

    if (n < 0)
        return n;
    if (!show_path(mount_path, name))
        snprintf(tail, sizeof(tail), "-%08x",
                 (unsigned)fnv_add(FNV_START, mount_path, strlen(mount_path)));
    n = snprintf(out, cap, "%s/%s%s.sock", dir, name, tail);
    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}
