/*
 * The example service services/statsd.c: datagrams of the real daemon. A client waits for an answer
 * before it sends more, so that no queue overflows unless the test wants it.
 */
/* test: NEEDS ADMIN SOCKETS */
#include "client.h"
#include "observe.h"
#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

DAEMON_SUITE(statsd, daemon_use(STATSD_BINARY));

#define TWO	"workers = 2\nadmin { address = \"\" }\n"
#define SAMPLES "listen \"samples\" { address = \"udp:127.0.0.1:0\" }\n"
#define VALUES	"listen \"values\" { address = \"127.0.0.1:0\" }\n"

enum { CLIENTS = 16 };

/* The port of the UDP listener. */
static unsigned port(void)
{
	return (unsigned)strtoul(strrchr(listener_address("samples"), ':') + 1, NULL, 10);
}

static int client_at(const char *host, unsigned number)
{
	char address[64];
	snprintf(address, sizeof(address), "udp:%s:%u", host, number);
	return client_try(address);
}

static const char *receive(int fd)
{
	static char text[256];
	await_fd(fd, POLLIN, deadline(), "an answer");
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		fail_test("no answer: %s", strerror(errno));
	text[n] = '\0';
	return text;
}

/* Send `stats` from all CLIENTS, and wait for all answers. Returns the number of datagrams. */
static unsigned ask_all(const int client[CLIENTS])
{
	for (int i = 0; i < CLIENTS; i++)
		client_send(client[i], "stats");
	for (int i = 0; i < CLIENTS; i++)
		cr_assert_eq(strncmp(receive(client[i]), "samples ", 8), 0);
	return CLIENTS;
}

/* Reload while the clients send. */
static unsigned reload_under_load(const int client[CLIENTS])
{
	unsigned n = 0;
	daemon_signal(SIGHUP);
	do {
		n += ask_all(client);
		read_notices();
	} while (!strstr(notices.bytes + noticed, "READY=1"));
	notify_wait("READY=1");
	return n;
}

static void connect_all(int client[CLIENTS])
{
	for (int i = 0; i < CLIENTS; i++)
		client[i] = client_at("127.0.0.1", port());
}

static bool all_are_counted(unsigned n)
{
	stats_dump();
	double counted = stats_value("skeld_datagrams_received_total") +
			 stats_value("skeld_datagrams_dropped_total{reason=\"kernel\"}");
	return counted == (double)n;
}

Test(statsd, samples_of_several_lines_are_added_up)
{
	daemon_start(TWO SAMPLES VALUES);
	int samples = client_connect("samples"), values = client_connect("values");
	client_send(samples,
		    "hits:1|c\nhits:2|c|@0.5\nload:3.25|g\nload:+1|g\ntime:5|ms\ntime:7|ms");
	client_send(samples, "hits:1|c\n");
	client_send(samples, "stats");
	client_expect(samples, "samples 7 names 3\n");
	client_send(values, "stats\nhello\n");
	client_expect(values, "c hits 6\ng load 4.25\nms time 12 samples 2 max 7\nend\n"
			      "expected: stats\n");
	stats_await("skeld_datagrams_sent_total", 1); /* counted after it has been sent */
	cr_assert_eq(stats_value("skeld_statsd_counter_samples_total"), 3);
	cr_assert_eq(stats_value("skeld_statsd_gauge_samples_total"), 2);
	cr_assert_eq(stats_value("skeld_statsd_timer_samples_total"), 2);
	cr_assert_eq(stats_value("skeld_datagrams_received_total"), 3);
	cr_assert_eq(stats_value("skeld_connections_accepted_total"), 1);
	daemon_finish();
}

Test(statsd, malformed_samples_are_counted_and_change_nothing)
{
	static const char *const bad[] = {"name",      ":1|c",	      "name:|c",    "name:1",
					  "name:1|x",  "name:1|cc",   "name:nan|c", "name:1|c|@0",
					  "name:1|c|", "name:1|c|@2", "name:x|g",   "name:inf|ms",
					  "",	       "a\nb\nc"};
	unsigned n = sizeof(bad) / sizeof(*bad) - 1 + 2; /* the last one has three lines */
	daemon_start(TWO SAMPLES "statsd { names = 2 }\n");
	int samples = client_connect("samples");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		MUST(send(samples, bad[i], strlen(bad[i]), 0) == (ssize_t)strlen(bad[i]));
	client_send(samples, "a:1|c\nb:1|c\nc:1|c"); /* one name too many */
	client_send(samples, "stats");
	client_expect(samples, "samples 2 names 2\n");
	stats_dump();
	cr_assert_eq(stats_value("skeld_statsd_malformed_samples_total"), n + 1);
	daemon_finish();
}

