/* `skeld --self-test`: the real daemon, sending itself the signals. */
#ifndef SKELD_SELFTEST_H
#define SKELD_SELFTEST_H

#include "control/options.h"
#include "service.h"

/* Run the tests named in O's argument, or all. Prints to stdout; returns the exit code. */
int selftest_run(const struct options *o, const struct service *its);

#endif
