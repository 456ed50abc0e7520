/*
 * The parts of the service API that answer late: connections that are held for a thread (query),
 * written to from other workers (chat), and tied to an outgoing connection (proxy). Hostile clients
 * leave at any moment, also by a reset, while the configuration is reloaded. Nothing is left
 * behind, and a well-meaning client has its answers.
 */
/* test: TIMEOUT 300 LABELS all */
/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 3600 LABELS long */
#include "client.h"
#include "load.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

DAEMON_SUITE(storm_services);

enum { PROCESSES = 3, SHORT_SECONDS = 3, LONG_SECONDS = 120 };

#define TWO_WORKERS "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN

/* The bytes that the hostile clients of a test send; each client sends a part of them. */
static const char *hostile_lines;

static void be_hostile(struct load *load, unsigned i)
{
	unsigned seed = i + 1;
	char bytes[4096];
	while (!atomic_load(&load->stop)) {
		int fd = load_connect(load);
		if (fd < 0)
			break;
		size_t n = strlen(hostile_lines);
		for (int round = rand_r(&seed) % 4; round >= 0; round--)
			send(fd, hostile_lines, round ? n : (size_t)rand_r(&seed) % n,
			     MSG_NOSIGNAL);
		struct pollfd answer = {.fd = fd, .events = POLLIN};
		if (rand_r(&seed) % 3 && poll(&answer, 1, rand_r(&seed) % 5) > 0)
			recv(fd, bytes, sizeof(bytes), 0);
		if (rand_r(&seed) % 2)
			load_reset(fd);
		else
			close(fd);
		atomic_fetch_add(&load->count[0], 1);
	}
}

/* Storm the daemon, whose port is in its log, and call CHECK with a well-meaning client's turn. */
static void storm_it(const char *lines, void (*check)(unsigned round))
{
	hostile_lines = lines;
	double end = seconds_now() + (is_long_form() ? LONG_SECONDS : SHORT_SECONDS);
	struct load *load = load_start(PROCESSES, be_hostile);
	unsigned rounds = 0;
	for (; seconds_now() < end; rounds++) {
		check(rounds);
		daemon_reload_and_wait();
	}
	load_stop(load);
	cr_assert_gt(load_count(load, 0), 0);
	fprintf(stderr, "# %llu hostile clients, %u good ones\n",
		(unsigned long long)load_count(load, 0), rounds);
	load_free(load);
	stats_await_open(0);
}

static void query(unsigned round)
{
	char line[64], answer[64];
	int client = client_connect("main");
	snprintf(line, sizeof(line), "SELECT %u + 1\n", round);
	snprintf(answer, sizeof(answer), "%u\nok 1\n", round + 1);
	client_send(client, line);
	client_expect(client, answer);
	client_close(client);
}

Test(storm_services, held_connections_survive_clients_that_leave)
{
	if (!*QUERY_BINARY)
		cr_skip_test("the library sqlite3 is not installed");
	daemon_use(QUERY_BINARY);
	daemon_start(TWO_WORKERS "query { timeout = 1 }\n");
	storm_it("SELECT 1\nWITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT "
		 "20000) "
		 "SELECT count(*) FROM c\nnonsense\n",
		 query);
	stats_await("query_running", 0);
	daemon_finish();
}

static void chat(unsigned round)
{
	char name[32], text[64];
	int client = client_connect("main");
	snprintf(name, sizeof(name), "good%u\n", round);
	client_expect(client, "name?\n");
	client_send(client, name);
	/* Others talk, too: wait for the own message among theirs. */
	snprintf(text, sizeof(text), "good%u: hello %u\n", round, round);
	client_send(client, strchr(text, ' ') + 1);
	char all[1 << 16];
	size_t n = 0;
	do {
		await_fd(client, POLLIN, deadline(), text);
		ssize_t got = recv(client, all + n, sizeof(all) - 1 - n, 0);
		cr_assert_gt(got, 0, "the good client was dropped");
		n += (size_t)got;
		all[n] = '\0';
		if (n > sizeof(all) / 2) {
			memmove(all, all + n - 1000, 1001);
			n = 1000;
		}
	} while (!strstr(all, text));
	client_close(client);
}

Test(storm_services, messages_between_workers_survive_clients_that_leave)
{
	daemon_use(CHAT_BINARY);
	daemon_start(TWO_WORKERS
		     "limits { buffer = 1M }\nchat { login_timeout = 3600 ping = 3600 }\n");
	storm_it("name\nhello\nhello again\n", chat);
	stats_await("chat_members", 0);
	daemon_finish();
}

static void proxied(unsigned round)
{
	char text[32];
	int client = client_connect("main");
	snprintf(text, sizeof(text), "through %u\n", round);
	client_echo(client, text);
	client_close(client);
}

/* A process for each connection echoes until the end, and ends as its peer did. */
static void echo_one(int fd)
{
	char bytes[16384];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		if (send(fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	_exit(0);
}

static pid_t start_backend(unsigned *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(in);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(listener >= 0 && bind(listener, (struct sockaddr *)&in, sizeof(in)) == 0 &&
	     listen(listener, 1024) == 0 &&
	     getsockname(listener, (struct sockaddr *)&in, &size) == 0);
	*port = ntohs(in.sin_port);
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid) {
		close(listener);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; close(fd))
		if (fork() == 0)
			echo_one(fd);
	_exit(1);
}

Test(storm_services, pairs_of_connections_survive_clients_that_leave)
{
	char config[512];
	unsigned port;
	pid_t backend = start_backend(&port);
	daemon_use(PROXY_BINARY);
	snprintf(config, sizeof(config),
		 TWO_WORKERS "proxy { backend \"a\" { address = \"127.0.0.1:%u\" } }\n", port);
	daemon_start(config);
	storm_it("some bytes, and more of them\n", proxied);
	stats_await("skeld_outgoing_connections_open", 0);
	daemon_finish();
	MUST(kill(backend, SIGKILL) == 0 && waitpid(backend, NULL, 0) == backend);
}
