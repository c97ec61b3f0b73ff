/* Exit codes of stateproxyd: those of <sysexits.h> where one fits. */
#ifndef DAEMON_EXIT_CODE_H
#define DAEMON_EXIT_CODE_H

enum exit_code {
    EXIT_CODE_OK = 0,          /* ended on request, or unmounted from outside */
    EXIT_CODE_UNPUBLISHED = 1, /* the same, but written data did not reach S3 */
    EXIT_CODE_MISSING = 1,     /* no bucket, or neither a mount nor a socket, is configured */
    EXIT_CODE_USAGE = 64,      /* a wrong option */
    EXIT_CODE_S3 = 69,         /* S3 cannot be reached */
    /* no memory, processes or descriptors; workers do not start; at the end a process cannot be
     * killed or the mount cannot be removed */
    EXIT_CODE_SYSTEM = 71,
    EXIT_CODE_CREATE = 73, /* the mount, the control socket or a file in buffer.dir */
    /* the kernel has ended the connection, or a CSI driver will try once more: start it again */
    EXIT_CODE_ABORTED = 75,
    EXIT_CODE_LATER = 75,  /* what a daemon that is gone has left cannot be taken over yet */
    EXIT_CODE_CONFIG = 78, /* the configuration, including what S3 says: bucket, region, keys */
    EXIT_CODE_LEFT = 79,   /* it has left what is open to the next daemon: start that */
};

#endif
