/* The agent: opens files and runs programs for a process in a sandbox. It is forked before that
 * enters, stays the user who started the daemon, and reads nothing that came from a network. It
 * opens no file and runs no program but those that the configuration and the shared files name, and
 * what they name it reads itself. */
#ifndef CREDS_CREDS_AGENT_H
#define CREDS_CREDS_AGENT_H

#include <stdbool.h>

#include "creds/creds.h"
#include "creds/creds_job.h"

/* A program that does not end within this time is killed. */
#define CREDS_PROGRAM_LIMIT_NS (60 * NS_PER_S)
#define CREDS_COMMAND_MAX 4096 /* with NUL */

/* Opens a file for reading; a FIFO without a writer does not hold us. Asks the agent for one that
 * this process may not open. A descriptor or -errno: -EACCES also if the agent may not. */
must_use int creds_agent_open(const char *path);

/* Runs the command (creds_words) and collects its output, through the agent where there is one. 0
 * and *told (allocated by the caller); or -errno with *err, as creds_program. */
must_use int creds_agent_run(const struct creds_job *job, const char *command,
                             struct creds_bytes *told, struct err *err);

#endif
