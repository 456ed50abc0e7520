/* Negative controls: the same tests fail with bare libevent and libconfuse. */
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

DAEMON_SUITE(negative_controls);

static void run_naive(const char *what, const char *a, const char *b)
{
	const char *const argv[] = {NAIVE_BINARY, what, a, b, NULL};
	spawn(argv);
}

Test(negative_controls, naive_daemon_reorders_a_burst)
{
	const int burst[] = {SIGHUP, SIGUSR1, SIGHUP, SIGUSR1, SIGUSR2, SIGHUP, SIGINT};
	const char *const by_number[] = {"handled SIGHUP", "handled SIGHUP",  "handled SIGHUP",
					 "handled SIGINT", "handled SIGUSR1", "handled SIGUSR1",
					 "handled SIGUSR2"};
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	file_write_bytes(config_path, "", 0);
	run_naive("burst", config_path, NULL);
	AWAIT(log_contains("ready\n"));
	trace_burst(burst, sizeof(burst) / sizeof(*burst));
	cr_assert_eq(daemon_wait_exit(), 0);
	log_expect_order(by_number, sizeof(by_number) / sizeof(*by_number));
}

Test(negative_controls, naive_daemon_loses_signals_behind_a_flood)
{
	run_naive("storm", "100000", NULL);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("SIGHUP 0\n") && log_contains("SIGINT 0\n"), "%s", log_text());
}

Test(negative_controls, naive_daemon_loses_65536_signals_of_one_kind)
{
	run_naive("storm", "65536", NULL);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("SIGUSR1 0\n"), "%s", log_text());
	cr_assert(log_contains("SIGHUP 0\n") && log_contains("SIGINT 0\n"), "%s", log_text());
}

Test(negative_controls, naive_daemon_changes_its_configuration_in_a_rejected_reload)
{
	char bad[64];
	file_write_bytes(config_path, "port = 8080\n", 12);
	file_write_bytes(path_in("bad.conf", bad), "port = 80\nnonsense = 1\n", 23);
	run_naive("reload", config_path, bad);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("parsed 8080\nfailed 80\n"), "%s", log_text());
}

Test(negative_controls, naive_daemon_accepts_a_truncated_file)
{
	char cut[64];
	file_write_bytes(config_path, "port = 8080\n", 12);
	file_write_bytes(path_in("cut.conf", cut), "port = 80", 9);
	run_naive("reload", config_path, cut);
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(log_contains("parsed 8080\nparsed 80\n"), "%s", log_text());
}
