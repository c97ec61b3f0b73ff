/* The options, commands and exit codes of stateproxyctl. main.c runs the commands. */
#include "ctl/options.h"

const struct manual_row ctl_options[] = {
    {.name = "socket",
     .arg = "PATH",
     .letter = 's',
     .doc = "the control socket of the daemon; without it $STATEPROXY_CONTROL_SOCKET, else the "
            "only "
            "running daemon of this user"},
    {.name = "config",
     .arg = "FILE",
     .letter = 'c',
     .doc = "leave: the configuration of the next daemon, whose environment is that of this "
            "command; its control.socket is used"},
    {.name = "json", .letter = 'j', .doc = "print JSON (status, sessions, inflight, conflicts)"},
    {.name = "batch", .letter = 'b', .doc = "top: print frames one after the other, for scripts"},
    {.name = "frames", .arg = "N", .letter = 'n', .doc = "top: end after so many frames"},
    {.name = "delay",
     .arg = "SECONDS",
     .letter = 'd',
     .doc = "top: the time between two frames, from 0.1 to 3600; default 1"},
    {.name = "version", .letter = 'V', .doc = "print the version"},
    {.name = "help", .letter = 'h', .doc = "print this help"},
    {0},
};

const struct manual_row ctl_commands[] = {
    {.name = "status", .doc = "show processes, mount, server, tables and counters"},
    {.name = "sessions",
     .doc = "list the files that are open for writing, and those that are kept for their readers, "
            "with the flags of each (loaded, emptying, on-s3, copy: where its bytes are; orphan: "
            "it has no name any more); "
            "with compare-and-set also what each write expects: an ETag, absent, any (it "
            "overwrites) or refused (its close will fail)"},
    {.name = "inflight", .doc = "list the requests in progress"},
    {.name = "top",
     .doc = "show, again and again, what the daemon does now: requests and bytes in a second, the "
            "most frequent requests and how long they take, and how far uploads and renames of "
            "directories are; q ends it"},
    {.name = "conflicts",
     .doc = "list the last 100 writes that compare-and-set refused, newest last"},
    {.name = "check", .doc = "check the shared tables; exit 0 if they are consistent"},
    {.name = "restart",
     .doc = "execute the program of the daemon anew in its place, with its configuration as it is "
            "now, and replace its processes one after the other; the mount stays, and programs "
            "that use it notice nothing; wait until all are replaced. The program may be of "
            "another version: then they wait for a moment. Refused, and nothing happens, if it "
            "could not take over, or a value has changed on which what is open depends"},
    {.name = "leave",
     .doc = "end the daemon without an unmount, and leave the mount, open files and unpublished "
            "bytes to the next one: what keeps them (daemon.fdstore, daemon.holder) hands them "
            "over to it, and "
            "programs that use the mount wait until it is there; wait until the daemon has ended. "
            "The next one may be of another version. "
            "Refused, and nothing happens, if nothing keeps them, or with --config, if the next "
            "one could not take them over. stateproxy@.service does that before a restart"},
    {.name = "drain",
     .doc = "finish uploads, unmount and stop the daemon; wait until it has "
            "stopped"},
    {.name = "version", .doc = "print the version"},
    {.name = "help", .doc = "print this help"},
    {0},
};

const struct manual_row ctl_exit_codes[] = {
    {.name = "0", .doc = "success"},
    {.name = "1",
     .doc = "failure: no daemon replies, the check found an error, or the daemon "
            "exited with another code than 0 after drain or leave"},
    {.name = "2", .doc = "wrong usage"},
    {0},
};
