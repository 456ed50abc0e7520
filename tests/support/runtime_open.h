/* Runtime directories that can be opened, and others. */
#ifndef SKELD_TESTS_RUNTIME_OPEN_H
#define SKELD_TESTS_RUNTIME_OPEN_H

#include "control/runtime.h"
#include "fixture.h"

#include <string.h>

static inline void open_well(struct runtime *r, const char *path)
{
	struct errors e = {0};
	cr_assert_eq(runtime_open(r, path, NULL, &e), 0, "%s", errors_text(&e, 0));
	cr_assert_eq(e.n, 0);
}

static inline void expect_refused(const char *path, const char *error)
{
	struct runtime r;
	struct errors e = {0};
	cr_assert_eq(runtime_open(&r, path, NULL, &e), -1);
	cr_assert_eq(e.n, 1);
	cr_assert(strstr(errors_text(&e, 0), error), "%s", errors_text(&e, 0));
	errors_clear(&e);
	runtime_close(&r); /* no effect: it is not open */
}

#endif
