/*
 * Each call fails once, see test_calls.c, in services that use more of the API: access.c loads a
 * file, proxy.c connects to a server, statsd.c receives and sends datagrams.
 */
/* test: COST 60 TIMEOUT 300 LABELS all */
/* test: NAME all ENV SKELD_LONG=1 TIMEOUT 1800 LABELS long */
#include "judge.h"
#include "phase.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_MS = 100 };

/* A trial of a service, with this section in both configurations. */
static struct trial *service_trial(const char *phase, const char *binary, const char *section)
{
	struct trial *t = trial_new(phase);
	daemon_use(binary);
	t->service[0] = t->service[1] = section;
	return t;
}

/* A loaded file. */

/* If a part of the list were missing, the last address, which the clients have, would be denied. */
Test(services, a_reload_with_a_file_is_complete_or_rejected)
{
	char section[128], path[64], text[64 * 16] = "";
	struct trial *t = service_trial("load", ACCESS_BINARY, section);
	for (int i = 0; i < 40; i++)
		sprintf(text + strlen(text), "192.0.2.%d\n", i);
	strcat(text, "127.0.0.1\n");
	file_write("list", text);
	snprintf(section, sizeof(section), "access { file = \"%s\" }\n", path_in("list", path));
	for (int side = 0; side < 2; side++) /* the list has no clients of unix sockets */
		snprintf(t->address[LOCAL_A + side], sizeof(t->address[0]), "%.*s:%d",
			 (int)strcspn(t->address[MAIN], ":"), t->address[MAIN], 7200 + side);
	start_clean(t);
	each_call_of_reloads(t, run_reload);
	trial_free(t);
}

/* Outgoing connections. */

static void *echo(void *arg)
{
	static __thread char bytes[65536];
	int fd = (int)(intptr_t)arg;
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		for (ssize_t sent = 0, m; sent < n; sent += m)
			if ((m = send(fd, bytes + sent, (size_t)(n - sent), MSG_NOSIGNAL)) < 0)
				break;
	close(fd);
	return NULL;
}

/* Ends with the process of the test. */
static void *serve(void *arg)
{
	for (int fd; (fd = accept((int)(intptr_t)arg, NULL, NULL)) >= 0;) {
		pthread_t thread;
		MUST(pthread_create(&thread, NULL, echo, (void *)(intptr_t)fd) == 0);
		pthread_detach(thread);
	}
	return NULL;
}

/* Returns the port of a server that sends back what it receives. */
static unsigned start_server(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(a);
	pthread_t thread;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, length) == 0 && listen(fd, 64) == 0);
	MUST(getsockname(fd, (struct sockaddr *)&a, &length) == 0);
	MUST(pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0);
	pthread_detach(thread);
	return ntohs(a.sin_port);
}

Test(services, a_client_of_a_proxy_is_served_or_its_end_is_reported)
{
	char section[128];
	snprintf(section, sizeof(section),
		 "proxy { retry = 0 backend \"a\" { address = \"localhost:%u\" } }\n",
		 start_server());
	struct trial *t = service_trial("proxy", PROXY_BINARY, section);
	start_clean(t);
	keep_clean(t, 0);
	each_call(t, run_serve);
	trial_free(t);
}

/* Datagrams. */

static int samples = -1; /* the socket of the client */

static bool ask(void)
{
	char answer[128];
	while (recv(samples, answer, sizeof(answer), MSG_DONTWAIT) > 0)
		; /* late answers */
	send(samples, "hits:1|c", 8, 0);
	send(samples, "stats", 5, 0);
	return recv(samples, answer, sizeof(answer), 0) > 0;
}

/* Any datagram may be lost, but not all. */
static void run_datagrams(struct trial *t)
{
	trial_forget();
	for (int i = 0; i < 3; i++)
		if (!TRY(ask()))
			trial_wrong(t, "no answer");
	enum answer values = trial_talk(t, MAIN, 1);
	if (values == HUNG || (values != ANSWERED && !trial_hit(t)))
		trial_wrong(t, "no values");
	trial_disarm(t);
	if (has_ended(t))
		return;
	if (trial_reported())
		t->reported++;
	else
		t->as_if_nothing++;
	if (!trial_serves(t, 0))
		trial_wrong(t, "does not serve");
	expect_no_leak(t, 0);
}

Test(services, datagrams_are_served_after_a_failure)
{
	char section[128];
	struct trial *t = service_trial("datagrams", STATSD_BINARY, section);
	struct timeval limit = {.tv_usec = ANSWER_MS * 1000};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7107)};
	char host[32];
	snprintf(host, sizeof(host), "%.*s", (int)strcspn(t->address[MAIN], ":"), t->address[MAIN]);
	snprintf(section, sizeof(section), "listen \"samples\" { address = \"udp:%s:7107\" }\n",
		 host);
	inet_pton(AF_INET, host, &a.sin_addr);
	samples = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	MUST(samples >= 0 && connect(samples, (struct sockaddr *)&a, sizeof(a)) == 0);
	setsockopt(samples, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	t->request = "stats\n";
	start_clean(t);
	if (!TRY(ask()))
		fail_test("no answer");
	keep_clean(t, 0);
	each_call(t, run_datagrams);
	trial_free(t);
}
