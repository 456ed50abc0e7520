/* The daemons of this program that run on this machine, for a hint to the operator. */
#ifndef SKELD_INSTANCES_H
#define SKELD_INSTANCES_H

/*
 * Print a line to stderr for each daemon that runs in another directory than DIR: "pid 12 runs in
 * /run/skeld-a, use -r /run/skeld-a". Lists only daemons whose descriptors this user may read.
 */
void instances_report(const char *dir);

#endif
