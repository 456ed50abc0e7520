/* skeld --self-test, in several environments. */
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

FIXTURE_SUITE(selftest);

static void expect_passed(int code)
{
	const char *text = f->out.bytes;
	cr_assert_eq(code, 0, "exit %d\n%s\n%s", code, text, f->err.bytes);
	cr_assert(f->out.size > 1 && text[f->out.size - 1] == '\n', "no output");
	size_t start = f->out.size - 1;
	while (start && text[start - 1] != '\n')
		start--;
	int passed = 0, failed = -1, end = 0;
	sscanf(text + start, "%d passed, %d failed%n", &passed, &failed, &end);
	cr_assert(passed > 0 && failed == 0 && end && text[start + (size_t)end] == '\n', "%s",
		  text + start);
}

Test(selftest, the_self_test_passes)
{
	/* The thread sanitizer delays signals and delivers them by number. */
	if (SANITIZED("thread"))
		cr_skip_test("needs signals delivered at once");
	expect_passed(skeld_run(f, "--self-test", NULL));
}

Test(selftest, order_prints_each_step_of_each_signal)
{
	static const char *const steps[] = {
		"starting send_signals for ", "sending SIGHUP",	 "yielding control",
		"signal_handler('SIGHUP')",   "sending SIGHUP",	 "yielding control",
		"signal_handler('SIGHUP')",   "sending SIGUSR1", "yielding control",
		"signal_handler('SIGUSR1')",  "sending SIGINT",	 "yielding control",
		"signal_handler('SIGINT')"};
	expect_passed(skeld_run(f, "--self-test=order", NULL));
	const char *at = f->out.bytes;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		const char *found = strstr(at, steps[i]);
		cr_assert_not_null(found, "step %zu, %s, is not in\n%s", i, steps[i], f->out.bytes);
		at = found + strlen(steps[i]);
	}
}

Test(selftest, parts_of_the_self_test_can_be_selected)
{
	expect_passed(skeld_run(f, "--self-test=storm,order", NULL));
}

Test(selftest, the_self_test_passes_for_an_unprivileged_user)
{
	if (getuid() != 0)
		cr_skip_test("is what the other tests show");
	fixture_run_as(f, 65534);
	expect_passed(skeld_run(f, "--self-test=order,storm", NULL));
}

static void close_stdin(struct fixture *fixture)
{
	(void)fixture;
	close(STDIN_FILENO);
}

Test(selftest, the_self_test_passes_with_stdin_closed)
{
	f->prepare = close_stdin;
	expect_passed(skeld_run(f, "--self-test=order,storm", NULL));
}

static void go_nowhere(struct fixture *fixture)
{
	if (chdir(fixture->dir) < 0 || rmdir(fixture->runtime) < 0)
		_exit(125);
}

Test(selftest, the_self_test_needs_no_runtime_directory)
{
	f->prepare = go_nowhere;
	expect_passed(skeld_run(f, "--self-test=order", NULL));
}

Test(selftest, two_self_tests_pass_at_the_same_time)
{
	const char *const argv[] = {f->binary, "--self-test=order,storm", NULL};
	spawn(f, argv);
	expect_passed(skeld_run(f, "--self-test=order,storm", NULL));
	cr_assert_eq(daemon_wait_exit(f), 0, "%s", log_text(f));
	cr_assert(log_contains(f, " passed, 0 failed\n"), "%s", log_text(f));
}

Test(selftest, the_self_test_does_not_disturb_a_running_daemon)
{
	daemon_start(f, BASE);
	expect_passed(skeld_run(f, "--self-test=order,storm", "-r", f->runtime, NULL));
	expect_status(f, "state", "running");
	expect_status(f, "generation", "1");
	daemon_finish(f);
}
