/* What /proc shows about the process behind a request. All of it may be outdated by the time it is
 * used, or not visible at all (another pid namespace, no permission): then `known` is false, and
 * the caller must do the right thing without it. */
#ifndef WORKERS_OP_PROC_H
#define WORKERS_OP_PROC_H

#include <stdbool.h>
#include <stdint.h>

struct proc_info {
    bool known;
    int32_t tgid;
    int32_t parent; /* tgid of its parent */
    uint64_t start; /* start time of the process, in clock ticks since boot */
    bool exiting;   /* it is in exit(2): the request comes from the kernel closing its files */
    int32_t signal; /* exiting because of this signal; 0 = it exits voluntarily */
    bool waits;     /* it waits for one of its children (wait4, waitid): proc_look_parent */
    bool reaps;     /* its children stay, as zombies, until it has waited for them */
    bool gone;      /* there is no such process (any more); `known` is false, too */
    bool execs;     /* it is inside execve(2), which closes its files: `start` is unknown */
};

/* Reserves descriptors, so that the functions below also work when no others are left. Call it
 * once, at a worker's start. */
void proc_keep_spares(void);

/* Looks up a process by one of its threads. `tid` as in a request's header; 0 = unknown. */
void proc_look(uint32_t tid, struct proc_info *ret);

/* The same by the process id (its first thread), and also whether it waits for a child. */
void proc_look_parent(int32_t tgid, struct proc_info *ret);

/* The file "syscall" of a thread: what it waits in. One that still runs may be about to fall asleep
 * (its request is here already; a shell that has just forked will wait for its child), so that is
 * looked at a few times. False: it is not visible. */
#define PROC_TEXT_MAX 4096
bool proc_syscall(uint32_t tid, char text[PROC_TEXT_MAX]);

/* True if this thread is about to die (SIGKILL is pending: a Ctrl-C that the process does not
 * handle becomes one too), or if it is not visible. */
bool proc_is_dying(uint32_t tid);

/* True if the process has a descriptor open for writing on a file with this inode number. Checks at
 * most PROC_FDS_MAX descriptors, through /proc/<pid>/fdinfo: never with stat, which would send a
 * request to this very mount. `*ret_known` is false if the descriptors are not visible. */
#define PROC_FDS_MAX 4096
bool proc_holds_write(int32_t tgid, uint64_t ino, bool *ret_known);

/* The number of descriptors for writing that the process has on the mount on which it has one for
 * this inode number; 0 if it has none for that. Checks as many, in the same way. */
uint32_t proc_writes_beside(int32_t tgid, uint64_t ino, bool *ret_known);

/* True if the thread (`tid` as in a request's header; 0 = unknown) has a descriptor on a directory
 * with this inode number. Checks at most PROC_DIR_FDS_MAX descriptors, in the same way; false also
 * if they are not visible. */
#define PROC_DIR_FDS_MAX 128
bool proc_has_dir(uint32_t tid, uint64_t ino);

#endif
