#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { SOURCE_ADDRESSES = 64 };

__attribute__((format(printf, 2, 0))) _Noreturn static void die_with(int error, const char *format,
								     va_list arguments)
{
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, arguments);
	if (error)
		fprintf(stderr, ": %s", strerror(error));
	fputc('\n', stderr);
	exit(1);
}

void die(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	die_with(error, format, arguments);
}

void diex(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	die_with(0, format, arguments);
}

double number_between(const char *text, double low, double high, const char *name)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= low && value <= high))
		diex("%s = \"%s\": expected a number from %.10g to %.10g", name, text, low, high);
	return value;
}

static double microseconds(const struct timespec *time)
{
	return (double)time->tv_sec * 1e6 + (double)time->tv_nsec * 1e-3;
}

double clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return microseconds(&now);
}

void pause_us(double us)
{
	struct timespec left = {.tv_sec = (time_t)(us / 1e6)};

	left.tv_nsec = (long)((us - (double)left.tv_sec * 1e6) * 1e3);
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

void set_low_latency(void)
{
	/* struct sched_attr, sched_setattr(2): missing in some C libraries. */
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} slice = {.size = sizeof(slice), .policy = SCHED_OTHER, .runtime = 100000};

	prctl(PR_SET_TIMERSLACK, 1); /* the default is 50 us, too long for these measurements */
	/* From Linux 6.12 on, a thread with a short slice runs sooner. */
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}))
		syscall(SYS_sched_setattr, 0, &slice, 0);
}

/* Call VISIT for PID and for each of its children. */
static void visit_processes(pid_t pid, void (*visit)(pid_t pid, void *sum), void *sum)
{
	char path[64];
	FILE *children;
	int child;

	visit(pid, sum);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	children = fopen(path, "re");
	if (!children)
		die("cannot open %s", path);
	while (fscanf(children, "%d", &child) == 1)
		visit(child, sum);
	fclose(children);
}

static void add_cpu_of(pid_t pid, void *sum)
{
	clockid_t clock;
	struct timespec used;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used))
		diex("cannot read the processor time of process %d", pid);
	*(double *)sum += microseconds(&used);
}

double process_cpu_us(pid_t pid)
{
	double sum = 0;

	visit_processes(pid, add_cpu_of, &sum);
	return sum;
}

static void add_memory_of(pid_t pid, void *memory)
{
	struct memory *sum = memory;
	char path[64], line[256];
	double kilobytes;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	file = fopen(path, "re");
	if (!file)
		die("cannot open %s", path);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Pss: %lf", &kilobytes) == 1)
			sum->pss += kilobytes * 1024;
		else if (sscanf(line, "Pss_Anon: %lf", &kilobytes) == 1)
			sum->heap += kilobytes * 1024;
		else if (sscanf(line, "Private_Clean: %lf", &kilobytes) == 1 ||
			 sscanf(line, "Private_Dirty: %lf", &kilobytes) == 1)
			sum->private_used += kilobytes * 1024;
	}
	fclose(file);
}

struct memory process_memory(pid_t pid)
{
	struct memory sum = {0};

	visit_processes(pid, add_memory_of, &sum);
	return sum;
}

void samples_add(struct samples *samples, double value)
{
	if (samples->n == samples->room) {
		samples->room = samples->room ? samples->room * 2 : 1 << 16;
		samples->values =
			realloc(samples->values, samples->room * sizeof(*samples->values));
		if (!samples->values)
			die("cannot allocate samples");
	}
	samples->values[samples->n++] = value;
}

void samples_clear(struct samples *samples)
{
	samples->n = 0;
}

void samples_free(struct samples *samples)
{
	free(samples->values);
	*samples = (struct samples){0};
}

static int by_value(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

double samples_quantile(struct samples *samples, double fraction)
{
	if (!samples->n)
		return 0;
	qsort(samples->values, samples->n, sizeof(*samples->values), by_value);
	return samples->values[(size_t)((double)(samples->n - 1) * fraction)];
}

void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		die("cannot read RLIMIT_NOFILE");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("cannot raise RLIMIT_NOFILE");
}

int client_connect(unsigned short port, unsigned number, bool blocking)
{
	const int on = 1;
	const struct timeval timeout = {.tv_sec = 5};
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr =
					   htonl(INADDR_LOOPBACK + 1 + number % SOURCE_ADDRESSES)};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);

	if (fd < 0)
		return -1;
	/* Otherwise bind(2) reserves a port for all destinations, and ports run out. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (blocking) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	}
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) ||
	    (connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

bool client_send(int fd, const void *bytes, size_t size)
{
	return send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

bool client_receive(int fd, void *bytes, size_t size)
{
	return recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size;
}