Test(statsd, twenty_reloads_lose_no_datagram)
{
	int client[CLIENTS];
	unsigned n = 0;
	daemon_start(TWO SAMPLES VALUES);
	connect_all(client);
	for (int i = 0; i < 20; i++)
		n += reload_under_load(client);
	expect_status("generation", "21");
	AWAIT(all_are_counted(n));
	cr_assert_eq(stats_value("skeld_datagrams_dropped_total{reason=\"kernel\"}"), 0);
	cr_assert_eq(stats_value("skeld_datagrams_sent_total"), n);
	daemon_finish();
}

/* The old and the new sockets share the port for a moment. */
Test(statsd, change_of_the_host_loses_no_datagram)
{
	int client[CLIENTS];
	unsigned n = 0;
	daemon_start(TWO SAMPLES);
	connect_all(client);
	unsigned number = port();
	for (int i = 0; i < 10; i++) {
		config_write(TWO "listen \"samples\" { address = \"udp:%s:%u\" }\n",
			     i % 2 ? "127.0.0.1" : "0.0.0.0", number);
		n += reload_under_load(client);
		expect_status("last_reload", "ok");
	}
	AWAIT(all_are_counted(n));
	daemon_finish();
}

Test(statsd, moved_listener_answers_at_the_new_port_and_refuses_at_the_old_one)
{
	daemon_start(TWO SAMPLES);
	unsigned old = port();
	int client = client_at("127.0.0.1", old), taken = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(a);
	MUST(bind(taken, (struct sockaddr *)&a, length) == 0 &&
	     getsockname(taken, (struct sockaddr *)&a, &length) == 0);
	config_write(TWO "listen \"samples\" { address = \"udp:127.0.0.1:%u\" }\n",
		     ntohs(a.sin_port));
	daemon_reload_and_wait();
	expect_rejected(1, "cannot listen on udp:127.0.0.1:");
	client_send(client, "stats");
	receive(client);
	close(taken);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_send(client, "stats");
	await_fd(client, POLLIN | POLLERR, deadline(), "a refusal");
	cr_assert_eq(recv(client, &a, sizeof(a), MSG_DONTWAIT), -1);
	cr_assert_eq(errno, ECONNREFUSED);
	cr_assert_neq(port(), old);
	client = client_connect("samples");
	client_send(client, "stats");
	receive(client);
	daemon_finish();
}

/* The daemon stands still while the datagrams arrive. */
Test(statsd, drain_answers_the_datagrams_that_have_arrived)
{
	enum { N = 100 };
	daemon_start(TWO SAMPLES);
	int client = client_connect("samples");
	daemon_signal(SIGSTOP);
	for (int i = 0; i < N; i++)
		client_send(client, "stats");
	daemon_signal(SIGTERM);
	daemon_signal(SIGCONT);
	for (int i = 0; i < N; i++)
		receive(client);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("drained: cut_off=0"), "%s", log_text());
	cr_assert(log_contains("stats datagrams: received=100 sent=100"), "%s", log_text());
}

Test(statsd, datagrams_that_a_full_queue_drops_are_counted)
{
	enum { N = 3000 };
	daemon_start(TWO SAMPLES);
	int client = client_connect("samples");
	daemon_signal(SIGSTOP);
	for (int i = 0; i < N; i++)
		client_send(client, "a:1|c");
	daemon_signal(SIGCONT);
	AWAIT(all_are_counted(N));
	cr_assert_gt(stats_value("skeld_datagrams_dropped_total{reason=\"kernel\"}"), 0);
	daemon_finish();
}

Test(statsd, datagram_above_the_buffer_limit_is_counted)
{
	static char large[5000];
	daemon_start(TWO SAMPLES "limits { buffer = 4096 }\n");
	int client = client_connect("samples");
	client_send_bytes(client, large, sizeof(large));
	client_send(client, "stats");
	receive(client);
	stats_dump();
	cr_assert_eq(stats_value("skeld_datagrams_dropped_total{reason=\"truncated\"}"), 1);
	cr_assert_eq(stats_value("skeld_datagrams_received_total"), 1);
	daemon_finish();
}

Test(statsd, wildcard_answers_from_the_address_that_received)
{
	daemon_start(TWO "listen \"samples\" { address = \"udp:0.0.0.0:0\" }\n");
	int client = client_at("127.0.0.2", port());
	client_send(client, "stats");
	receive(client);
	daemon_finish();
}

