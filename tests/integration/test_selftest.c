/* skeld --self-test, in several environments. */
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

DAEMON_SUITE(selftest);

static void expect_passed(int code)
{
	const char *text = command_out.bytes;
	cr_assert_eq(code, 0, "exit %d\n%s\n%s", code, text, command_err.bytes);
	cr_assert(command_out.size > 1 && text[command_out.size - 1] == '\n', "no output");
	size_t start = command_out.size - 1;
	while (start && text[start - 1] != '\n')
		start--;
	int passed = 0, failed = -1, end = 0;
	sscanf(text + start, "self-test: %d checks passed, %d failed%n", &passed, &failed, &end);
	cr_assert(passed > 0 && failed == 0 && end && text[start + (size_t)end] == '\n', "%s",
		  text + start);
}

Test(selftest, the_self_test_passes)
{
	/* The thread sanitizer delays signals and delivers them by number. */
	if (SANITIZED("thread"))
		cr_skip_test("needs signals delivered at once");
	expect_passed(skeld_run("--self-test", NULL));
}

Test(selftest, order_prints_each_step_of_each_signal_and_notifies_no_one)
{
	static const char *const steps[] = {
		"starting send_signals for ", "sending SIGHUP",	 "yielding control",
		"signal_handler('SIGHUP')",   "sending SIGHUP",	 "yielding control",
		"signal_handler('SIGHUP')",   "sending SIGUSR1", "yielding control",
		"signal_handler('SIGUSR1')",  "sending SIGINT",	 "yielding control",
		"signal_handler('SIGINT')"};
	expect_passed(skeld_run("--self-test=order", NULL));
	read_notices();
	cr_assert_eq(notices.size, 0, "it notifies the service manager: %s", notices.bytes);
	const char *at = command_out.bytes;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		const char *found = strstr(at, steps[i]);
		cr_assert_not_null(found, "step %zu, %s, is not in\n%s", i, steps[i],
				   command_out.bytes);
		at = found + strlen(steps[i]);
	}
}

/* The service chat has no probe, and greets each client. */
Test(selftest, the_self_test_passes_with_a_service_that_sends_first)
{
	daemon_use(CHAT_BINARY);
	expect_passed(skeld_run("--self-test=order", NULL));
}

/* The service proxy resets its clients: there is no server at its default address. */
Test(selftest, the_self_test_passes_with_a_service_that_closes_clients)
{
	daemon_use(PROXY_BINARY);
	expect_passed(skeld_run("--self-test=order", NULL));
}

Test(selftest, parts_of_the_self_test_can_be_selected)
{
	if (SANITIZED("thread"))
		cr_skip_test("the sanitizer delivers signals late, and nests their handlers");
	expect_passed(skeld_run("--self-test=storm,order", NULL));
}

Test(selftest, the_self_test_passes_for_an_unprivileged_user)
{
	if (getuid() != 0)
		cr_skip_test("is what the other tests show");
	daemon_run_as(65534);
	expect_passed(skeld_run("--self-test=order", NULL));
}

static void close_stdin(void)
{
	close(STDIN_FILENO);
}

Test(selftest, the_self_test_passes_with_stdin_closed)
{
	daemon_prepare = close_stdin;
	expect_passed(skeld_run("--self-test=order", NULL));
}

static void remove_runtime_dir(void)
{
	if (chdir(test_dir) < 0 || rmdir(runtime_dir) < 0)
		_exit(125);
}

Test(selftest, the_self_test_needs_no_runtime_directory)
{
	daemon_prepare = remove_runtime_dir;
	expect_passed(skeld_run("--self-test=order", NULL));
}

Test(selftest, two_self_tests_pass_at_the_same_time)
{
	const char *const argv[] = {daemon_binary, "--self-test=order", NULL};
	spawn(argv);
	expect_passed(skeld_run("--self-test=order", NULL));
	cr_assert_eq(daemon_wait_exit(), 0, "%s", log_text());
	cr_assert(log_contains(" passed, 0 failed\n"), "%s", log_text());
}

Test(selftest, the_self_test_does_not_disturb_a_running_daemon)
{
	daemon_start(BASE);
	expect_passed(skeld_run("--self-test=order", "-r", runtime_dir, NULL));
	expect_status("state", "running");
	expect_status("generation", "1");
	daemon_finish();
}
