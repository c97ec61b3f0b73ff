/* A toy file system for the tests of fuse/: one directory of small files in memory, served by
 * a child process through the functions of fuse/ alone. */
#ifndef TESTS_FUSE_TOYFS_H
#define TESTS_FUSE_TOYFS_H

#include <stdint.h>
#include <sys/types.h>

#include "fuse/fuse_init.h"

#define TOY_FILES 64
#define TOY_BYTES (4u << 20) /* of one file, at most */
#define TOY_OPCODES 64

/* Shared with the child, to look at. */
struct toy {
    unsigned count[TOY_OPCODES]; /* requests by opcode */
    unsigned malformed;
    int reply_error;    /* the last answer that the kernel refused, but for ENOENT */
    int end_error;      /* why the child's reading ended: errno of read(2) */
    uint64_t max_write; /* bytes of the longest WRITE */
    uint64_t max_read;
    uint32_t last_pid;
    int64_t balance[TOY_FILES]; /* lookups told less those forgotten, by file */

    /* What the test wants */
    uint64_t valid_ns;     /* of entries and attributes */
    uint32_t open_flags;   /* FOPEN_... */
    unsigned silent;       /* read requests, but answer nothing */
    unsigned getxattr_yes; /* know xattrs (there are none), rather than ENOSYS */

    unsigned n_files;
    struct {
        char name[FUSE_NAME_BYTES + 1];
        uint64_t size;
    } file[TOY_FILES];
};

/* A file system without files, in shared memory. Never NULL: ends the process instead. */
struct toy *toy_new(void);
void toy_free(struct toy *toy);

/* Adds a file; its index. Its node id is index + 2. Not after toy_start. */
unsigned toy_add(struct toy *toy, const char *name, const char *text);

/* Starts the child that serves `fd`, and dies with its parent. `negotiated` is what INIT gave. */
pid_t toy_start(struct toy *toy, int fd, const struct fuse_negotiated *negotiated);

/* Kills it, if it still lives, and waits for its end. */
void toy_kill(pid_t pid);

#endif
