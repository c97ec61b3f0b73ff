/* What a LOOKUP is for. The kernel does not tell, but /proc/<tid>/syscall does: it shows the number
 * and the arguments of the system call that the caller is blocked in.
 *
 * Callers may rely on one thing only: if intent_makes returns true, the caller is about to create
 * this name, with a call that fails or opens the existing file if the name exists after all.
 * Everything that is not visible (another pid namespace, no permission, io_uring, a kernel thread,
 * 32-bit programs) is INTENT_UNKNOWN, and false. */
#ifndef WORKERS_NAMES_INTENT_H
#define WORKERS_NAMES_INTENT_H

#include <stdbool.h>
#include <stdint.h>

enum intent_kind {
    INTENT_UNKNOWN,
    INTENT_READ,  /* an open that may read the content, readlink, truncate, openat2 */
    INTENT_EXEC,  /* execve */
    INTENT_STAT,  /* attributes or existence: stat, access, xattrs, chmod, unlink */
    INTENT_DIR,   /* a directory: chdir, rmdir, open with O_DIRECTORY */
    INTENT_TRUNC, /* an open for writing that drops the content, without O_CREAT */
    /* From here on: calls that create a name */
    INTENT_OPEN,   /* an open with O_CREAT; O_EXCL, O_TRUNC and the mode are in `flags` */
    INTENT_MAKE,   /* mkdir, mknod, symlink, link */
    INTENT_RENAME, /* `flags`: RENAME_NOREPLACE or 0; an exchange is INTENT_STAT */
};

struct intent {
    enum intent_kind kind;
    uint32_t flags; /* O_... of an open, RENAME_... of a rename, else 0 */

    /* For intent_makes and intent_passes: addresses in the thread's memory; 0 = none */
    uint32_t tid;
    uint64_t path;  /* path of the call's object, or of what it creates */
    uint64_t other; /* path of the existing file: link, rename */
    uint64_t how;   /* openat2: its struct open_how */
    uint64_t next;  /* the instruction after the system call */
};

/* `tid`: as in the request's header; 0 = unknown. Never blocks; costs one open, read and close. If
 * a call has several names (directories on the way, the source of a rename), this cannot tell which
 * of them the LOOKUP is for. */
void intent_look(uint32_t tid, struct intent *ret);

/* True if the LOOKUP of `path` (from the mount's root, such as "a/b/name") is for the very name
 * that `in` is about to create: neither a directory on the way nor the source of a rename. Reads
 * the caller's memory (peek.h), so call it only if the result matters. For openat2 this is the only
 * way to get its flags: they are stored in `in`. */
bool intent_makes(struct intent *in, const char *path);

/* True if the LOOKUP of `path` is for a directory on the way to the call's object: its name is in
 * the call's path, but not last. Also reads the caller's memory. */
bool intent_passes(const struct intent *in, const char *path);

/* ---- for tests ---- */

/* The text of a syscall file. */
void intent_parse(const char *text, struct intent *ret);

/* `made` and `other` (NULL = none) are the call's paths, `path` is the LOOKUP's. */
bool intent_same_name(const char *made, const char *other, const char *path);

#endif
