/* Messages between workers, timers and dropped clients in a real service: services/chat.c. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

DAEMON_SUITE(chat, daemon_use(CHAT_BINARY));

#define ROOM                                                                                       \
	"workers = 3\nadmin { address = \"\" }\nlimits { buffer = 16K }\n" LISTEN_MAIN             \
	"chat { ping = 3600 login_timeout = 3600 }\n"

static int log_in(const char *name)
{
	char text[64];
	int fd = client_connect("main");
	client_expect(fd, "name?\n");
	snprintf(text, sizeof(text), "%s\n", name);
	client_send(fd, text);
	snprintf(text, sizeof(text), "*: %s\n", name);
	client_expect(fd, text);
	return fd;
}

Test(chat, each_message_reaches_the_clients_of_all_workers_in_order)
{
	int members[6];
	char text[64];
	daemon_start(ROOM);
	for (int i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "member%d", i);
		members[i] = log_in(text);
		snprintf(text, sizeof(text), "*: member%d\n", i);
		for (int k = 0; k < i; k++)
			client_expect(members[k], text);
	}
	client_send(members[2], "one\r\ntwo\nthree\n");
	for (int i = 0; i < 6; i++)
		client_expect(members[i], "member2: one\nmember2: two\nmember2: three\n");
	stats_await("chat_members", 6);
	cr_assert_eq(stats_value("chat_messages_total"), 3);
	client_close(members[0]);
	stats_await("chat_members", 5);
	daemon_finish();
}

Test(chat, a_slow_reader_is_dropped_and_the_others_are_not)
{
	static char line[1001];
	memset(line, 'x', sizeof(line) - 2);
	line[sizeof(line) - 2] = '\n';
	daemon_start(ROOM);
	int slow = log_in("slow"), quick = log_in("quick");
	client_expect(slow, "*: quick\n");
	/* The kernel's buffers of the slow client take some megabytes. */
	do {
		char echo[2048];
		snprintf(echo, sizeof(echo), "quick: %s", line);
		client_send(quick, line);
		client_expect(quick, echo);
	} while (!log_contains("dropped:"));
	cr_assert(log_contains("reason=slow"));
	stats_await("chat_members", 1);
	cr_assert_eq(stats_value("chat_dropped_total"), 1);
	client_send(quick, "still here\n");
	client_expect(quick, "quick: still here\n");
	daemon_finish();
}

Test(chat, a_client_without_a_name_is_dropped_in_time)
{
	char byte;
	daemon_start("workers = 1\nadmin { address = \"\" }\n" LISTEN_MAIN
		     "chat { login_timeout = 1 }\n");
	int client = client_connect("main");
	client_expect(client, "name?\n");
	AWAIT(recv(client, &byte, 1, 0) < 0 && errno == ECONNRESET);
	cr_assert(log_contains("reason=login"));
	daemon_finish();
}

Test(chat, a_silent_client_is_pinged_then_dropped)
{
	char byte;
	daemon_start("workers = 1\nadmin { address = \"\" }\n" LISTEN_MAIN "chat { ping = 1 }\n");
	int client = log_in("sleepy");
	client_expect(client, "PING\n");
	client_send(client, "PONG\n");
	client_expect(client, "PING\n");
	AWAIT(recv(client, &byte, 1, 0) < 0 && errno == ECONNRESET);
	cr_assert(log_contains("reason=silent"));
	daemon_finish();
}

Test(chat, a_drain_sends_a_farewell)
{
	daemon_start(ROOM);
	int client = log_in("last");
	daemon_signal(SIGTERM);
	client_expect(client, "* the server stops\n");
	client_expect_eof(client);
	cr_assert_eq(daemon_wait_exit(), 0);
}
