/*
 * A daemon holds a write lock on skeld.pid in its runtime directory (control/runtime.c).
 * /proc/locks lists the locks of all users, each with pid and inode, but without the path. The path
 * is that of the descriptor of the process that has this inode.
 */
#include "cli/instances.h"

#include "base/text.h"
#include "control/runtime.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Cut PATH to its directory. Returns false if it is no pid file of a daemon. */
static bool cut_to_directory(char *path)
{
	static const char name[] = "/skeld.pid";
	size_t n = strlen(path), length = sizeof(name) - 1;
	if (n <= length || strcmp(path + n - length, name) != 0)
		return false;
	path[n - length] = '\0';
	return true;
}

/* Another user may have chosen the name: report no path that must be escaped. */
static bool is_printable(const char *path)
{
	char escaped[PATH_MAX];
	text_escape(escaped, sizeof(escaped), path, strlen(path));
	return strcmp(escaped, path) == 0;
}

/* Report PID if it has locked its pid file, which has this INODE, in a directory other than DIR. */
static void report_holder(pid_t pid, unsigned long long inode, const char *dir)
{
	char fds[32], path[PATH_MAX];
	struct stat st, wanted;
	snprintf(fds, sizeof(fds), "/proc/%d/fd", (int)pid);
	DIR *d = opendir(fds);
	for (const struct dirent *e; d && (e = readdir(d));) {
		ssize_t n = fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_ino == inode
				    ? readlinkat(dirfd(d), e->d_name, path, sizeof(path) - 1)
				    : -1;
		path[n < 0 ? 0 : n] = '\0';
		/* In a container the same path is another directory: ask for the owner. */
		if (!cut_to_directory(path) || !is_printable(path) || runtime_owner(path) != pid ||
		    (stat(dir, &wanted) == 0 && stat(path, &st) == 0 &&
		     wanted.st_ino == st.st_ino && wanted.st_dev == st.st_dev))
			continue;
		fprintf(stderr, "skeld: pid %d runs in %s, use -r %s\n", (int)pid, path, path);
		break;
	}
	if (d)
		closedir(d);
}

void instances_report(const char *dir)
{
	char line[256];
	int pid;
	unsigned long long inode;
	FILE *locks = fopen("/proc/locks", "re");
	/* "1: POSIX  ADVISORY  WRITE 1234 fe:01:5678 0 EOF" */
	while (locks && fgets(line, sizeof(line), locks))
		if (sscanf(line, "%*s POSIX ADVISORY WRITE %d %*x:%*x:%llu", &pid, &inode) == 2 &&
		    pid > 0)
			report_holder(pid, inode, dir);
	if (locks)
		fclose(locks);
}
