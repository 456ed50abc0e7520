#include "base/cpus.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CPUS_MAX = 1 << 20, GROUP_PATH_MAX = 4096 };

/* A cpu_set_t has 1,024 bits. The kernel rejects a set that is too small for the machine. */
static unsigned count_allowed(void)
{
	for (size_t n = CPU_SETSIZE; n <= CPUS_MAX; n *= 2) {
		cpu_set_t *set = CPU_ALLOC(n);
		int result = set ? sched_getaffinity(0, CPU_ALLOC_SIZE(n), set) : -1;
		int count = result == 0 ? CPU_COUNT_S(CPU_ALLOC_SIZE(n), set) : 0;
		bool too_small = result < 0 && errno == EINVAL;
		CPU_FREE(set);
		if (!too_small)
			return count > 0 ? (unsigned)count : 1;
	}
	return 1;
}

/* Returns the first two numbers of ROOT/GROUP/NAME in OUT, and how many there are. "max" is none.
 */
static int read_numbers(const char *root, const char *group, const char *name, double out[2])
{
	char path[GROUP_PATH_MAX];
	int n = 0;
	snprintf(path, sizeof(path), "%s%s/%s", root, group, name);
	FILE *in = fopen(path, "re");
	if (in)
		n = fscanf(in, "%lf %lf", &out[0], &out[1]);
	if (in)
		fclose(in);
	return n;
}

/* The quota of one group, 0 if it has none. */
static double group_quota(const char *root, const char *group)
{
	double v2[2], quota[2], period[2];
	if (read_numbers(root, group, "cpu.max", v2) == 2 && v2[0] > 0 && v2[1] > 0)
		return v2[0] / v2[1];
	if (read_numbers(root, group, "cpu.cfs_quota_us", quota) == 1 && quota[0] > 0 &&
	    read_numbers(root, group, "cpu.cfs_period_us", period) == 1 && period[0] > 0)
		return quota[0] / period[0];
	return 0;
}

/* In a container, the path may name a group outside of what is mounted. Then use the root. */
static double lowest_quota(const char *root, char *group)
{
	double lowest = 0;
	for (;;) {
		double quota = group_quota(root, group);
		if (quota > 0 && (lowest == 0 || quota < lowest))
			lowest = quota;
		char *slash = strrchr(group, '/');
		if (!slash)
			return lowest;
		*slash = '\0';
	}
}

/* Is "cpu" in a list such as "cpu,cpuacct"? */
static bool has_cpu_controller(const char *list)
{
	for (; *list; list += strcspn(list, ","), list += *list == ',')
		if (strncmp(list, "cpu", 3) == 0 && (list[3] == ',' || !list[3]))
			return true;
	return false;
}

double cpus_quota(const char *list, const char *root)
{
	char line[GROUP_PATH_MAX] = "0::/\n", mounted[GROUP_PATH_MAX];
	double lowest = 0;
	FILE *in = fopen(list, "re");
	/* Without the list, as without /proc, try the root. */
	for (bool more = true; more; more = in && fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\n")] = '\0';
		char *group = line, *number = strsep(&group, ":"),
		     *controllers = strsep(&group, ":");
		if (!controllers || !group)
			continue;
		bool is_v2 = strcmp(number, "0") == 0 && !*controllers;
		if (!is_v2 && !has_cpu_controller(controllers))
			continue;
		snprintf(mounted, sizeof(mounted), "%s%s%s", root, is_v2 ? "" : "/", controllers);
		double quota = lowest_quota(mounted, group);
		if (quota > 0 && (lowest == 0 || quota < lowest))
			lowest = quota;
	}
	if (in)
		fclose(in);
	return lowest;
}

void cpus_count(struct cpus *c)
{
	c->allowed = count_allowed();
	c->quota = cpus_quota("/proc/self/cgroup", "/sys/fs/cgroup");
	c->usable = c->allowed;
	if (c->quota > 0 && c->quota < c->allowed)
		c->usable = (unsigned)c->quota + (c->quota > (unsigned)c->quota);
}
