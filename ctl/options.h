/* The commands, options and exit codes of stateproxyctl: for main.c and the manual
 * (man/pages.c). */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include "base/manual.h"

extern const struct manual_row ctl_options[];
extern const struct manual_row ctl_commands[];
extern const struct manual_row ctl_exit_codes[];

#endif
