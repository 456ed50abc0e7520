/* data/load: the certificates and the service's files in one load, abandoned at every step. */
/* build: WRAP tls_sites_load */
/* test: NEEDS TLS */
#include "data/load.h"
#include "data/tls_internal.h"
#include "fixture.h"
#include "loading.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tls_sites *__wrap_tls_sites_load(const struct config *c, const struct tls_sites *old,
					struct errors *warnings, struct errors *e);

/* Both loads wait until the test lets them go on. */
static sem_t may_return;
static bool certificates_are_bad, failure_is_transient, list_is_bad;
static const struct tls_sites *old_at_load;
static _Atomic unsigned loads, unloads;
static int object;

static void await_permission(void)
{
	while (sem_wait(&may_return) < 0)
		;
}

struct tls_sites *__wrap_tls_sites_load(const struct config *c, const struct tls_sites *old,
					struct errors *warnings, struct errors *e)
{
	old_at_load = old;
	await_permission();
	errors_add(warnings, NULL, 0, "%s expires", c->tls[0].title);
	if (certificates_are_bad)
		errors_add(e, "skeld.conf", 2, "%s is bad", c->tls[0].title);
	e->transient = failure_is_transient;
	return certificates_are_bad ? NULL : tls_sites_new();
}

static void *on_load(const void *config, char *why, size_t size)
{
	(void)config;
	await_permission();
	snprintf(why, size, "no list");
	loads++;
	return list_is_bad ? NULL : &object;
}

static void on_unload(void *loaded)
{
	(void)loaded;
	unloads++;
}

static const struct service loads_too = {.name = "thing", .load = on_load, .unload = on_unload};
static const struct service loads_nothing = {.name = "thing"};
static struct load load_step = {&loads_too, "main.conf", .timeout_seconds = ANY_SECONDS};
static struct config *config;
static struct errors e;
static char title[] = "site";

static void setup(void)
{
	fixture_enter();
	sem_init(&may_return, 0, 0);
	config = load_good("thing { }\n");
	config->tls[0] = (struct tls_config){.location = {"skeld.conf", 2}, .title = title};
	config->n_tls = 1;
}

static void teardown(void)
{
	if (!load_end(&load_step, INT32_MAX))
		abort();				    /* see fixture_leave_nothing() */
	memset(&config->tls[0], 0, sizeof(config->tls[0])); /* the literals are not its own */
	config->n_tls = 0;
	config_unref(config);
	errors_clear(&e);
	for (int64_t until = deadline();
	     open_descriptors() != descriptors_before && !is_past(until);)
		poll(NULL, 0, 1); /* the thread drops its part last of all */
	fixture_leave_nothing();
}

TestSuite(load_tls, .init = setup, .fini = teardown);

static void permit(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		MUST(sem_post(&may_return) == 0);
}

static void expect_rejected(size_t n, bool conclusive)
{
	cr_assert_null(load_wait(&load_step, config, NULL, &e));
	cr_assert_eq(e.n, n, "%s", errors_text(&e, 0));
	cr_assert_eq(load_step.conclusive, conclusive);
}

Test(load_tls, certificates_and_object_are_one_result)
{
	struct tls_sites *old = tls_sites_new();
	permit(2);
	struct loaded *l = load_wait(&load_step, config, old, &e);
	cr_assert(l && e.n == 0, "%s", errors_text(&e, 0));
	cr_assert_eq(old_at_load, old);
	cr_assert_eq(loaded_object(l), &object);
	cr_assert(loaded_tls(l));
	cr_assert_str_eq(errors_text(loaded_warnings(l), 0), "site expires");
	loaded_unref(l);
	cr_assert_eq(unloads, 1);
	tls_sites_unref(old);
}

Test(load_tls, a_service_without_load_has_only_certificates)
{
	load_step.service = &loads_nothing;
	permit(1);
	struct loaded *l = load_wait(&load_step, config, NULL, &e);
	cr_assert(l && loaded_tls(l) && !loaded_object(l));
	loaded_unref(l);
	cr_assert(load_is_needed(&loads_nothing, config) && load_is_needed(&loads_too, config));
	config->n_tls = 0;
	cr_assert_not(load_is_needed(&loads_nothing, config));
	cr_assert_eq(loads, 0);
}

Test(load_tls, mistakes_of_both_are_reported_together)
{
	certificates_are_bad = true;
	permit(2);
	expect_rejected(1, true);
	cr_assert_str_eq(errors_text(&e, 0), "skeld.conf:2: site is bad");
	cr_assert_eq(unloads, 1);
	errors_clear(&e);
	list_is_bad = true;
	permit(2);
	expect_rejected(2, true);
	cr_assert_str_eq(errors_text(&e, 1), "skeld.conf:1: section thing: no list");
	errors_clear(&e);
	certificates_are_bad = false;
	permit(2);
	expect_rejected(1, true);
}

Test(load_tls, a_transient_failure_is_not_conclusive)
{
	certificates_are_bad = failure_is_transient = true;
	permit(2);
	expect_rejected(1, false);
	cr_assert(e.transient);
}

Test(load_tls, a_late_load_names_the_step_that_hangs)
{
	load_step.timeout_seconds = 0.1;
	cr_assert_null(load_wait(&load_step, config, NULL, &e));
	cr_assert_str_eq(errors_text(&e, 0), "skeld.conf:2: section tls: not loaded within 0.1 s: "
					     "the file system may be hung");
	errors_clear(&e);
	cr_assert_eq(load_request(&load_step, config, NULL, &e), -1);
	cr_assert(strstr(errors_text(&e, 0), "skeld.conf:2: section tls: the previous load"));
	errors_clear(&e);
	permit(2);
	cr_assert(load_end(&load_step, INT32_MAX));
	cr_assert_eq(unloads, 1);
	permit(1);
	cr_assert_null(load_wait(&load_step, config, NULL, &e));
	cr_assert(strstr(errors_text(&e, 0), "skeld.conf:1: section thing: not loaded within"),
		  "%s", errors_text(&e, 0));
	permit(1);
}

/* The caller abandons each load at about the moment at which it returns. */
Test(load_tls, certificates_and_object_are_freed_once_if_abandon_and_return_race)
{
	enum { TIMES = 2000 };
	struct tls_sites *old = tls_sites_new();
	for (unsigned i = 1; i <= TIMES; i++) {
		MUST(load_request(&load_step, config, old, &e) >= 0);
		permit(2);
		for (unsigned k = 0; k < i % 50; k++)
			load_poll(&load_step);
		load_abandon(&load_step);
		cr_assert(load_end(&load_step, INT32_MAX));
		cr_assert_eq(unloads, i);
	}
	tls_sites_unref(old);
}
