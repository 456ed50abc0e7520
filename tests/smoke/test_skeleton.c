/* The behaviour of a daemon with any service: self-test, reload, limits, stop. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

DAEMON_SUITE(skeleton, daemon_use(SERVICE_BINARY));

Test(skeleton, the_self_test_passes)
{
	if (SANITIZED("thread")) /* it delays signals */
		cr_skip_test("needs signals delivered at once");
	cr_assert_eq(skeld_run("--self-test", NULL), 0, "%s%s", command_out.bytes,
		     command_err.bytes);
}

Test(skeleton, the_shipped_configuration_is_good)
{
	cr_assert_eq(skeld_run("-c", SHIPPED_CONFIG, "--check", NULL), 0, "%s", command_err.bytes);
}

Test(skeleton, a_good_reload_changes_an_option)
{
	daemon_start(SERVICE_CONFIG(""));
	config_write(SERVICE_CONFIG("limits { idle_timeout = 60 }\n"));
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "reload", NULL), 0, "%s",
		     command_err.bytes);
	expect_status("generation", "2");
	cr_assert(log_contains("limits.idle_timeout: 300 -> 60"), "%s", log_text());
	daemon_finish();
}

/* The service may reset the connection before connect(2) returns. Returns -1 then. */
static int connect_client(void)
{
	int client = client_try(listener_address("main"));
	if (client < 0 && errno != ECONNRESET)
		fail_test("connect: %s", strerror(errno));
	return client;
}

/* The service may send first, send bytes before the close, and reset the connection. */
static void await_end(int client)
{
	if (client >= 0)
		client_await_end(client);
}

Test(skeleton, a_bad_reload_is_rejected_with_file_and_line)
{
	char place[64];
	daemon_start(SERVICE_CONFIG(""));
	config_write(SERVICE_CONFIG("nonsense = 1\n"));
	snprintf(place, sizeof(place), "skeld.conf:%d: ", service_listens() ? 4 : 3);
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "reload", NULL), 78);
	cr_assert(strstr(command_err.bytes, place), "%s", command_err.bytes);
	expect_rejected(1, place);
	if (service_listens())
		connect_client();
	daemon_finish();
}

Test(skeleton, connections_above_the_limit_are_closed)
{
	enum { LIMIT = 3 };
	if (!service_listens())
		cr_skip_test("the service has no connections");
	daemon_start(BASE "limits { connections = 3 }\n");
	for (int i = 0; i < LIMIT; i++)
		connect_client();
	await_end(connect_client());
	AWAIT((stats_dump(),
	       stats_value("skeld_connections_open") < LIMIT ||
		       stats_value("skeld_connections_closed_total{reason=\"limit\"}") == 1));
	if (stats_value("skeld_connections_open") < LIMIT)
		cr_skip_test("the service closes clients that send nothing");
	daemon_finish();
}

Test(skeleton, sigterm_drains_and_exits_with_0)
{
	daemon_start(SERVICE_CONFIG(""));
	int client = service_listens() ? connect_client() : -1;
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	await_end(client);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(skeleton, a_second_sigterm_stops_at_once_with_1)
{
	daemon_start(SERVICE_CONFIG("lame_duck = 600\n"));
	daemon_signal(SIGTERM);
	notify_wait("STOPPING=1");
	daemon_signal(SIGTERM);
	cr_assert_eq(daemon_wait_exit(), 1);
}
