/* The options and exit codes of stateproxyd: for main.c and the manual (man/pages.c). */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "base/manual.h"

extern const struct manual_row daemon_options[];
extern const struct manual_row daemon_hold_options[]; /* of "stateproxyd hold" */
extern const struct manual_row daemon_exit_codes[];

#endif
