/* Options and exit codes of stateproxyd. The numbers are those of exit_code.h; a test compares
 * them. */
#include "daemon/options.h"

const struct manual_row daemon_options[] = {
    {.name = "config",
     .arg = "FILE",
     .letter = 'c',
     .doc = "read the configuration from FILE; environment variables override it"},
    {.name = "check", .letter = 'k', .doc = "check the configuration and exit"},
    {.name = "print-config",
     .letter = 'p',
     .doc = "print every value and where it comes from, and exit"},
    {.name = "print-sample", .letter = 's', .doc = "print a sample configuration file and exit"},
    {.name = "version", .letter = 'V', .doc = "print the version and exit"},
    {.name = "help",
     .letter = 'h',
     .doc = "print this help, with every configuration key, and "
            "exit"},
    {0},
};

const struct manual_row daemon_hold_options[] = {
    {.name = "socket",
     .arg = "PATH",
     .letter = 's',
     .doc = "listen there, for daemons whose daemon.holder this is; they must be of the same user, "
            "or of root"},
    {.name = "deadline",
     .arg = "TIME",
     .letter = 'd',
     .doc = "let go what is kept of a daemon that is gone if no other has taken it over for this "
            "long: then programs that use its mount have an error; default 60s"},
    {.name = "help", .letter = 'h', .doc = "print this help, and exit"},
    {0},
};

const struct manual_row daemon_exit_codes[] = {
    {.name = "0",
     .doc = "stopped on request, or unmounted from outside; all written data is on "
            "S3"},
    {.name = "1",
     .doc =
         "the same, but written data did not reach S3: the log names the files; or, at the start "
         "of a connector: no bucket, or neither a mount nor a socket, is configured"},
    {.name = "64", .doc = "wrong option"},
    {.name = "69", .doc = "S3 cannot be reached"},
    {.name = "71",
     .doc = "the system provides no more memory, processes or descriptors, or a "
            "process "
            "cannot be killed or the mount cannot be removed"},
    {.name = "73", .doc = "the mount point, a socket or buffer.dir cannot be used"},
    {.name = "75",
     .doc =
         "the kernel has ended the connection of the mount, a CSI driver has unmounted it to try "
         "once more, or what a daemon that is gone has left cannot be taken over yet: start the "
         "daemon again"},
    {.name = "78",
     .doc = "the configuration is wrong; this includes what S3 says about the "
            "bucket, "
            "the region and the credentials"},
    {.name = "79",
     .doc = "it was told to leave the mount, and what is open, to the next daemon: start that"},
    {0},
};
