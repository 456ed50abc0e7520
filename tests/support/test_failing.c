/* These tests fail: lint/failure_location checks that each failure names its line here, or, if the
 * test hangs, its name. */
#include "client.h"
#include "observe.h"

#include <unistd.h>

DAEMON_SUITE(failing);

static void expect_no_listener(void)
{
	listener_address("none"); /* line: helper */
}

Test(failing, a_check_of_the_harness)
{
	expect_status("state", "running"); /* line: harness */
}

Test(failing, a_check_of_the_harness_in_a_function_of_the_test)
{
	expect_no_listener(); /* line: caller */
}

Test(failing, a_check_of_the_test)
{
	cr_assert(test_dir[0] == 'x', "not so"); /* line: check */
}

Test(hanging, a_test_without_a_deadline)
{
	for (;;)
		pause();
}
