/* control/memory: the memory of the machine and the limits of control groups. */
#include "control/memory.h"
#include "fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(memory_available, .init = fixture_enter, .fini = fixture_leave);

static void make_group(const char *path, const char *limit)
{
	char file[256];
	MUST(mkdir(path, 0700) == 0);
	snprintf(file, sizeof(file), "%s/memory.max", path);
	file_write(file, limit);
}

static uint64_t without_groups(void)
{
	return memory_available("missing", "root");
}

Test(memory_available, without_control_groups_it_is_the_memory_of_the_machine)
{
	cr_assert_gt(without_groups(), 1 << 20);
	cr_assert_lt(without_groups(), UINT64_MAX);
	file_write("list", "1:memory:/old\n");
	cr_assert_eq(memory_available("list", "root"), without_groups());
}

Test(memory_available, the_lowest_limit_of_a_group_and_those_above_applies)
{
	MUST(mkdir("root", 0700) == 0);
	make_group("root/a", "2097152\n");
	make_group("root/a/b", "1048576\n");
	make_group("root/a/b/c", "4194304\n");
	make_group("root/a/d", "max\n");
	file_write("list", "1:cpu:/x\n0::/a/b/c\n");
	cr_assert_eq(memory_available("list", "root"), 1048576);
	file_write("list", "0::/a/d\n");
	cr_assert_eq(memory_available("list", "root"), 2097152);
	file_write("list", "0::/\n");
	cr_assert_eq(memory_available("list", "root"), without_groups());
}

/* In a container, the group of the process is the root of the mount. */
Test(memory_available, the_limit_of_the_root_applies_in_a_container)
{
	make_group("root", "1048576\n");
	file_write("list", "0::/\n");
	cr_assert_eq(memory_available("list", "root"), 1048576);
}
