/* The time that a service has for its `stop`, see services/children.c. */
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

DAEMON_SUITE(slow_stop, daemon_use(CHILDREN_BINARY));

Test(slow_stop, stop_of_the_service_may_use_the_rest_of_drain_timeout)
{
	daemon_start(BASE "drain_timeout = 3600\nchildren { stop_ms = 4000 }\n");
	cr_assert_eq(daemon_stop(SIGTERM), 0, "%s", log_text());
	cr_assert(log_contains("written"), "%s", log_text());
	cr_assert(!log_contains("workers did not end"), "%s", log_text());
}

Test(slow_stop, second_signal_ends_a_slow_stop_of_the_service)
{
	daemon_start(BASE "drain_timeout = 3600\nchildren { stop_ms = 3600000 }\n");
	daemon_signal(SIGTERM);
	AWAIT(log_contains("writing"));
	cr_assert_eq(daemon_stop(SIGTERM), 1, "%s", log_text());
	cr_assert(log_contains("workers did not end: count=1"), "%s", log_text());
}

Test(slow_stop, forced_stop_does_not_wait_for_the_service)
{
	daemon_start(BASE "drain_timeout = 3600\nchildren { stop_ms = 3600000 }\n");
	cr_assert_eq(daemon_stop(SIGQUIT), 1, "%s", log_text());
	cr_assert(log_contains("workers did not end: count=1"), "%s", log_text());
}

Test(slow_stop, drain_timeout_ends_a_slow_stop_of_the_service)
{
	daemon_start(BASE "drain_timeout = 1\nchildren { stop_ms = 3600000 }\n");
	cr_assert_eq(daemon_stop(SIGTERM), 1, "%s", log_text());
	cr_assert(log_contains("workers did not end: count=1"), "%s", log_text());
}
