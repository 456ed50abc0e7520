/* Implements service_spawn() of service_thread.h. Any thread. */
#include "service_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

enum { N_STANDARD = 3 }; /* descriptors: input, output, error */

static int set_files(posix_spawn_file_actions_t *files, const int fds[])
{
	int error = 0; /* the descriptors of the daemon are closed by O_CLOEXEC */
	for (int i = 0; i < N_STANDARD && !error; i++)
		error = fds[i] < 0
				? posix_spawn_file_actions_addopen(files, i, "/dev/null", O_RDWR, 0)
				: posix_spawn_file_actions_adddup2(files, fds[i], i);
	return error;
}

pid_t service_spawn(const char *const argv[], const int fds[3])
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	pid_t pid = -1;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int error = set_files(&files, fds);
	if (!error)
		error = posix_spawnp(&pid, argv[0], &files, &attributes,
				     (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attributes);
	errno = error;
	return error ? -1 : pid;
}
