/* worker_post(), also with the thread sanitizer: services/posts.c. */
/* test: TIMEOUT 180 */
#include "observe.h"
#include "traffic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

DAEMON_SUITE(posts, daemon_use(POSTS_BINARY));

#define TWO_WORKERS "workers = 2\nadmin { address = \"\" }\n" LISTEN_MAIN

static void flood(unsigned threads, unsigned posts)
{
	char line[64];
	int client = client_connect("main");
	snprintf(line, sizeof(line), "flood %u %u\n", threads, posts);
	client_send(client, line);
	client_expect(client, "flooded, mistakes=0\n");
	client_close(client);
}

Test(posts, functions_of_four_threads_run_in_order_on_every_worker)
{
	const unsigned posts = SANITIZED("thread") ? 10000 : 100000;
	daemon_start(TWO_WORKERS);
	flood(4, posts);
	cr_assert_eq(stats_fresh("posts_run_total"), 2 * 4 * posts);
	cr_assert_eq(stats_value("posts_latency_seconds_count"), 2 * 4 * posts);
	cr_assert_eq(stats_value("posts_threads"), 4);
	daemon_finish();
}

static void expect_all_run(const char *what)
{
	char part[64];
	unsigned long accepted, run;
	char error[16];
	snprintf(part, sizeof(part), "posts 0: %s: ", what);
	const char *line = log_line_with(part);
	const char *numbers = line ? strstr(line, "accepted=") : NULL;
	cr_assert(numbers, "%s", log_text());
	MUST(sscanf(numbers, "accepted=%lu run=%lu error=%15s", &accepted, &run, error) == 3);
	cr_assert_gt(accepted, 0, "%s", line);
	cr_assert_eq(run, accepted, "%s", line);
	cr_assert_str_eq(error, "ESHUTDOWN", "%s", line);
}

static void begin_until_stop(void)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, "until-stop\n");
	client_expect(client, "until-stop\n");
}

Test(posts, accepted_functions_run_before_the_stop_after_a_drain)
{
	begin_until_stop();
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	expect_all_run("until-stop");
}

Test(posts, accepted_functions_run_before_a_forced_stop)
{
	begin_until_stop();
	cr_assert_eq(daemon_stop(SIGQUIT), 1);
	expect_all_run("until-stop");
}

Test(posts, function_that_posts_itself_holds_up_neither_clients_nor_reloads_nor_the_stop)
{
	daemon_start(BASE);
	int client = client_connect("main");
	client_send(client, "chain\n");
	client_expect(client, "chain\n");
	for (int i = 0; i < 10; i++) {
		int other = client_connect("main");
		client_send(other, "still served\n");
		client_expect(other, "still served\n");
		client_close(other);
	}
	daemon_reload_and_wait();
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	expect_all_run("chain");
}
