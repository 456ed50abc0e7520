#include "control/memory.h"

#include "base/log.h"

#include <limits.h>
#include <string.h>
#include <sys/sysinfo.h>

/* Store the path of the version 2 group, which is in the line "0::PATH". */
static bool read_group(const char *list, char path[static PATH_MAX])
{
	FILE *in = fopen(list, "re");
	bool found = false;
	while (in && !found && fgets(path, PATH_MAX, in))
		found = strncmp(path, "0::/", 4) == 0;
	if (in)
		fclose(in);
	if (found) {
		path[strcspn(path, "\n")] = '\0';
		memmove(path, path + 3, strlen(path + 3) + 1);
	}
	return found;
}

/* Returns UINT64_MAX if the group has no limit ("max"), or no such file: the root has none. */
static uint64_t read_limit(const char *root, const char *group)
{
	char file[2 * PATH_MAX];
	unsigned long long limit = UINT64_MAX;
	snprintf(file, sizeof(file), "%s%s/memory.max", root, group);
	FILE *in = fopen(file, "re");
	if (in && fscanf(in, "%llu", &limit) != 1)
		limit = UINT64_MAX;
	if (in)
		fclose(in);
	return limit;
}

uint64_t memory_available(const char *list, const char *root)
{
	struct sysinfo machine;
	char group[PATH_MAX], *last;
	uint64_t least = UINT64_MAX, limit;
	if (sysinfo(&machine) == 0)
		least = (uint64_t)machine.totalram * machine.mem_unit;
	if (!read_group(list, group))
		return least;
	do {
		limit = read_limit(root, group);
		least = limit < least ? limit : least;
		last = strrchr(group, '/');
		if (last)
			*last = '\0';
	} while (last);
	return least;
}

void memory_check(const struct config *c)
{
	uint64_t available = memory_available("/proc/self/cgroup", "/sys/fs/cgroup");
	if ((uint64_t)c->limits.memory > available)
		log_warning("limits.memory = %lld: the machine or the control group has only %llu "
			    "bytes; lower it",
			    (long long)c->limits.memory, (unsigned long long)available);
}
