/* The commands of the program besides running: -t, -T, -s and -V. */
#ifndef SKELD_COMMANDS_H
#define SKELD_COMMANDS_H

#include "cli/arguments.h"
#include "service.h"

/* Open descriptors 0, 1 and 2 on /dev/null if they are closed, so that no socket gets such a
 * number. */
void command_open_standard_files(void);

/* -t and -T. Returns the exit code. */
int command_check(const struct arguments *a, const struct service *svc);

/* -s. Returns the exit code. */
int command_signal(const struct arguments *a);

/* -V. Returns the exit code. */
int command_version(const struct service *svc);

#endif
