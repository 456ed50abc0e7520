/* Counters, gauges and histograms of a service, in data/workers and data/service_api. */
#include "data/worker.h"
#include "data/workers.h"
#include "fixture.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { FIRST, COUNTER, GAUGE, LAST };
static const struct service_metric metrics[] = {
	[FIRST] = {"a_seconds", METRIC_HISTOGRAM, "First", NULL, NULL},
	[COUNTER] = {"b_total", METRIC_COUNTER, "Counted", NULL, NULL},
	[GAUGE] = {"c", METRIC_GAUGE, "Set", NULL, NULL},
	[LAST] = {"d_seconds", METRIC_HISTOGRAM, "Last", NULL, NULL},
	{0}};
static const struct service service_under_test = {.name = "test", .metrics = metrics};

static struct workers *all;
static struct worker *one, *two;
static int progress_fd;

static void setup(void)
{
	struct errors e = {0};
	fixture_enter();
	progress_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	all = workers_new(&service_under_test, 2, progress_fd, &e);
	MUST(progress_fd >= 0 && all);
	one = &all->worker[0];
	two = &all->worker[1];
}

TestSuite(service_metrics, .init = setup, .fini = fixture_leave);

static void end(void)
{
	workers_free(all);
	close(progress_fd);
	EXPECT_NOTHING_LEFT();
}

/* Expect LINE in the Prometheus text. */
static void expect(const char *line)
{
	char *text = NULL;
	size_t size;
	static struct registry r;
	FILE *out = open_memstream(&text, &size);
	MUST(out);
	r.n = 0;
	workers_register_metrics(all, &r);
	registry_write(&r, out);
	MUST(fclose(out) == 0);
	cr_assert(strstr(text, line), "no %s in: %s", line, text);
	free(text);
}

Test(service_metrics, counters_and_gauges_show_the_sum_over_all_workers)
{
	expect("# TYPE c gauge\nc 0\n");
	worker_count(one, COUNTER, 2);
	worker_count(two, COUNTER, 3);
	worker_gauge(one, GAUGE, 7);
	worker_gauge(two, GAUGE, 0.5);
	expect("# TYPE b_total counter\nb_total 5\n");
	expect("# TYPE c gauge\nc 7.5\n");
	worker_gauge(one, GAUGE, -7);
	expect("\nc -6.5\n");
	worker_gauge(one, GAUGE, 0);
	worker_gauge(two, GAUGE, 1e300);
	expect("\nc 1e+300\n");
	end();
}

Test(service_metrics, gauge_that_is_not_a_number_is_left_out)
{
	worker_gauge(one, GAUGE, NAN);
	expect("# TYPE c gauge\n# HELP d_seconds");
	end();
}

Test(service_metrics, histograms_show_the_sum_over_all_workers)
{
	worker_observe(one, FIRST, 0.002);
	worker_observe(two, FIRST, 0.003);
	worker_observe(two, FIRST, 60);
	worker_observe(one, LAST, 0.5);
	expect("# TYPE a_seconds histogram\na_seconds_bucket{le=\"5e-06\"} 0\n");
	expect("a_seconds_bucket{le=\"0.001\"} 0\na_seconds_bucket{le=\"0.0025\"} 1\n"
	       "a_seconds_bucket{le=\"0.005\"} 2\n");
	expect("a_seconds_bucket{le=\"10\"} 2\na_seconds_bucket{le=\"+Inf\"} 3\n"
	       "a_seconds_sum 60.005\na_seconds_count 3\n");
	expect("d_seconds_bucket{le=\"0.25\"} 0\nd_seconds_bucket{le=\"0.5\"} 1\n");
	expect("d_seconds_sum 0.5\nd_seconds_count 1\n");
	expect("b_total 0\n");
	end();
}

Test(service_metrics, negative_durations_count_as_zero)
{
	worker_observe(one, LAST, -1);
	worker_observe(one, LAST, NAN);
	worker_observe(one, LAST, 2);
	expect("d_seconds_bucket{le=\"5e-06\"} 2\n");
	expect("d_seconds_sum 2\nd_seconds_count 3\n");
	end();
}
