/* Negative controls: the same tests fail with bare libevent and libconfuse. */
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

FIXTURE_SUITE(negative_controls);

static void run_naive(const char *what, const char *a, const char *b)
{
	const char *const argv[] = {NAIVE_BINARY, what, a, b, NULL};
	spawn(f, argv);
}

Test(negative_controls, naive_daemon_reorders_a_burst)
{
	const int burst[] = {SIGHUP, SIGUSR1, SIGHUP, SIGUSR1, SIGUSR2, SIGHUP, SIGINT};
	const char *const by_number[] = {"handled SIGHUP", "handled SIGHUP",  "handled SIGHUP",
					 "handled SIGINT", "handled SIGUSR1", "handled SIGUSR1",
					 "handled SIGUSR2"};
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	file_write(f, f->config, "", 0);
	run_naive("burst", f->config, NULL);
	await(f, log_contains(f, "ready\n"));
	trace_burst(f, burst, sizeof(burst) / sizeof(*burst));
	cr_assert_eq(daemon_wait_exit(f), 0);
	log_expect_order(f, by_number, sizeof(by_number) / sizeof(*by_number));
}

Test(negative_controls, naive_daemon_loses_signals_behind_a_flood)
{
	run_naive("storm", "100000", NULL);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert(log_contains(f, "SIGHUP 0\n") && log_contains(f, "SIGINT 0\n"), "%s",
		  log_text(f));
}

Test(negative_controls, naive_daemon_loses_65536_signals_of_one_kind)
{
	run_naive("storm", "65536", NULL);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert(log_contains(f, "SIGUSR1 0\n"), "%s", log_text(f));
	cr_assert(log_contains(f, "SIGHUP 0\n") && log_contains(f, "SIGINT 0\n"), "%s",
		  log_text(f));
}

Test(negative_controls, naive_daemon_changes_its_configuration_in_a_rejected_reload)
{
	char bad[64];
	file_write(f, f->config, "port = 8080\n", 12);
	file_write(f, path_in(f, "bad.conf", bad), "port = 80\nnonsense = 1\n", 23);
	run_naive("reload", f->config, bad);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert(log_contains(f, "parsed 8080\nfailed 80\n"), "%s", log_text(f));
}

Test(negative_controls, naive_daemon_accepts_a_truncated_file)
{
	char cut[64];
	file_write(f, f->config, "port = 8080\n", 12);
	file_write(f, path_in(f, "cut.conf", cut), "port = 80", 9);
	run_naive("reload", f->config, cut);
	cr_assert_eq(daemon_wait_exit(f), 0);
	cr_assert(log_contains(f, "parsed 8080\nparsed 80\n"), "%s", log_text(f));
}
