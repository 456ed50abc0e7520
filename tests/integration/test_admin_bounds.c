/* The admin server's limits: no slow, large, malformed or surplus client keeps another one out. */
/* test: NEEDS ADMIN */
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
#include <time.h>
#include <unistd.h>

FIXTURE_SUITE(admin_bounds,
	      daemon_start(f, "workers = 1\nadmin { address = \"127.0.0.1:0\" }\n" LISTEN_MAIN));

enum { CLIENTS = 32, SECONDS = 5 }; /* as in admin/http.[hc] */

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Has the daemon closed FD? Does not wait, and discards what the daemon sent. */
static bool is_closed(int fd)
{
	char bytes[4096];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno != EAGAIN;
}

Test(admin_bounds, request_of_more_than_8_kib_is_rejected)
{
	static char request[3 * 65536];
	memset(request, 'a', sizeof(request) - 1);
	memcpy(request, "GET / HTTP/1.1\r\nX: ", 19);
	cr_assert_eq(http_ask(f, request), 400);
	memset(request, 'a', sizeof(request) - 1);
	memcpy(request, "GET /", 5);
	cr_assert_eq(http_ask(f, request), 400);
	cr_assert_eq(http_get(f, "/livez"), 200);
	daemon_finish(f);
}

/* The answer does not wait for the body, and unread input does not reset it. */
Test(admin_bounds, request_body_is_discarded)
{
	static char body[8 * 65536];
	static const char *const heads[] = {
		"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 524288\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
		"80000\r\n"};
	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++) {
		int client = client_connect(f, "admin");
		client_send(f, client, heads[i], strlen(heads[i]));
		client_send(f, client, body, sizeof(body));
		cr_assert_eq(http_read(f, client), 405);
		cr_assert_str_eq(http_header(f, "Allow"), "GET, HEAD");
	}
	cr_assert_eq(http_ask(f, "POST / HTTP/1.1\r\n%s\r\n"
				 "Content-Length: 18446744073709551616\r\n\r\n"),
		     405);
	daemon_finish(f);
}

/* unit-request has more malformed requests. */
Test(admin_bounds, malformed_request_is_rejected)
{
	static const struct {
		const char *text;
		int code;
	} rows[] = {{"\r\n\r\n", 400},
		    {"x\r\n\r\n", 400},
		    {"GET /livez\r\n\r\n", 400},
		    {"GET /livez HTTP/9.9\r\n\r\n", 505},
		    {"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400},
		    {"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
		    {"\x16\x03\x01\x02 a handshake\r\n\r\n", 400},
		    {"GET http://[ HTTP/1.1\r\n\r\n", 421}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		cr_assert_eq(http_ask(f, rows[i].text), rows[i].code, "%s", rows[i].text);
	cr_assert_eq(http_get(f, "/livez"), 200);
	cr_assert_eq(log_count_warnings(f) + log_count(f, " error   "), 0, "%s", log_text(f));
	daemon_finish(f);
}

/* Also at level debug, which logs all requests. */
Test(admin_bounds, request_writes_no_control_character_to_the_log)
{
	daemon_signal(f, SIGUSR2);
	await(f, log_contains(f, "debug logging on"));
	http_ask(f, "GET /\x1b[31m HTTP/1.1\r\n%s\r\n\r\n");
	http_ask(f, "GET /\rforged HTTP/1.1\r\n%s\r\n\r\n");
	http_ask(f, "\x1b[31m / HTTP/1.1\r\n%s\r\n\r\n");
	cr_assert_eq(http_get(f, "/nothing"), 404);
	await(f, log_contains(f, "admin: GET /nothing: 404 Not Found"));
	cr_assert(!strpbrk(log_text(f), "\x1b\r"), "%s", log_text(f));
	daemon_finish(f);
}

Test(admin_bounds, connection_serves_one_request)
{
	int client = client_connect(f, "admin");
	static const char two[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
				  "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
	client_send(f, client, two, sizeof(two) - 1);
	cr_assert_eq(http_read(f, client), 200);
	cr_assert_str_eq(http_body(), "ok\n");
	cr_assert_eq(http_ask(f, "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200);
	cr_assert_str_eq(http_header(f, "Connection"), "close");
	daemon_finish(f);
}

Test(admin_bounds, surplus_silent_clients_are_evicted)
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

/*
 * 5,000 silent connections, 1,000 a second, and a health check every 100 ms beside them: each is
 * answered within a second.
 */
Test(admin_bounds, flood_of_silent_clients_delays_no_probe)
{
	enum { RATE = 1000, ALL = 5 * RATE, PROBE_MS = 100, HELD = 4 * CLIENTS };
	int silent[HELD] = {0}, probe = -1;
	int64_t began = now_ms(), asked = 0;
	int64_t limit = (deadline() - began) / 10; /* a second times $SKELD_TEST_SLOW */
	char address[64];
	snprintf(address, sizeof(address), "%s", listener_address(f, "admin"));
	for (int64_t opened = 0; opened < ALL || probe >= 0;) {
		int64_t now = now_ms();
		for (; opened < ALL && opened < (now - began) * RATE / 1000; opened++) {
			int *fd = &silent[opened % HELD];
			client_close(f, *fd);
			MUST((*fd = client_try(f, address)) >= 0);
		}
		if (probe < 0 && now >= asked + PROBE_MS) {
			asked = now;
			MUST((probe = client_try(f, address)) >= 0);
			client_send(f, probe, "GET /livez HTTP/1.0\r\n\r\n", 23);
		}
		struct pollfd p = {.fd = probe, .events = POLLIN};
		if (poll(&p, 1, 1) == 1) {
			cr_assert_eq(http_read(f, probe), 200);
			probe = -1;
		}
		cr_assert(probe < 0 || now_ms() - asked < limit, "not answered in time");
	}
	daemon_finish(f);
}

/* A byte does not restart the five seconds. */
Test(admin_bounds, client_that_sends_slowly_is_closed_in_time)
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

Test(admin_bounds, endless_chunk_size_takes_no_memory)
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

Test(admin_bounds, client_that_does_not_read_is_closed_in_time)
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

Test(admin_bounds, many_short_connections_leave_no_descriptor)
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

/* Accepting pauses, the log warns once, and the clients are served as soon as there are
 * descriptors. */
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

Test(admin_bounds, signals_are_handled_while_requests_are_answered)
{
	pid_t sender = storm(f, SIGUSR2, 20000);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(http_get(f, "/metrics"), 200);
	reap(f, sender);
	daemon_reload_and_wait(f);
	expect_signals_accounted(f);
	daemon_finish(f);
}

/* Send up to 64 MiB behind REQUEST, and read nothing. */
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

Test(admin_bounds, requests_are_answered_while_a_reload_waits_for_its_file_system)
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

Test(admin_bounds, input_behind_a_request_takes_no_memory)
{
	enum { MOST_KIB = 4096 };
	static const char *const requests[] = {
		"", /* never complete */
		"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"};
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		long before = proc_number(f, "VmHWM");
		for (int times = 0; times < 3; times++)
			stream(requests[i]);
		cr_assert_eq(http_get(f, "/livez"), 200);
		long grown = proc_number(f, "VmHWM") - before;
		if (!*SKELD_SANITIZED &&
		    !getenv("SKELD_TEST_WRAP")) /* the sanitizers keep freed memory */
			cr_assert_leq(grown, MOST_KIB, "request %zu: %ld KiB", i, grown);
	}
	daemon_finish(f);
}
