/* The library that LD_PRELOAD puts before libc, see inject.h. */
#include "inject.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* glibc's names of the replaced functions: dlsym(3) allocates memory, so it cannot be used. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

enum { FRAMES = 16 };

static struct inject *page;
static __thread bool looking; /* the search for the caller may call counted functions */

/* "library:function+offset" of each frame above this library, if known. */
static void note_caller(void)
{
	void *frame[FRAMES];
	size_t used = 0;
	Dl_info self, at;
	int n = backtrace(frame, FRAMES);
	dladdr((void *)(uintptr_t)note_caller, &self);
	for (int i = 0; i < n && used < sizeof(page->where); i++) {
		if (!dladdr(frame[i], &at) || at.dli_fbase == self.dli_fbase)
			continue;
		const char *slash = strrchr(at.dli_fname, '/');
		used += (size_t)snprintf(page->where + used, sizeof(page->where) - used,
					 "%s:%s+0x%zx ", slash ? slash + 1 : at.dli_fname,
					 at.dli_sname ? at.dli_sname : "",
					 (size_t)((char *)frame[i] - (char *)at.dli_fbase));
	}
}

/* Must this call fail? If so, errno is set. SHORT: the function can do less than requested. */
static bool fails(enum call call)
{
	if (!page || looking)
		return false;
	long n = atomic_fetch_add(&page->seen[call], 1) + 1;
	if (atomic_load(&page->hit) && atomic_load(&page->lasting) &&
	    atomic_load(&page->call) == (int)call) {
		errno = atomic_load(&page->error);
		return true;
	}
	if (atomic_load(&page->call) != (int)call ||
	    !atomic_compare_exchange_strong(&page->nth, &(long){n}, -n))
		return false;
	looking = true;
	note_caller();
	looking = false;
	atomic_store(&page->hit, 1);
	errno = atomic_load(&page->error);
	return true;
}

static size_t half(size_t n)
{
	return n / 2 ? n / 2 : n;
}

__attribute__((constructor)) static void attach(void)
{
	void *frame[1];
	const char *path = getenv("SKELD_INJECT");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at = fd < 0 ? MAP_FAILED
			  : mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	backtrace(frame, 1); /* the first call loads a library */
	if (at != MAP_FAILED)
		page = at;
}

/* Memory. */

void *malloc(size_t n)
{
	return fails(CALL_memory) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails(CALL_memory) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails(CALL_memory) ? NULL : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	if (size && n > SIZE_MAX / size) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, n * size);
}

void *aligned_alloc(size_t alignment, size_t n)
{
	return fails(CALL_memory) ? NULL : __libc_memalign(alignment, n);
}

/* System calls, and file functions of libc. NEXT is the definition of libc. */

