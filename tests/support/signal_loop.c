#include "signal_loop.h"

#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

const int kinds[N_KINDS] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
struct signal_loop loop;

static void take_all(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	loop.callbacks++;
	cr_assert(loop.n + SIGNAL_QUEUE_SIZE <= TAKEN_MAX);
	loop.n += signal_queue_take(loop.taken + loop.n);
	int signal = loop.raise_before_return;
	loop.raise_before_return = 0;
	if (signal)
		raise(signal);
	signal_queue_resume();
}

sigset_t all_kinds(void)
{
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < N_KINDS; i++)
		sigaddset(&set, kinds[i]);
	return set;
}

void signal_loop_start(void)
{
	fixture_enter();
	sigset_t set = all_kinds();
	for (int fd = 0; fd < DESCRIPTORS; fd++)
		loop.was_open[fd] = fcntl(fd, F_GETFD) >= 0;
	loop.base = event_base_new();
	MUST(loop.base);
	for (size_t i = 0; i < N_KINDS; i++) {
		loop.event[i] = evsignal_new(loop.base, kinds[i], take_all, NULL);
		MUST(loop.event[i] && event_add(loop.event[i], NULL) == 0);
		MUST(signal_queue_install(kinds[i], &set, kinds[i] != SIGTERM) == 0);
	}
}

void signal_loop_end(void)
{
	for (size_t i = 0; i < N_KINDS; i++)
		event_free(loop.event[i]);
	event_base_free(loop.base);
	libevent_global_shutdown();
	signal_queue_reset();
	EXPECT_NOTHING_LEFT();
}

void turn(void)
{
	MUST(event_base_loop(loop.base, EVLOOP_NONBLOCK) >= 0);
}

void raise_times(int signal, long n)
{
	while (n--)
		raise(signal);
}

void expect_kinds(const int *expected, size_t n)
{
	cr_assert_eq(loop.n, n, "%zu arrivals, expected %zu", loop.n, n);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(loop.taken[i].signal, expected[i], "arrival %zu is signal %d", i,
			     loop.taken[i].signal);
}

/* The pipe is the only one that was opened after the test began. FIONREAD fails on its write end.
 */
int pipe_bytes(void)
{
	int bytes = -1;
	for (int fd = 3; fd < DESCRIPTORS; fd++) {
		struct stat st;
		int n;
		if (!loop.was_open[fd] && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
		    ioctl(fd, FIONREAD, &n) == 0)
			bytes = n > bytes ? n : bytes;
	}
	cr_assert_geq(bytes, 0, "libevent has no pipe");
	return bytes;
}
