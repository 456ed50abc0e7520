/* base/cpus: processors and quotas of control groups. */
/* build: WRAP sched_getaffinity */
#include "base/cpus.h"

#include "fixture.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(cpus, .init = fixture_enter, .fini = fixture_leave);

/* The machine has as many processors as these bytes have bits; the process may use the last one. */
static size_t machine_bytes;

int __real_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	if (!machine_bytes)
		return __real_sched_getaffinity(pid, size, set);
	if (size < machine_bytes) {
		errno = EINVAL;
		return -1;
	}
	memset(set, 0, size);
	CPU_SET_S(8 * machine_bytes - 1, size, set);
	CPU_SET_S(0, size, set);
	return 0;
}

Test(cpus, a_machine_with_many_processors_is_counted)
{
	static const size_t processors[] = {64, 1024, 2048, 8192, 1 << 20};
	for (size_t i = 0; i < sizeof(processors) / sizeof(*processors); i++) {
		struct cpus c;
		machine_bytes = processors[i] / 8;
		cpus_count(&c);
		cr_assert_eq(c.allowed, 2, "%zu processors", processors[i]);
	}
	EXPECT_NOTHING_LEFT();
}

static void write_group(const char *path, const char *file, const char *text)
{
	char name[256];
	snprintf(name, sizeof(name), "%s", path);
	for (char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(name, 0755);
		*slash = '/';
	}
	mkdir(name, 0755);
	snprintf(name, sizeof(name), "%s/%s", path, file);
	file_write(name, text);
}

static void expect_quota(const char *list, double expected)
{
	file_write("list", list);
	double quota = cpus_quota("list", "cg");
	cr_assert(quota > expected - 1e-9 && quota < expected + 1e-9, "%g, not %g: %s", quota,
		  expected, list);
}

Test(cpus, the_lowest_quota_of_a_group_and_those_above_it_counts)
{
	write_group("cg/a", "cpu.max", "150000 100000\n");
	write_group("cg/a/b", "cpu.max", "max 100000\n");
	write_group("cg/a/c", "cpu.max", "50000 100000\n");
	expect_quota("0::/a/b\n", 1.5);
	expect_quota("0::/a/c\n", 0.5);
	expect_quota("0::/other\n", 0);
	EXPECT_NOTHING_LEFT();
}

Test(cpus, version_1_has_its_quota_in_two_files)
{
	write_group("cg/cpu,cpuacct/a", "cpu.cfs_quota_us", "250000\n");
	write_group("cg/cpu,cpuacct/a", "cpu.cfs_period_us", "100000\n");
	write_group("cg/cpu,cpuacct/b", "cpu.cfs_quota_us", "-1\n");
	write_group("cg/cpu,cpuacct/b", "cpu.cfs_period_us", "100000\n");
	write_group("cg/cpuset/a", "cpu.cfs_quota_us", "1\n");
	write_group("cg/cpuset/a", "cpu.cfs_period_us", "100000\n");
	expect_quota("4:memory:/a\n3:cpu,cpuacct:/a\n2:cpuset:/a\n0::/\n", 2.5);
	expect_quota("3:cpu,cpuacct:/b\n", 0);
	EXPECT_NOTHING_LEFT();
}

/* In a container, the list may name a group that is not mounted, or may be missing. */
Test(cpus, the_root_counts_if_the_group_cannot_be_seen)
{
	write_group("cg", "cpu.max", "200000 100000\n");
	expect_quota("0::/../../system.slice/x\n", 2);
	expect_quota("0::/docker/1234\n", 2);
	cr_assert_eq(cpus_quota("no-such-list", "cg"), 2);
	cr_assert_eq(cpus_quota("no-such-list", "no-such-root"), 0);
	EXPECT_NOTHING_LEFT();
}

Test(cpus, malformed_files_are_no_quota)
{
	static const char *const bad[] = {"",	      "max\n",	     "0 100000\n",
					  "1000 0\n", "-1 100000\n", "x y\n"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_group("cg/a", "cpu.max", bad[i]);
		expect_quota("0::/a\n", 0);
	}
	expect_quota("nonsense\n", 0);
	expect_quota("0:\n", 0);
	expect_quota("\n", 0);
	EXPECT_NOTHING_LEFT();
}
