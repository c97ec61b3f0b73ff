/* What a LOOKUP is for. The kernel does not say it, but /proc/<tid>/syscall does: the number and
 * the arguments of the system call in which the caller waits.
 *
 * Nothing here is to be relied on but this: where intent_makes says true, the caller is about to
 * make this name, by a call that fails or opens what is there if the name exists after all. All
 * that cannot be seen (another pid namespace, no permission, io_uring, a kernel thread, 32-bit
 * programs) is INTENT_UNKNOWN, and false. */
#ifndef WORKERS_NAMES_INTENT_H
#define WORKERS_NAMES_INTENT_H

#include <stdbool.h>
#include <stdint.h>

enum intent_kind {
    INTENT_UNKNOWN,
    INTENT_READ,  /* an open that may want the content, readlink, truncate, openat2 */
    INTENT_EXEC,  /* execve */
    INTENT_STAT,  /* attributes, or that it is there: stat, access, xattrs, chmod, unlink */
    INTENT_DIR,   /* a directory: chdir, rmdir, open with O_DIRECTORY */
    INTENT_TRUNC, /* an open for writing that drops the content, without O_CREAT */
    /* From here on: what makes a name */
    INTENT_OPEN,   /* an open with O_CREAT; O_EXCL, O_TRUNC and the mode are in `flags` */
    INTENT_MAKE,   /* mkdir, mknod, symlink, link */
    INTENT_RENAME, /* `flags`: RENAME_NOREPLACE or 0; an exchange is INTENT_STAT */
};

struct intent {
    enum intent_kind kind;
    uint32_t flags; /* O_... of an open, RENAME_... of a rename, else 0 */

    /* For intent_makes and intent_passes: where the thread has them; 0 = none */
    uint32_t tid;
    uint64_t path;  /* what the call is about, of what is made */
    uint64_t other; /* of what is there already: link, rename */
    uint64_t how;   /* openat2: its struct open_how */
    uint64_t next;  /* the instruction after the one that made the call */
};

/* `tid`: as in the request's header; 0 = unknown. Waits for nobody; one open, read and close. Of a
 * call with several names (directories on the way, the source of a rename) it cannot tell which
 * one the LOOKUP is of. */
void intent_look(uint32_t tid, struct intent *ret);

/* True if the LOOKUP of `path` (from the mount's root, as "a/b/name") is of the very name that
 * `in` is about to make: neither a directory on the way nor the source of a rename. For this the
 * caller's memory is read (peek.h), so ask only when it matters. With openat2 this is what learns
 * its flags: `in` is told. */
bool intent_makes(struct intent *in, const char *path);

/* True if the LOOKUP of `path` is of a directory on the way to what the call is about: its name
 * stands in the call's path, but not last. Reads the caller's memory, too. */
bool intent_passes(const struct intent *in, const char *path);

/* ---- for tests ---- */

/* The text of a syscall file. */
void intent_parse(const char *text, struct intent *ret);

/* `made` and `other` (NULL = none) are the call's paths, `path` is the LOOKUP's. */
bool intent_same_name(const char *made, const char *other, const char *path);

#endif
