/*
 * What a service manager says in the environment, one NAME=value in a line ('%' is our pid); every
 * other line is a message for it. Variables are gone afterwards, descriptors that were passed are
 * taken or closed, nobody waits, and the manager's messages are whole.
 */
#include "base/log.h"
#include "control/notify.h"
#include "control/sockets.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST = 3, PASSED = 7, SAFE = 6000 }; /* descriptors of our own are above SAFE */
static const char *const variables[] = {"NOTIFY_SOCKET", "FDSTORE",	   "LISTEN_PID",
					"LISTEN_FDS",	 "LISTEN_FDNAMES", "WATCHDOG_USEC",
					"WATCHDOG_PID"};
enum { VARIABLES = sizeof(variables) / sizeof(*variables) };
static int to_pass[PASSED], manager;

static int keep(int fd)
{
	int safe = fcntl(fd, F_DUPFD_CLOEXEC, SAFE);
	HOLDS(fd >= 0 && safe >= SAFE, "%m");
	close(fd);
	return safe;
}

static int listening(int family)
{
	struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
	socklen_t length = family == AF_UNIX ? sizeof(sa_family_t) : sizeof(any);
	int fd = keep(socket(family, SOCK_STREAM, 0));
	HOLDS(bind(fd, (struct sockaddr *)&any, length) == 0 && listen(fd, 1) == 0, "%m");
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char why[256];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	(void)argc, (void)argv;
	/* Sockets of each kind, others, and two of one address. */
	to_pass[0] = listening(AF_INET);
	to_pass[1] = to_pass[0];
	to_pass[2] = listening(AF_UNIX);
	to_pass[3] = keep(open("/dev/null", O_RDWR));
	to_pass[4] = listening(AF_INET);
	to_pass[5] = keep(socket(AF_UNIX, SOCK_DGRAM, 0));
	to_pass[6] = keep(socket(AF_INET, SOCK_STREAM, 0));

	manager = keep(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
	int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "skeld-fuzz-%d", (int)getpid());
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	HOLDS(bind(manager, (struct sockaddr *)&a, length) == 0, "%m");
	struct log_target *t = log_open(LOG_TO_FILE, "/dev/null", why, sizeof(why));
	HOLDS(t, "%s", why);
	log_use(t);
	return 0;
}

/* LINE with our pid for each '%'; true when it is a variable, and then it is set. */
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

static void take_sockets(void)
{
	struct listeners passed = {0};
	struct errors e = {0};
	size_t n = 0;
	bool any = getenv("LISTEN_FDS") != NULL;
	for (int i = 0; any && i < PASSED; i++)
		HOLDS(dup2(to_pass[i], FIRST + i) == FIRST + i, "%m");
	sockets_take(&passed, &e);
	for (size_t i = 0; i < passed.n; i++)
		for (size_t k = 0; k < passed.listener[i]->n_fds; k++, n++)
			HOLDS(fcntl(passed.listener[i]->fds[k], F_GETFD) & FD_CLOEXEC, "%m");
	for (size_t i = 0; i < errors_shown(&e); i++)
		HOLDS(is_printable_line(errors_text(&e, i)), "%s", errors_text(&e, i));
	listeners_clear(&passed);
	errors_clear(&e);
	/* Taken from the first on, and given back or closed; what was not passed is not touched. */
	size_t gone = 0;
	for (int i = 0; any && i < PASSED; i++) {
		bool closed = close(FIRST + i) < 0;
		HOLDS(!closed || gone == (size_t)i, "descriptor %d", FIRST + i);
		gone += closed;
	}
	HOLDS(n == (gone >= 5 ? 4 : gone < 3 ? gone : 3), "%zu listen, %zu passed", n, gone);
}

/* Datagrams of lines; READY=1 is never lost for want of room. */
static void expect_told(struct notify *n, bool ready)
{
	char text[2 * NOTIFY_MAX];
	bool seen = false;
	for (ssize_t length; (length = recv(manager, text, sizeof(text) - 1, 0)) >= 0;) {
		text[length] = '\0';
		HOLDS(length < NOTIFY_MAX, "%zd bytes", length);
		seen = seen || strncmp(text, "READY=1\n", 8) == 0 || strstr(text, "\nREADY=1\n");
		notify_retry(n);
	}
	HOLDS(errno == EAGAIN, "%m");
	HOLDS(!ready || seen, "READY=1 was lost");
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
	bool ours = socket_name && strcmp(socket_name, name) == 0;
	take_sockets(); /* first, as daemon_run() does: it may be said that any descriptor was
			   passed */
	notify_open(&n);
	double watchdog = notify_watchdog();
	HOLDS(watchdog == 0 || (isfinite(watchdog) && watchdog >= 0.001), "%g", watchdog);
	for (size_t i = 0; i < VARIABLES; i++)
		HOLDS(!getenv(variables[i]), "%s", variables[i]);
	/* More than the manager has room for, with what counts before the last of them. */
	for (size_t i = 0; i < n_messages; i++) {
		notify_send(&n, "%sSTATUS=%s", i + 2 == n_messages ? "READY=1\n" : "", messages[i]);
		HOLDS(memchr(n.owed, '\0', sizeof(n.owed)), "not ended");
		free(messages[i]);
	}
	if (ours)
		expect_told(&n, n_messages > 1);
	notify_close(&n);
	return 0;
}