#define NEXT(name, result, ...)                                                                    \
	static result (*next)(__VA_ARGS__);                                                        \
	if (!next)                                                                                 \
	next = (result(*)(__VA_ARGS__))(uintptr_t)dlsym(RTLD_NEXT, #name)

#define SHAPE_1(name, result, failed, a)                                                           \
	result name(a x)                                                                           \
	{                                                                                          \
		NEXT(name, result, a);                                                             \
		return fails(CALL_##name) ? (failed) : next(x);                                    \
	}
#define SHAPE_2(name, result, failed, a, b)                                                        \
	result name(a x, b y)                                                                      \
	{                                                                                          \
		NEXT(name, result, a, b);                                                          \
		return fails(CALL_##name) ? (failed) : next(x, y);                                 \
	}
#define SHAPE_3(name, result, failed, a, b, c)                                                     \
	result name(a x, b y, c z)                                                                 \
	{                                                                                          \
		NEXT(name, result, a, b, c);                                                       \
		return fails(CALL_##name) ? (failed) : next(x, y, z);                              \
	}
#define SHAPE_4(name, result, failed, a, b, c, d)                                                  \
	result name(a x, b y, c z, d w)                                                            \
	{                                                                                          \
		NEXT(name, result, a, b, c, d);                                                    \
		return fails(CALL_##name) ? (failed) : next(x, y, z, w);                           \
	}
#define SHAPE_5(name, result, failed, a, b, c, d, e)                                               \
	result name(a x, b y, c z, d w, e v)                                                       \
	{                                                                                          \
		NEXT(name, result, a, b, c, d, e);                                                 \
		return fails(CALL_##name) ? (failed) : next(x, y, z, w, v);                        \
	}

SHAPE_2(ftruncate, int, -1, int, off_t)
SHAPE_4(renameat, int, -1, int, const char *, int, const char *)
SHAPE_2(mkdir, int, -1, const char *, mode_t)
SHAPE_3(unlinkat, int, -1, int, const char *, int)
SHAPE_1(unlink, int, -1, const char *)
SHAPE_2(stat, int, -1, const char *, struct stat *)
SHAPE_2(fstat, int, -1, int, struct stat *)
SHAPE_4(fstatat, int, -1, int, const char *, struct stat *, int)
SHAPE_2(lstat, int, -1, const char *, struct stat *)
SHAPE_3(socket, int, -1, int, int, int)
SHAPE_5(setsockopt, int, -1, int, int, int, const void *, socklen_t)
SHAPE_3(getsockname, int, -1, int, struct sockaddr *, socklen_t *)
SHAPE_3(bind, int, -1, int, const struct sockaddr *, socklen_t)
SHAPE_2(listen, int, -1, int, int)
typedef int pair[2];
SHAPE_2(pipe2, int, -1, pair, int)
SHAPE_4(socketpair, int, -1, int, int, int, pair)
SHAPE_4(accept4, int, -1, int, struct sockaddr *, socklen_t *, int)
SHAPE_3(connect, int, -1, int, const struct sockaddr *, socklen_t)
SHAPE_3(sendmsg, ssize_t, -1, int, const struct msghdr *, int)
SHAPE_4(sendmmsg, int, -1, int, struct mmsghdr *, unsigned, int)
SHAPE_5(recvmmsg, int, -1, int, struct mmsghdr *, unsigned, int, struct timespec *)
SHAPE_3(readv, ssize_t, -1, int, const struct iovec *, int)
SHAPE_3(writev, ssize_t, -1, int, const struct iovec *, int)
SHAPE_2(shutdown, int, -1, int, int)
SHAPE_3(poll, int, -1, struct pollfd *, nfds_t, int)
SHAPE_1(epoll_create1, int, -1, int)
SHAPE_4(epoll_ctl, int, -1, int, int, int, struct epoll_event *)
SHAPE_4(epoll_wait, int, -1, int, struct epoll_event *, int, int)

SHAPE_3(sigaction, int, -1, int, const struct sigaction *, struct sigaction *)
SHAPE_3(waitpid, pid_t, -1, pid_t, int *, int)
SHAPE_1(sem_wait, int, -1, sem_t *)
SHAPE_2(getrlimit, int, -1, __rlimit_resource_t, struct rlimit *)
SHAPE_2(setrlimit, int, -1, __rlimit_resource_t, const struct rlimit *)
SHAPE_2(fopen, FILE *, NULL, const char *, const char *)
SHAPE_3(fmemopen, FILE *, NULL, void *, size_t, const char *)
SHAPE_2(open_memstream, FILE *, NULL, char **, size_t *)
SHAPE_1(opendir, DIR *, NULL, const char *)

int eventfd(unsigned initial, int flags)
{
	NEXT(eventfd, int, unsigned, int);
	return fails(CALL_eventfd) ? -1 : next(initial, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
		   void *arg)
{
	NEXT(pthread_create, int, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	return fails(CALL_pthread_create) ? errno : next(thread, attributes, run, arg);
}

/* The descriptor is closed although close(2) fails, as on Linux. Closing a descriptor that is not
 * open is a mistake: the next time it may belong to another file. */
int close(int fd)
{
	NEXT(close, int, int);
	int error = fails(CALL_close) ? errno : 0, result = next(fd);
	if (page && result < 0 && errno == EBADF)
		atomic_store(&page->closed_twice, 1);
	errno = error ? error : errno;
	return error ? -1 : result;
}

int fclose(FILE *file)
{
	NEXT(fclose, int, FILE *);
	int error = fails(CALL_fclose) ? errno : 0, result = next(file);
	errno = error ? error : errno;
	return error ? EOF : result;
}

int open(const char *path, int flags, ...)
{
	NEXT(open, int, const char *, int, ...);
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return fails(CALL_open) ? -1 : next(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	NEXT(openat, int, int, const char *, int, ...);
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return fails(CALL_openat) ? -1 : next(dir, path, flags, mode);
}

/* Every third argument fits a pointer. */
int fcntl(int fd, int command, ...)
{
	NEXT(fcntl, int, int, int, ...);
	va_list ap;
	va_start(ap, command);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	return fails(CALL_fcntl) ? -1 : next(fd, command, arg);
}

int ioctl(int fd, unsigned long request, ...)
{
	NEXT(ioctl, int, int, unsigned long, ...);
	va_list ap;
	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	return fails(CALL_ioctl) ? -1 : next(fd, request, arg);
}

/* Functions that can do less than requested. */
#define LESS(call, n)                                                                              \
	if (fails(call)) {                                                                         \
		if (errno != SHORT)                                                                \
			return -1;                                                                 \
		(n) = half(n);                                                                     \
	}

/* A pipe has no device that can fail with EIO. */
static bool has_no_such_error(int fd)
{
	return atomic_load(&page->error) == EIO && syscall(SYS_fcntl, fd, F_GETPIPE_SZ) >= 0;
}

ssize_t read(int fd, void *bytes, size_t n)
{
	NEXT(read, ssize_t, int, void *, size_t);
	if (page && has_no_such_error(fd))
		return next(fd, bytes, n);
	LESS(CALL_read, n)
	return next(fd, bytes, n);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
	NEXT(write, ssize_t, int, const void *, size_t);
	LESS(CALL_write, n)
	return next(fd, bytes, n);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	NEXT(pwrite, ssize_t, int, const void *, size_t, off_t);
	LESS(CALL_pwrite, n)
	return next(fd, bytes, n, at);
}

ssize_t recv(int fd, void *bytes, size_t n, int flags)
{
	NEXT(recv, ssize_t, int, void *, size_t, int);
	LESS(CALL_recv, n)
	return next(fd, bytes, n, flags);
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	NEXT(send, ssize_t, int, const void *, size_t, int);
	LESS(CALL_send, n)
	return next(fd, bytes, n, flags);
}

ssize_t sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *to,
	       socklen_t length)
{
	NEXT(sendto, ssize_t, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	return fails(CALL_sendto) ? -1 : next(fd, bytes, n, flags, to, length);
}

pid_t fork(void)
{
	NEXT(fork, pid_t, void);
	return fails(CALL_fork) ? -1 : next();
}
