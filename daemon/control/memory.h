/* The memory that the daemon may use. Control thread. */
#ifndef SKELD_MEMORY_H
#define SKELD_MEMORY_H

#include "config/config.h"

/*
 * The memory of the machine in bytes, or the lowest memory.max of the control groups (version 2,
 * cgroups(7)) that contain this process. LIST has the form of /proc/self/cgroup, ROOT is where the
 * groups are mounted.
 */
uint64_t memory_available(const char *list, const char *root);

/* Warn if limits.memory exceeds it: the kernel would kill the daemon before the limit applies. */
void memory_check(const struct config *c);

#endif
