/* What /proc tells of the process behind a request. All of it may be wrong by the time it is used,
 * or not to be seen at all (another pid namespace, no permission): then `known` is false, and the
 * caller does what is right without. */
#ifndef WORKERS_OP_PROC_H
#define WORKERS_OP_PROC_H

#include <stdbool.h>
#include <stdint.h>

struct proc_info {
    bool known;
    int32_t tgid;
    int32_t parent; /* its parent's tgid */
    uint64_t start; /* of the process, in clock ticks since boot */
    bool exiting;   /* it is in exit(2): the request comes from the kernel closing its files */
    int32_t signal; /* exiting because of this signal; 0 = it exits by itself */
    bool waits;     /* it waits for a child of its own (wait4, waitid): proc_look_parent */
    bool execs;     /* it is inside execve(2), which closes its files: `start` is not known */
};

/* Puts descriptors aside, so that the others can look also when none is left. To be called once, at
 * a worker's start. */
void proc_keep_spares(void);

/* `tid` as in a request's header: a thread; 0 = unknown. */
void proc_look(uint32_t tid, struct proc_info *ret);

/* The same of a process, its first thread, and whether it waits for a child. */
void proc_look_parent(int32_t tgid, struct proc_info *ret);

/* True if this thread has been told to die (SIGKILL is pending: also what a Ctrl-C becomes that the
 * process does not handle), or cannot be seen. */
bool proc_is_dying(uint32_t tid);

/* True if the process has a descriptor open for writing on a file with this inode number. Looks
 * into at most PROC_FDS_MAX descriptors, by /proc/<pid>/fdinfo: never by stat, which would ask this
 * very mount. `*ret_known` is false if that cannot be seen. */
#define PROC_FDS_MAX 4096
bool proc_holds_write(int32_t tgid, uint64_t ino, bool *ret_known);

/* True if the thread (`tid` as in a request's header; 0 = unknown) has a descriptor on a directory
 * with this inode number. Looks into at most PROC_DIR_FDS_MAX, in the same way; false also if that
 * cannot be seen. */
#define PROC_DIR_FDS_MAX 128
bool proc_has_dir(uint32_t tid, uint64_t ino);

#endif
