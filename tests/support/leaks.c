#include "leaks.h"

#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature
#define ADDRESS_SANITIZER __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#else
#define ADDRESS_SANITIZER 0
#endif
#if ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

size_t descriptors_before;

size_t open_descriptors(void)
{
	size_t n = 0;
	DIR *d = opendir("/proc/self/fd");
	MUST(d);
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1; /* the descriptor of this directory */
}

bool memory_leaks(void)
{
#if ADDRESS_SANITIZER
	return __lsan_do_recoverable_leak_check();
#else
	return false;
#endif
}

void fixture_leave_nothing(void)
{
	bool left = open_descriptors() != descriptors_before, lost = memory_leaks();
	fixture_leave();
	if (!left && !lost)
		return;
	fprintf(stderr, "# a %s was left by %s\n", left ? "descriptor" : "block of memory",
		criterion_current_test->name);
	abort();
}
