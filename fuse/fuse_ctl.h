/* fusectl: the kernel's directory of FUSE connections (its Documentation/filesystems/fuse.rst). */
#ifndef FUSE_FUSE_CTL_H
#define FUSE_FUSE_CTL_H

/* Opens the connection's files for the mount on this device: `abort` for writing, `waiting` for
 * reading; -1 each if it is not available. The descriptors do not keep the connection alive, and
 * stay harmless if another mount gets the number. Uses /sys; root does not need it. */
void fuse_ctl_open(unsigned dev_major, unsigned dev_minor, int *ret_abort, int *ret_waiting);

/* Aborts the connection, if the descriptor is available. */
void fuse_ctl_abort(unsigned dev_major, unsigned dev_minor);

#endif