Test(statsd, tcp_and_udp_listen_on_one_port)
{
	char address[128];
	daemon_start(TWO VALUES);
	snprintf(address, sizeof(address), "%s", listener_address("values"));
	config_write(TWO "listen \"samples\" { address = \"udp:%s\" }\n"
			 "listen \"values\" { address = \"%s\" }\n",
		     address, address);
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	int values = client_connect("values"), samples = client_connect("samples");
	client_send(values, "stats\n");
	client_expect(values, "end\n");
	client_send(samples, "stats");
	receive(samples);
	daemon_finish();
}

Test(statsd, connections_are_served_while_datagrams_flood_in)
{
	daemon_start("workers = 1\nadmin { address = \"\" }\n" SAMPLES VALUES);
	int client = client_connect("samples"), values = client_connect("values");
	pid_t flood = fork();
	if (flood == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			send(client, "a:1|c", 5, 0);
	}
	MUST(flood > 0);
	for (int i = 0; i < 100; i++) {
		client_send(values, "?\n");
		client_expect(values, "expected: stats\n");
	}
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	kill(flood, SIGKILL);
	MUST(waitpid(flood, NULL, 0) == flood);
	daemon_finish();
}

Test(statsd, check_rejects_a_udp_address_for_a_service_without_datagrams)
{
	daemon_use(getenv("SKELD_ECHO"));
	config_write(TWO SAMPLES);
	cr_assert_eq(skeld_run("-t", "-c", config_path, NULL), 78);
	cr_assert(strstr(command_err.bytes, "skeld.conf:3: listen.address = \"udp:127.0.0.1:0\""),
		  "%s", command_err.bytes);
}

Test(statsd, dropped_privileges_can_still_change_the_host)
{
	if (geteuid() != 0 || !getpwnam("nobody"))
		cr_skip_test("only root can change the user");
	MUST(chmod(test_dir, 0755) == 0 && (rmdir(runtime_dir) == 0 || errno == ENOENT));
	daemon_start(TWO "user = \"nobody\"\n" SAMPLES);
	config_write(TWO "user = \"nobody\"\nlisten \"samples\" { address = \"udp:0.0.0.0:%u\" }\n",
		     port());
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	int client = client_connect("samples");
	client_send(client, "stats");
	receive(client);
	daemon_finish();
}

/* The commands in services/statsd.c. With -w1, nc ends one second after the last answer. */
Test(statsd, netcat_sends_samples_and_reads_totals_and_values)
{
	char command[256];
	if (access("/bin/nc", X_OK) < 0 && access("/usr/bin/nc", X_OK) < 0)
		cr_skip_test("nc is not installed (Debian package netcat-openbsd)");
	daemon_start(TWO SAMPLES VALUES);
	unsigned samples = port();
	snprintf(command, sizeof(command),
		 "(printf 'hits:1|c\\nhits:2|c' | nc -u -w1 127.0.0.1 %u; "
		 "printf stats | nc -u -w1 127.0.0.1 %u; "
		 "echo stats | nc -N 127.0.0.1 %s) >out",
		 samples, samples, strrchr(listener_address("values"), ':') + 1);
	MUST(system(command) == 0);
	cr_assert_str_eq(file_text("out"), "samples 2 names 1\nc hits 3\nend\n");
	daemon_finish();
}

/* Sockets of a socket unit, ListenDatagram=. */

static int passed;

static void pass(void)
{
	char pid[16];
	dup2(passed, 3);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_FDNAMES", "samples", 1);
}

/* Datagrams that arrive between two runs wait in the socket. */
Test(statsd, passed_socket_is_used_and_keeps_its_queue)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(a);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	MUST(bind(fd, (struct sockaddr *)&a, length) == 0 &&
	     getsockname(fd, (struct sockaddr *)&a, &length) == 0);
	passed = fcntl(fd, F_DUPFD_CLOEXEC, 200);
	daemon_prepare = pass;
	int client = client_at("127.0.0.1", ntohs(a.sin_port));
	for (int i = 0; i < 2; i++) {
		client_send(client, "stats");
		daemon_start(TWO SAMPLES);
		receive(client);
		cr_assert(log_contains("using passed socket: udp:127.0.0.1:"), "%s", log_text());
		daemon_signal(SIGINT);
		cr_assert_eq(daemon_wait_exit(), 0);
	}
	close(passed);
	close(fd);
}
