/*
 * The interposed library and the tests that drive it share one page of memory: a file, named by
 * $SKELD_INJECT, that both map. Every call of a function named below is counted there; the one
 * that the test has chosen fails, with the errno that it has chosen.
 */
#ifndef SKELD_TESTS_INJECT_H
#define SKELD_TESTS_INJECT_H

#include <stdatomic.h>

/* All that allocates is one: malloc calloc realloc aligned_alloc, and what libc builds on them. */
/* clang-format off */
#define INJECT_CALLS(X) \
	X(memory) X(open) X(openat) X(read) X(write) X(pwrite) X(close) X(ftruncate) \
	X(fcntl) X(ioctl) X(renameat) X(mkdir) X(unlinkat) X(unlink) X(stat) X(fstat) \
	X(fstatat) X(lstat) X(socket) X(setsockopt) X(getsockname) X(bind) X(listen) \
	X(accept4) X(connect) X(send) X(sendto) X(sendmsg) X(recv) X(readv) X(writev) \
	X(shutdown) X(poll) X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(eventfd) \
	X(pipe2) X(socketpair) X(fork) X(waitpid) X(pthread_create) X(sigaction) X(sem_wait) \
	X(getrlimit) X(setrlimit) X(fopen) X(fmemopen) X(open_memstream) X(opendir) X(fclose)
/* clang-format on */

#define INJECT_NAME(name) CALL_##name,
enum call { INJECT_CALLS(INJECT_NAME) N_CALLS };
#undef INJECT_NAME

/* Instead of an errno: half of the bytes, one at least; no memory, this time and from then on. */
enum { SHORT = -1, LASTING = -2 };

struct inject {
	_Atomic int call, error;
	_Atomic long nth; /* of these calls, counted from when seen[] was cleared; 0 = none;
			     negative: it is the one that fails, now or before */
	_Atomic long seen[N_CALLS];
	_Atomic int hit;
	_Atomic int closed_twice; /* a descriptor, ever */
	_Atomic int lasting;	  /* from the one that fails on, all of its kind do */
	char where[1024];	  /* who called: "library:function+offset", the innermost first */
};

#endif
