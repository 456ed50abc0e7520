/* How many threads of this process can run at the same time. */
#ifndef SKELD_CPUS_H
#define SKELD_CPUS_H

struct cpus {
	unsigned allowed; /* processors in the affinity mask, at least 1 */
	double quota;	  /* processors per second that the control groups grant; 0: no limit */
	unsigned usable;  /* the smaller one, rounded up */
};

void cpus_count(struct cpus *c);

/*
 * The lowest quota of the control groups in LIST, which has the form of /proc/self/cgroup, and of
 * those above them: cpu.max (version 2), cpu.cfs_quota_us (version 1), cgroups(7). ROOT is where
 * they are mounted. Returns 0 if there is none.
 */
double cpus_quota(const char *list, const char *root);

#endif
