/* The service, as its clients see it. Edit this file: add tests of your service. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <string.h>

/* A request and its answer: `probe` and `answer` of the service. */
#define REQUEST "are you there?\n"
#define ANSWER	"are you there?\n"
/* May more follow behind the last answer: `draining` or `ending` of the service? */
#define LAST_WORDS false

/* An option, and a configuration in which it does not have its default. */
#define OPTION	"echo.banner"
#define CHANGED "echo { banner = \"x\" }\n"

DAEMON_SUITE(service, daemon_use(SERVICE_BINARY));

static void request(int client)
{
	client_send(client, REQUEST);
}

static void expect_answer(int client)
{
	client_expect(client, ANSWER);
}

static void need_a_request(void)
{
	if (!*REQUEST || !*ANSWER)
		cr_skip_test("the service has no probe and answer: write REQUEST and ANSWER");
}

Test(service, a_request_is_answered)
{
	need_a_request();
	daemon_start(BASE);
	int client = client_connect("main");
	request(client);
	expect_answer(client);
	daemon_finish();
}

Test(service, many_clients_are_answered_at_the_same_time)
{
	enum { CLIENTS = 50 };
	int clients[CLIENTS];
	need_a_request();
	daemon_start("workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = client_connect("main");
	for (int i = 0; i < CLIENTS; i++)
		request(clients[i]);
	for (int i = 0; i < CLIENTS; i++)
		expect_answer(clients[i]);
	daemon_finish();
}

/* Every worker has the new value when the reload has ended. Add a check of what the option does. */
Test(service, a_reload_changes_an_option)
{
	daemon_start(SERVICE_CONFIG(""));
	config_write(SERVICE_CONFIG(CHANGED));
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	cr_assert(log_contains(OPTION ": "), "%s", log_text());
	daemon_finish();
}

Test(service, a_drain_answers_a_request_that_was_received)
{
	need_a_request();
	daemon_start(BASE);
	int client = client_connect("main");
	request(client);
	daemon_signal(SIGTERM);
	expect_answer(client);
	if (LAST_WORDS)
		client_await_end(client);
	else
		client_expect_eof(client);
	cr_assert_eq(daemon_wait_exit(), 0);
}
