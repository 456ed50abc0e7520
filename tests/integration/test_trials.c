/* The arguments and the output of skeld --self-test. */
#include "observe.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

DAEMON_SUITE(trials);

Test(trials, empty_part_of_the_list_is_a_usage_error)
{
	static const char *const lists[] = {"--self-test=", "--self-test=order,",
					    "--self-test=,order", "--self-test=order,,burst"};
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		cr_assert_eq(skeld_run(lists[i], NULL), 64, "%s", lists[i]);
		cr_assert_eq(command_out.size, 0, "%s", command_out.bytes);
	}
}

Test(trials, tap_without_the_self_test_is_a_usage_error)
{
	cr_assert_eq(skeld_run("--tap", "-c", config_path, NULL), 64);
	cr_assert(strstr(command_err.bytes, "--tap is for --self-test"), "%s", command_err.bytes);
}

/* Each line is a result, a comment, or the plan at the end, which counts the results. */
Test(trials, tap_output_is_complete)
{
	int results = 0, plan = 0, number = 0;
	cr_assert_eq(skeld_run("--self-test=order,burst", "--tap", NULL), 0, "%s",
		     command_out.bytes);
	char *rest = command_out.bytes;
	for (char *line; (line = strsep(&rest, "\n")) && *line;) {
		cr_assert_eq(plan, 0, "a line behind the plan: %s", line);
		if (sscanf(line, "ok %d - ", &number) == 1)
			cr_assert_eq(number, ++results, "%s", line);
		else if (*line != '#')
			cr_assert_eq(sscanf(line, "1..%d", &plan), 1, "%s", line);
	}
	cr_assert_eq(plan, results);
	cr_assert_gt(results, 10);
}

/* Two signals from another process are pending at a time; the kernel alone would swap them. */
Test(trials, order_has_two_external_signals_pending)
{
	cr_assert_eq(skeld_run("--self-test=order", NULL), 0, "%s", command_out.bytes);
	cr_assert(strstr(command_out.bytes, "handled in the order sent: SIGUSR2 SIGHUP SIGUSR2"),
		  "%s", command_out.bytes);
	cr_assert(strstr(command_out.bytes, "passed order: each signal names its sender"));
}
