/* Repeated warnings are limited for all workers together. */
#include "base/log.h"
#include "data/worker.h"
#include "fixture.h"

#include <stdlib.h>

Test(warnings, one_kind_is_limited_across_workers_and_the_suppressed_ones_are_counted)
{
	struct workers *ws = calloc(1, sizeof(*ws) + 2 * sizeof(struct worker));
	unsigned suppressed = 99;
	cr_assert(ws);
	ws->worker[0].workers = ws->worker[1].workers = ws;
	cr_assert(worker_may_warn(&ws->worker[0], WARN_LIMIT, &suppressed));
	cr_assert_eq(suppressed, 0);
	cr_assert_not(worker_may_warn(&ws->worker[1], WARN_LIMIT, &suppressed));
	cr_assert_not(worker_may_warn(&ws->worker[0], WARN_LIMIT, &suppressed));
	cr_assert(worker_may_warn(&ws->worker[1], WARN_ACCEPT, &suppressed), "another kind");
	cr_assert_eq(suppressed, 0);
	ws->warning[WARN_LIMIT].not_before = 0; /* a second later */
	cr_assert(worker_may_warn(&ws->worker[1], WARN_LIMIT, &suppressed));
	cr_assert_eq(suppressed, 2);
	free(ws);
}
