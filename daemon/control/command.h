/* What the program does besides running: check, dump, tell a running daemon. */
#ifndef SKELD_COMMAND_H
#define SKELD_COMMAND_H

#include "control/options.h"
#include "service.h"

/* Open 0, 1 and 2 on /dev/null where they are closed: no socket of ours may become one of them. */
void command_open_standard_files(void);

/* -t and -T. Returns the exit code. */
int command_check(const struct options *o, const struct service *its);

/* -s. Returns the exit code. */
int command_signal(const struct options *o);

#endif
