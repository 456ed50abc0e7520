/*
 * The interposed library and the tests share one page of memory: both map the file $SKELD_INJECT.
 * The library counts every call of the functions below. The call that the test selects fails with
 * the selected errno.
 */
#ifndef SKELD_TESTS_INJECT_H
#define SKELD_TESTS_INJECT_H

#include <stdatomic.h>

/* One name for all allocations: malloc calloc realloc aligned_alloc, and the functions of libc
 * that use them. */
/* clang-format off */
#define INJECT_CALLS(X) \
	X(memory) X(open) X(openat) X(read) X(write) X(pwrite) X(close) X(ftruncate) \
	X(fcntl) X(ioctl) X(renameat) X(mkdir) X(unlinkat) X(unlink) X(stat) X(fstat) \
	X(fstatat) X(lstat) X(socket) X(setsockopt) X(getsockname) X(bind) X(listen) \
	X(accept4) X(connect) X(send) X(sendto) X(sendmsg) X(sendmmsg) X(recv) X(recvmmsg) X(readv) X(writev) \
	X(shutdown) X(poll) X(epoll_create1) X(epoll_ctl) X(epoll_wait) X(eventfd) \
	X(pipe2) X(socketpair) X(fork) X(waitpid) X(pthread_create) X(sigaction) X(sem_wait) \
	X(getrlimit) X(setrlimit) X(fopen) X(fmemopen) X(open_memstream) X(opendir) X(fclose)
/* clang-format on */

#define INJECT_NAME(name) CALL_##name,
enum call { INJECT_CALLS(INJECT_NAME) N_CALLS };
#undef INJECT_NAME

/* Instead of an errno: half of the bytes, at least one; no memory from this call on. */
enum { SHORT = -1, LASTING = -2 };

struct inject {
	_Atomic int call, error;
	_Atomic long nth; /* the number of the call that fails, counted since seen[] was cleared; 0:
			     none; negative: it has failed */
	_Atomic long seen[N_CALLS];
	_Atomic int hit;
	_Atomic int closed_twice; /* a descriptor, ever */
	_Atomic int lasting;	  /* all later calls of this kind fail, too */
	char where[1024];	  /* the callers: "library:function+offset", the innermost first */
};

#endif
