/* Executing the program of this process anew, in its place (restart in place): the trial before,
 * and the exec itself. What is handed over is listed in handover.h; when it happens is decided in
 * restart.c. */
#ifndef DAEMON_REEXEC_H
#define DAEMON_REEXEC_H

#include "base/err.h"
#include "daemon/handover.h"

#define REEXEC_CARRIES 9          /* exit code of a trial: see reexec_try */
#define REEXEC_OPTION "take-over" /* of stateproxyd: the number of the record's descriptor */
/* the number of the descriptor of the program of before, -1 = it is not known. Without it, this is
 * that one: the next one could not take over */
#define REEXEC_WAY_BACK "way-back"

/* At the start of the program: remembers where it is, since after an upgrade the link in /proc says
 * "(deleted)", and how to call it. Strings are borrowed. */
void reexec_init(const char *argv0, const char *config_file);

/* In a task: runs the program with a record that has `own`, and --check, which loads the
 * configuration and says whether it could take over. 0; 1: it could after the end of the children,
 * as it is of another version, or another build, and *err says which; or -errno with the reason in
 * *err. */
must_use int reexec_try(const struct worker_env *env, const struct handover_own *own,
                        struct err *err);

/* Executes the program, with every descriptor that is shared. Returns on failure alone, with *err;
 * then all is as before. */
void reexec(const struct worker_env *env, const struct handover_own *own, struct err *err);

/* In the new image, which cannot take over: executes the program of before, `way_back`, with the
 * same record, whose descriptors have no close-on-exec. Returns on failure alone, with *err. */
void reexec_back(int record, int way_back, struct err *err);

#endif
