/* How stateproxyd ends: the numbers of <sysexits.h> where one fits. */
#ifndef DAEMON_EXIT_CODE_H
#define DAEMON_EXIT_CODE_H

enum exit_code {
    EXIT_CODE_OK = 0,          /* ended as told, or unmounted by somebody */
    EXIT_CODE_UNPUBLISHED = 1, /* the same, but bytes that were written did not reach S3 */
    EXIT_CODE_USAGE = 64,      /* a bad option */
    EXIT_CODE_S3 = 69,         /* S3 cannot be reached */
    /* no memory, processes or descriptors; workers do not start; something is left at the end
     * that cannot be killed or taken off */
    EXIT_CODE_SYSTEM = 71,
    EXIT_CODE_CREATE = 73,  /* the mount, the control socket or a file in buffer.dir */
    EXIT_CODE_ABORTED = 75, /* the kernel has ended the connection: to be started again */
    EXIT_CODE_CONFIG = 78,  /* the configuration, as S3 sees it too: bucket, region, keys */
};

#endif
