/* fusectl: the kernel's directory of FUSE connections (its Documentation/filesystems/fuse.rst). */
#ifndef FUSE_FUSE_CTL_H
#define FUSE_FUSE_CTL_H

/* Opens what stands there for the mount of this device: `abort` for writing, `waiting` for reading;
 * -1 each where it is not to be had. The descriptors keep no connection alive, and stay harmless
 * when another one gets the number. Looks into /sys; root does without that. */
void fuse_ctl_open(unsigned dev_major, unsigned dev_minor, int *ret_abort, int *ret_waiting);

/* Ends the connection, if that is to be had. */
void fuse_ctl_abort(unsigned dev_major, unsigned dev_minor);

#endif
