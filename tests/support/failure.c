/*
 * Criterion reports the file and line of a failed check. If the check is in a function that tests
 * share, report the line of the test that called it instead. addr2line(1) of the binutils finds
 * it; without it, the report stays as it is.
 */
#include "fixture.h"

#include <execinfo.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES_MAX = 64 };

void __real_criterion_send_assert(struct criterion_assert_stats *stats);
void __wrap_criterion_send_assert(struct criterion_assert_stats *stats);

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool is_test(const char *path)
{
	return strncmp(base_name(path), "test_", 5) == 0;
}

/* dl_iterate_phdr(3) begins with the program. */
static int load_address(struct dl_phdr_info *info, size_t size, void *address)
{
	(void)size;
	*(uintptr_t *)address = info->dlpi_addr;
	return 1;
}

/* A command that prints the file:line of each caller, from the inner one to the outer one. */
static void write_command(char *command, size_t size)
{
	void *frame[FRAMES_MAX];
	uintptr_t base = 0;
	int depth = backtrace(frame, FRAMES_MAX);
	dl_iterate_phdr(load_address, &base);
	size_t used = (size_t)snprintf(command, size, "addr2line -i -e /proc/%d/exe", getpid());
	for (int i = 0; i < depth && used < size; i++) /* -1: the call, not what follows it */
		used += (size_t)snprintf(command + used, size - used, " %#zx",
					 (size_t)((uintptr_t)frame[i] - base - 1));
	if (used < size)
		snprintf(command + used, size - used, " 2>/dev/null");
}

/* The innermost line of the test's file, and the outermost one before that of Criterion's Test().
 */
static void find_lines(char inner[static 256], char outer[static 256])
{
	char command[2048], line[256], last[256] = "";
	write_command(command, sizeof(command));
	FILE *lines = popen(command, "re");
	while (lines && fgets(line, sizeof(line), lines)) {
		char *more = strstr(line, " (discriminator ");
		*(more ? more : line + strcspn(line, "\n")) = '\0';
		if (!is_test(line))
			continue;
		if (!*inner)
			strcpy(inner, line);
		strcpy(outer, last);
		strcpy(last, line);
	}
	if (lines)
		pclose(lines);
}

void __wrap_criterion_send_assert(struct criterion_assert_stats *stats)
{
	char inner[256] = "", outer[256] = "", message[16384];
	if (!stats->passed && !is_test(stats->file))
		find_lines(inner, outer);
	char *number = strrchr(inner, ':');
	if (number) {
		*number = '\0';
		stats->file = inner;
		stats->line = (unsigned)strtoul(number + 1, NULL, 10);
		if (*outer && strcmp(number + 1, strrchr(outer, ':') + 1) != 0) {
			snprintf(message, sizeof(message), "(called at %s) %s", base_name(outer),
				 stats->message);
			stats->message = message;
		}
	}
	__real_criterion_send_assert(stats);
}
