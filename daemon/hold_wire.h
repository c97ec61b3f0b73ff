/* What a daemon and its holder (hold.h) say to each other: one line of text a message, with one
 * descriptor or none, over a Unix socket that keeps messages apart (SOCK_SEQPACKET). Both may be of
 * different versions; the first message says which language is spoken.
 *
 *   daemon                            holder
 *   hello 1 take NAME   + life        wait, unless all processes of the one before have ended;
 *                                     fd N + descriptor, ..., record + descriptor, end COUNT
 *   hello 1 give NAME   + life        ok
 *   begin                             (a new set; the one before holds until it is complete)
 *   fd N                + descriptor
 *   record              + descriptor  kept COUNT: it is complete, and replaces the one before
 *   drop                              dropped
 *
 * Instead of each answer: "busy WHY", "full WHY" (ask again later) or "error WHY"; then the holder
 * closes.
 *
 * `life` is the end of a pipe for reading, whose other end all processes of the daemon have: it
 * tells when the last of them has ended, and, by its inode, an image of the same daemon from the
 * next daemon. */
#ifndef DAEMON_HOLD_WIRE_H
#define DAEMON_HOLD_WIRE_H

#include <stdbool.h>
#include <sys/resource.h>

#include "base/err.h"

#define HOLD_HELLO "hello 1 "
#define HOLD_RECORD (-1)  /* in place of a number: the record of handover.h */
#define HOLD_TEXT_MAX 512 /* of a message, with NUL */
#define HOLD_NUMBER_MIN 3 /* of descriptors */
#define HOLD_NUMBER_MAX 65535
#define HOLD_FDS_MAX 4096 /* of one daemon, with the record */

/* Sends `text`, with `passed` unless that is -1. Never waits. 0; -EAGAIN: the other has to read
 * first; -errno of sendmsg(2). */
must_use int hold_send(int sock, int passed, const char *text);

/* The same for a descriptor of a set. */
must_use int hold_send_kept(int sock, int passed, int number);

/* Receives a message. Its length, and *ret_fd (close-on-exec, the caller's; -1 = none). 0: the
 * other has closed. -EAGAIN. -EPROTO: not a line of printable text, or with more than one
 * descriptor; -EMFILE: its descriptor could not be taken in; then nothing is left open. */
must_use int hold_recv(int sock, char text[HOLD_TEXT_MAX], int *ret_fd);

/* "fd N" or "record": true and *ret_number. */
bool hold_parse_kept(const char *text, int *ret_number);

/* "WORD N": true and *ret_n. */
bool hold_parse_count(const char *text, const char *word, unsigned *ret_n);

/* Whether the other end is of this user or of root: 0, or -EPERM, or -errno. */
must_use int hold_check_peer(int sock);

/* Allows this process that many descriptors, or as many as it may have. */
void hold_raise_limit(rlim_t n);

#endif
