/*
 * The environment that a service manager sets. Each line of the input is NAME=value, where '%'
 * means the pid of this process, or a message for the service manager. The variables are removed,
 * passed descriptors are used or closed, no call blocks, and the messages arrive complete.
 */
/* fuzz: 10000 8192 */
#include "base/log.h"
#include "control/notify.h"
#include "control/systemd_sockets.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 3, PASSED = 7, SAFE = 6000 }; /* the fuzzer's own descriptors start at SAFE */
static const char *const variables[] = {"NOTIFY_SOCKET", "FDSTORE",	   "LISTEN_PID",
					"LISTEN_FDS",	 "LISTEN_FDNAMES", "WATCHDOG_USEC",
					"WATCHDOG_PID"};
enum { VARIABLES = sizeof(variables) / sizeof(*variables) };
static int to_pass[PASSED], manager;

static int move_to_safe(int fd)
{
	int safe = fcntl(fd, F_DUPFD_CLOEXEC, SAFE);
	CHECK(fd >= 0 && safe >= SAFE, "%m");
	close(fd);
	return safe;
}

static int open_listener(int family)
{
	struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
	socklen_t length = family == AF_UNIX ? sizeof(sa_family_t) : sizeof(any);
	int fd = move_to_safe(socket(family, SOCK_STREAM, 0));
	CHECK(bind(fd, (struct sockaddr *)&any, length) == 0 && listen(fd, 1) == 0, "%m");
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char why[256];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	(void)argc, (void)argv;
	/* Listening sockets, one of them twice, and descriptors that do not listen. */
	to_pass[0] = open_listener(AF_INET);
	to_pass[1] = to_pass[0];
	to_pass[2] = open_listener(AF_UNIX);
	to_pass[3] = move_to_safe(open("/dev/null", O_RDWR));
	to_pass[4] = open_listener(AF_INET);
	to_pass[5] = move_to_safe(socket(AF_UNIX, SOCK_DGRAM, 0));
	to_pass[6] = move_to_safe(socket(AF_INET, SOCK_STREAM, 0));

	manager = move_to_safe(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "skeld-fuzz-%d", (int)getpid());
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	CHECK(bind(manager, (struct sockaddr *)&a, length) == 0, "%m");
	struct log_target *t = log_open(LOG_TO_FILE, "/dev/null", why, sizeof(why));
	CHECK(t, "%s", why);
	log_switch(t);
	return 0;
}

/* Copy LINE to OUT with the pid in place of each '%'. Returns true if it set a variable. */
static bool expand(const char *line, size_t n, char *out, size_t size)
{
	size_t used = 0;
	for (size_t i = 0; i < n && used + 16 < size; i++) {
		out[used] = line[i];
		used += line[i] == '%' ? (size_t)sprintf(out + used, "%d", (int)getpid()) : 1;
	}
	out[used] = '\0';
	for (size_t i = 0; i < VARIABLES; i++) {
		size_t length = strlen(variables[i]);
		if (strncmp(out, variables[i], length) == 0 && out[length] == '=') {
			setenv(variables[i], out + length + 1, 1);
			return true;
		}
	}
	return false;
}

static void check_sockets(void)
{
	struct listeners passed = {0};
	struct errors e = {0};
	size_t n = 0;
	bool any = getenv("LISTEN_FDS") != NULL;
	for (int i = 0; any && i < PASSED; i++)
		CHECK(dup2(to_pass[i], FIRST + i) == FIRST + i, "%m");
	systemd_sockets_take(&passed, &e);
	for (size_t i = 0; i < passed.n; i++)
		for (size_t k = 0; k < passed.listener[i]->n_fds; k++, n++)
			CHECK(fcntl(passed.listener[i]->fds[k], F_GETFD) & FD_CLOEXEC, "%m");
	for (size_t i = 0; i < errors_stored(&e); i++)
		CHECK(is_printable_line(errors_text(&e, i)), "%s", errors_text(&e, i));
	listeners_clear(&passed);
	errors_clear(&e);
	/* The first ones are closed by now. Those that were not passed are still open. */
	size_t n_closed = 0;
	for (int i = 0; any && i < PASSED; i++) {
		bool closed = close(FIRST + i) < 0;
		CHECK(!closed || n_closed == (size_t)i, "descriptor %d", FIRST + i);
		n_closed += closed;
	}
	size_t listening = n_closed >= 5 ? 4 : n_closed < 3 ? n_closed : 3;
	CHECK(n == listening, "%zu listen, %zu passed", n, n_closed);
}

/* Read all datagrams. READY=1 is never lost, also when the socket was full. */
static void expect_messages(struct notify *n, bool ready)
{
	char text[2 * NOTIFY_MAX];
	bool seen = false;
	for (ssize_t length; (length = recv(manager, text, sizeof(text) - 1, 0)) >= 0;) {
		text[length] = '\0';
		CHECK(length < NOTIFY_MAX, "%zd bytes", length);
		seen = seen || strncmp(text, "READY=1\n", 8) == 0 || strstr(text, "\nREADY=1\n");
		notify_retry(n);
	}
	CHECK(errno == EAGAIN, "%m");
	CHECK(!ready || seen, "READY=1 was lost");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[2 * NOTIFY_MAX], name[64];
	struct notify n;
	const char *at = (const char *)data, *end = at + size, *stop;
	char *messages[64];
	size_t n_messages = 0;
	for (; at < end; at = stop + 1) {
		stop = memchr(at, '\n', (size_t)(end - at));
		stop = stop ? stop : end;
		if (!expand(at, (size_t)(stop - at), line, sizeof(line)) && n_messages < 64)
			messages[n_messages++] = strdup(line);
	}
	snprintf(name, sizeof(name), "@skeld-fuzz-%d", (int)getpid());
	const char *socket_name = getenv("NOTIFY_SOCKET");
	bool is_manager = socket_name && strcmp(socket_name, name) == 0;
	check_sockets(); /* first, as daemon_run() does: LISTEN_FDS may name any descriptor */
	notify_open(&n);
	double watchdog = notify_watchdog();
	CHECK(watchdog == 0 || (isfinite(watchdog) && watchdog >= 0.001), "%g", watchdog);
	for (size_t i = 0; i < VARIABLES; i++)
		CHECK(!getenv(variables[i]), "%s", variables[i]);
	/* More than the socket has room for. READY=1 is in the last message but one. */
	for (size_t i = 0; i < n_messages; i++) {
		notify_send(&n, "%sSTATUS=%s", i + 2 == n_messages ? "READY=1\n" : "", messages[i]);
		CHECK(memchr(n.pending, '\0', sizeof(n.pending)), "no NUL at the end");
		free(messages[i]);
	}
	if (is_manager)
		expect_messages(&n, n_messages > 1);
	notify_close(&n);
	return 0;
}
