#include "sandbox.h"

#include "fixture.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS_MAX = 32 };

void sandbox_fail_calls(const long calls[], size_t n, int error)
{
	struct sock_filter code[2 * CALLS_MAX + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	unsigned short length = 1;
	for (size_t i = 0; i < n && i < CALLS_MAX; i++) {
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							      (unsigned)calls[i], 0, 1);
		code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
							      SECCOMP_RET_ERRNO | (unsigned)error);
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {length, code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(125);
}

static bool unshare_mounts(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

bool sandbox_can_mount(void)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0)
		_exit(unshare_mounts() ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

void sandbox_cover(const char *path)
{
	if (!unshare_mounts() || mount("none", path, "tmpfs", 0, NULL) < 0)
		_exit(125);
}

void sandbox_journal(void)
{
	char value[64], path[PATH_IN_MAX];
	struct stat st;
	sandbox_cover("/run");
	if (mkdir("/run/systemd", 0755) < 0 || mkdir("/run/systemd/journal", 0755) < 0 ||
	    symlink(path_in("journal", path), "/run/systemd/journal/socket") < 0 ||
	    fstat(STDERR_FILENO, &st) < 0)
		_exit(125);
	snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)st.st_dev,
		 (unsigned long)st.st_ino);
	setenv("JOURNAL_STREAM", value, 1);
}

int sandbox_open_journal(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char path[PATH_IN_MAX];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strcpy(a.sun_path, path_in("journal", path));
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}
