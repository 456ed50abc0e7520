#include "harness.h"

#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DETAILS_MAX = 6000 };

char daemon_binary[4096], config_path[PATH_IN_MAX], runtime_dir[PATH_IN_MAX], last_value[4096];
uid_t daemon_uid;
void (*daemon_prepare)(void);
pid_t daemon_pid;
int daemon_stderr = -1, daemon_pidfd = -1, notify_fd, client_fds[CLIENTS_MAX];
bool daemon_ended;
struct text notices, daemon_log, command_out, command_err;
size_t noticed, n_clients;

static void append_end(struct text *details, const char *title, const char *text)
{
	size_t n = strlen(text), from = n > DETAILS_MAX ? n - DETAILS_MAX : 0;
	text_append(details, title, strlen(title));
	text_append(details, text + from, n - from);
}

static void append_details(struct text *details)
{
	append_end(details, "\ndatagrams to the service manager:\n",
		   notices.bytes ? notices.bytes : "");
	append_end(details, "\nlog of the daemon:\n", log_text());
}

static void listen_as_service_manager(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/notify", test_dir);
	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(notify_fd >= 0);
	MUST(bind(notify_fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	MUST(chmod(a.sun_path, 0666) == 0);
}

void daemon_fixture_enter(void)
{
	fixture_enter();
	fixture_on_wait = read_notices;
	fixture_on_failure = append_details;
	daemon_uid = getuid();
	path_in("skeld.conf", config_path);
	path_in("run", runtime_dir);
	MUST(mkdir(runtime_dir, 0755) == 0);
	daemon_use(SKELD_BINARY);
	listen_as_service_manager();
}

void daemon_fixture_leave(void)
{
	if (daemon_pid) {
		pid_t gone;
		kill(daemon_pid, SIGKILL);
		do /* a frozen thread is reported first: the process ends only after that */
			gone = waitpid(-1, NULL, __WALL);
		while (gone > 0 && gone != daemon_pid);
	}
	fixture_leave();
}

void daemon_use(const char *binary)
{
	snprintf(daemon_binary, sizeof(daemon_binary), "%s", binary);
}

void config_write(const char *format, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, format);
	int n = vasprintf(&text, format, ap);
	va_end(ap);
	MUST(n >= 0);
	file_write_bytes(config_path, text, (size_t)n);
	free(text);
}

bool service_listens(void)
{
	static int listens = -1;
	if (listens < 0) {
		config_write(BASE);
		listens = skeld_run("-c", config_path, "--check", NULL) == 0;
	}
	return listens;
}

void read_notices(void)
{
	char datagram[4096];
	ssize_t n;
	while ((n = recv(notify_fd, datagram, sizeof(datagram), MSG_DONTWAIT)) >= 0) {
		text_append(&notices, datagram, (size_t)n);
		if (n == 0 || datagram[n - 1] != '\n')
			text_append(&notices, "\n", 1);
		text_append(&notices, "\n", 1);
	}
}

void await_turn(int64_t until, const char *what)
{
	if (daemon_ended)
		fail_test("the daemon ended before: %s", what);
	if (is_past(until))
		fail_test("timeout while waiting for: %s", what);
	struct pollfd p[] = {{.fd = notify_fd, .events = POLLIN},
			     {.fd = daemon_pidfd, .events = POLLIN}};
	poll(p, 2, 2);
	daemon_ended = p[1].revents != 0; /* then check once more */
	read_notices();
}

static bool has_line(const char *datagram, const char *line)
{
	size_t n = strlen(line);
	for (const char *at = datagram; (at = strstr(at, line)); at++)
		if ((at == datagram || at[-1] == '\n') && (at[n] == '\n' || !at[n]))
			return true;
	return false;
}

/* Copy the next unread datagram to last_value. */
static bool next_notice(void)
{
	if (noticed >= notices.size)
		return false;
	const char *at = notices.bytes + noticed;
	const char *end = strstr(at, "\n\n");
	snprintf(last_value, sizeof(last_value), "%.*s", (int)(end - at), at);
	noticed = (size_t)(end + 2 - notices.bytes);
	return true;
}

const char *notify_wait(const char *line)
{
	char what[128];
	snprintf(what, sizeof(what), "a datagram with %s", line);
	for (int64_t until = deadline();; await_turn(until, what))
		while (next_notice())
			if (has_line(last_value, line))
				return last_value;
}
