/* A toy file system for the tests of fuse/: one directory of small files in memory, served by
 * a child process through the functions of fuse/ alone. */
#ifndef TESTS_FUSE_TOYFS_H
#define TESTS_FUSE_TOYFS_H

#include <stdbool.h>
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
    unsigned hold;         /* wait before each LOOKUP's answer: see toy_held */
    struct {
        unsigned on; /* the test sets it to 0 to let it go on */
        uint32_t pid;
        char path[2 * FUSE_NAME_BYTES + 2]; /* "name", or "directory/name" */
    } held;

    unsigned n_files;
    struct {
        char name[FUSE_NAME_BYTES + 1];
        uint64_t size;
        mode_t type; /* S_IFDIR: shows all files again; S_IFLNK: its content is the target */
    } file[TOY_FILES];
};

/* A file system without files, in shared memory. Never NULL: ends the process instead. */
struct toy *toy_new(void);
void toy_free(struct toy *toy);

/* Adds a file; its index. Its node id is index + 2. Not after toy_start. */
unsigned toy_add(struct toy *toy, const char *name, const char *text);

/* With `hold`: waits for the next LOOKUP, and tells whose it is and of what. False when `pid`, a
 * child, has ended. */
bool toy_held(struct toy *toy, pid_t pid);

/* Lets that LOOKUP be answered. */
void toy_let_go(struct toy *toy);

/* Starts the child that serves `fd`, and dies with its parent. `negotiated` is what INIT gave. */
pid_t toy_start(struct toy *toy, int fd, const struct fuse_negotiated *negotiated);

/* Kills it, if it still lives, and waits for its end. */
void toy_kill(pid_t pid);

#endif
