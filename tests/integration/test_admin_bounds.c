/* The admin server's bounds: whoever is slow, large, rude or many keeps nobody else out. */
#include "client.h"
#include "http.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

FIXTURE_SUITE(admin_bounds,
	      daemon_start(f, "workers = 1\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN));

enum { CLIENTS = 32, SECONDS = 5 }; /* as in control/admin.[hc] */

/* Has the daemon closed FD? Without waiting; what it sent is thrown away. */
static bool is_closed(int fd)
{
	char bytes[4096];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno != EAGAIN;
}

Test(admin_bounds, a_large_request_is_refused)
{
	static char request[3 * 65536];
	memset(request, 'a', sizeof(request) - 1);
	memcpy(request, "GET / HTTP/1.1\r\nX: ", 19);
	cr_assert_eq(http_ask(f, request), 400);
	memset(request, 'a', sizeof(request) - 1);
	memcpy(request, "GET /", 5);
	cr_assert_eq(http_ask(f, request), 400);
	cr_assert_eq(http_ask(f, "POST / HTTP/1.1\r\n%s\r\nContent-Length: 5000\r\n\r\n"), 413);
	cr_assert_eq(http_ask(f, "POST / HTTP/1.1\r\n%s\r\n"
				 "Content-Length: 18446744073709551616\r\n\r\n"),
		     413);
	cr_assert_eq(http_get(f, "/livez"), 200);
	daemon_finish(f);
}

Test(admin_bounds, garbage_is_refused)
{
	static const char *const garbage[] = {"\r\n\r\n",
					      "x\r\n\r\n",
					      "GET\r\n\r\n",
					      "GET / HTTP/9.9\r\n\r\n",
					      "GET / HTTP/1.1\r\nno\r\n\r\n",
					      "\x16\x03\x01\x02 a handshake\r\n\r\n",
					      "GET http://[ HTTP/1.1\r\n\r\n"};
	for (size_t i = 0; i < sizeof(garbage) / sizeof(*garbage); i++) {
		int code = http_ask(f, garbage[i]);
		cr_assert(code == 0 || code == 400 || code == 505, "%zu: %d", i, code);
	}
	cr_assert_eq(http_get(f, "/livez"), 200);
	cr_assert_eq(log_count_warnings(f) + log_count(f, " error   "), 0, "%s", log_text(f));
	daemon_finish(f);
}

Test(admin_bounds, one_request_is_one_connection)
{
	int client = client_connect(f, "admin");
	static const char two[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
				  "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
	client_send(f, client, two, sizeof(two) - 1);
	cr_assert_eq(http_read(f, client), 200);
	cr_assert_str_eq(http_body(), "ok\n");
	cr_assert_eq(http_ask(f, "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200);
	cr_assert_str_eq(http_header(f, "Connection"), "close"); /* the last one */
	daemon_finish(f);
}

/* More than there are places for, none of whom says a word: the newcomer is served. */
Test(admin_bounds, who_is_silent_keeps_nobody_out)
{
	int silent[4 * CLIENTS];
	size_t closed = 0;
	for (size_t i = 0; i < 4 * CLIENTS; i++)
		silent[i] = client_connect(f, "admin");
	cr_assert_eq(http_get(f, "/livez"), 200);
	for (size_t i = 0; i < 4 * CLIENTS; i++)
		closed += is_closed(silent[i]);
	cr_assert_geq(closed, 3 * CLIENTS);
	cr_assert(is_closed(silent[0]), "the oldest goes first");
	daemon_finish(f);
}

/* libevent's own timeout begins anew with each byte: it would let him go on for hours. */
Test(admin_bounds, who_dribbles_is_closed_in_time)
{
	static const char request[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ";
	int slow = client_connect(f, "admin");
	size_t sent = 0;
	client_send(f, slow, request, sizeof(request) - 1);
	await(f, send(slow, "a", sent++ % 100 == 0, MSG_NOSIGNAL) < 0 || is_closed(slow));
	cr_assert_gt(sent, 100 * (SECONDS - 2), "too early");
	cr_assert_eq(http_get(f, "/livez"), 200);
	daemon_finish(f);
}

/* libevent keeps what comes until a line is whole, and looks through all of it each time. */
Test(admin_bounds, a_line_without_end_is_not_read)
{
	static const char request[] = "POST / HTTP/1.1\r\nHost: localhost\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n";
	static char digits[65536];
	memset(digits, '1', sizeof(digits));
	long before = proc_number(f, "VmRSS");
	int endless = client_connect(f, "admin");
	client_send(f, endless, request, sizeof(request) - 1);
	await(f, send(endless, digits, sizeof(digits), MSG_NOSIGNAL) < 0 && errno != EAGAIN);
	cr_assert_lt(proc_number(f, "VmHWM") - before, 4096);
	cr_assert_eq(http_get(f, "/livez"), 200);
	daemon_finish(f);
}

Test(admin_bounds, who_does_not_read_is_closed_in_time)
{
	int busy[CLIENTS / 2], small = 4096;
	for (size_t i = 0; i < CLIENTS / 2; i++) {
		busy[i] = client_connect(f, "admin");
		setsockopt(busy[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		client_send(f, busy[i], "GET /metrics HTTP/1.0\r\n\r\n", 25);
	}
	cr_assert_eq(http_get(f, "/livez"), 200);
	await(f, http_get(f, "/metrics") == 200 && http_metric(f, "process_open_fds") < 30);
	daemon_finish(f);
}

Test(admin_bounds, a_flood_is_answered_and_leaves_nothing)
{
	size_t before = strlen(proc_fds(f));
	for (int i = 0; i < 1000; i++) {
		int client = client_connect(f, "admin");
		if (i % 3 == 0)
			client_send(f, client, "GET /livez HTTP/1.0\r\n\r\n", 23);
		if (i % 3 == 1) {
			struct linger reset = {1, 0};
			setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		}
		if (i % 3 == 0)
			cr_assert_eq(http_read(f, client), 200);
		else
			client_close(f, client);
	}
	stats_dump(f);
	await(f, strlen(proc_fds(f)) <= before + 16);
	cr_assert_eq(log_count_warnings(f) + log_count(f, " error   "), 0, "%s", log_text(f));
	daemon_finish(f);
}

/* Without a descriptor they wait, the log says so once, and then they are served. */
Test(admin_bounds, without_descriptors_clients_wait)
{
	struct rlimit r, none;
	cr_assert_eq(http_get(f, "/metrics"), 200);
	await(f, http_get(f, "/metrics") == 200 && !strstr(proc_fds(f), "CLOSE"));
	MUST(prlimit(f->pid, RLIMIT_NOFILE, NULL, &r) == 0);
	none = (struct rlimit){3, r.rlim_max};
	MUST(prlimit(f->pid, RLIMIT_NOFILE, &none, NULL) == 0);
	int client = client_connect(f, "admin");
	client_send(f, client, "GET /livez HTTP/1.0\r\n\r\n", 23);
	await(f, log_contains(f, "admin: cannot accept connections: Too many open files"));
	MUST(prlimit(f->pid, RLIMIT_NOFILE, &r, NULL) == 0);
	cr_assert_eq(http_read(f, client), 200);
	cr_assert_eq(log_count(f, "admin: cannot accept"), 1, "%s", log_text(f));
	cr_assert_eq(log_count(f, "libevent"), 0, "%s", log_text(f));
	daemon_finish(f);
}

/* While signals come, and answers go out, none waits for the other. */
Test(admin_bounds, signals_are_handled_beside_it)
{
	pid_t sender = storm(f, SIGUSR2, 20000);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(http_get(f, "/metrics"), 200);
	reap(f, sender);
	daemon_reload_and_wait(f);
	expect_signals_accounted(f);
	daemon_finish(f);
}

/* Send as much as goes of what nobody asked for, behind REQUEST; without reading. */
static void stream(const char *request)
{
	enum { MUCH = 64 << 20 };
	static char piece[65536];
	int client = client_connect(f, "admin");
	client_send(f, client, request, strlen(request));
	memset(piece, 'a', sizeof(piece));
	struct pollfd p = {.fd = client, .events = POLLOUT};
	ssize_t n = 1;
	for (size_t sent = 0; sent < MUCH && n > 0; sent += (size_t)n) {
		if (poll(&p, 1, 2000) != 1)
			break;
		n = send(client, piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	client_close(f, client);
}

Test(admin_bounds, it_answers_while_a_reload_waits_for_its_file_system)
{
	pid_t pid = loader_pid(f);
	MUST(kill(pid, SIGSTOP) == 0);
	daemon_signal(f, SIGHUP);
	notify_wait(f, "RELOADING=1");
	cr_assert_eq(http_get(f, "/livez"), 200);
	cr_assert_eq(http_get(f, "/readyz"), 200);
	cr_assert_eq(http_get(f, "/metrics"), 200);
	cr_assert_eq(http_metric(f, "skeld_state{state=\"reloading\"}"), 1);
	MUST(kill(pid, SIGCONT) == 0);
	notify_wait(f, "READY=1");
	expect_status(f, "last_reload", "ok");
	daemon_finish(f);
}

Test(admin_bounds, what_comes_behind_a_request_costs_no_memory)
{
	enum { MOST_KIB = 4096 };
	static const char *const requests[] = {
		"", /* one without an end */
		"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"};
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		long before = proc_number(f, "VmHWM");
		for (int times = 0; times < 3; times++)
			stream(requests[i]);
		cr_assert_eq(http_get(f, "/livez"), 200);
		long grown = proc_number(f, "VmHWM") - before;
		if (!*SKELD_SANITIZED && !getenv("SKELD_TEST_WRAP")) /* those keep what was freed */
			cr_assert_leq(grown, MOST_KIB, "request %zu: %ld KiB", i, grown);
	}
	daemon_finish(f);
}
