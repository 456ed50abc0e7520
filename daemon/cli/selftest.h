/* `skeld --self-test`: runs the real daemon and sends it signals. */
#ifndef SKELD_SELFTEST_H
#define SKELD_SELFTEST_H

#include "cli/arguments.h"
#include "service.h"

/* Run the scripts that A's argument lists, or all. Prints to stdout; returns the exit code. */
int selftest_run(const struct arguments *a, const struct service *svc);

#endif
