/* metrics/registry: metrics as Prometheus text and as log lines. */
#include "base/log.h"
#include "fixture.h"
#include "metrics/registry.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(registry, .init = fixture_enter, .fini = fixture_leave);

static struct registry all;

/* The I-th of the numbers that the context points to, from TAG on. */
static double number(const struct metric_family *f, unsigned i)
{
	return ((const double *)f->context)[f->tag + i];
}

static void add(const struct service_metric *m, double *numbers)
{
	cr_assert(registry_add(
		&all, &(struct metric_family){m, .n = 1, .value = number, .context = numbers}));
}

/* Returns the Prometheus text, or if LOGGED the log lines without their time. */
static char *rendered(bool logged)
{
	char *text = NULL, why[64];
	size_t size;
	if (!logged) {
		FILE *out = open_memstream(&text, &size);
		MUST(out);
		registry_write(&all, out);
		MUST(fclose(out) == 0);
		return text;
	}
	struct log_target *t = log_open(LOG_TO_FILE, "log", why, sizeof(why));
	cr_assert(t, "%s", why);
	log_switch(t);
	registry_log(&all);
	log_stop();
	text = strdup(file_text("log"));
	char *to = text, *next;
	for (char *p = text; *p; p = next) {
		next = p + strcspn(p, "\n") + 1;
		memmove(to, p + 30, (size_t)(next - p) - 30);
		to += next - p - 30;
	}
	*to = '\0';
	return text;
}

static void expect(bool logged, const char *expected)
{
	char *is = rendered(logged);
	cr_assert_str_eq(is, expected, "%s", is);
	free(is);
}

static const struct service_metric counter = {"a_total", METRIC_COUNTER, "Things done", "work",
					      "done"};
static const struct service_metric gauge = {"b_bytes", METRIC_GAUGE, "Bytes held", "work", "held"};
static const struct service_metric silent = {"c", METRIC_GAUGE, "Not for the log", NULL, NULL};
static const struct service_metric other = {"d_total", METRIC_COUNTER, "Others", "rest", "others"};

Test(registry, values_that_cannot_be_read_are_left_out)
{
	static const char *const kinds[] = {"x", "y"};
	double numbers[] = {NAN, NAN, 2};
	add(&counter, &numbers[0]);
	cr_assert(registry_add(&all, &(struct metric_family){&gauge, "kind", kinds, 2, number,
							     .context = &numbers[1]}));
	expect(false, "# HELP a_total Things done.\n# TYPE a_total counter\n"
		      "# HELP b_bytes Bytes held.\n# TYPE b_bytes gauge\nb_bytes{kind=\"y\"} 2\n");
	expect(true, "notice  stats work: held_y=2\n");
	EXPECT_NOTHING_LEFT();
}

static unsigned n_labels;

static unsigned first_labels(const struct metric_family *f, const char *const **labels)
{
	static const char *const kinds[] = {"x", "y"};
	(void)f;
	*labels = kinds;
	return n_labels;
}

Test(registry, a_metric_without_current_labels_is_left_out)
{
	double numbers[] = {1, 2};
	cr_assert(registry_add(&all, &(struct metric_family){&gauge, "kind", .value = number,
							     .context = numbers,
							     .current_labels = first_labels}));
	expect(false, "");
	n_labels = 1;
	expect(false, "# HELP b_bytes Bytes held.\n# TYPE b_bytes gauge\nb_bytes{kind=\"x\"} 1\n");
	n_labels = 2;
	expect(true, "notice  stats work: held_x=1 held_y=2\n");
	EXPECT_NOTHING_LEFT();
}

Test(registry, counters_and_gauges_are_written)
{
	double numbers[] = {7, -0.5, 3};
	add(&counter, &numbers[0]);
	add(&gauge, &numbers[1]);
	add(&silent, &numbers[2]);
	add(&other, &numbers[2]);
	expect(false, "# HELP a_total Things done.\n# TYPE a_total counter\na_total 7\n"
		      "# HELP b_bytes Bytes held.\n# TYPE b_bytes gauge\nb_bytes -0.5\n"
		      "# HELP c Not for the log.\n# TYPE c gauge\nc 3\n"
		      "# HELP d_total Others.\n# TYPE d_total counter\nd_total 3\n");
	expect(true, "notice  stats work: done=7 held=-0.5\nnotice  stats rest: others=3\n");
	/* Values are read each time. */
	numbers[0] = 8;
	numbers[2] = 0;
	MUST(remove("log") == 0);
	expect(true, "notice  stats work: done=8 held=-0.5\nnotice  stats rest: others=0\n");
	expect(false, "# HELP a_total Things done.\n# TYPE a_total counter\na_total 8\n"
		      "# HELP b_bytes Bytes held.\n# TYPE b_bytes gauge\nb_bytes -0.5\n"
		      "# HELP c Not for the log.\n# TYPE c gauge\nc 0\n"
		      "# HELP d_total Others.\n# TYPE d_total counter\nd_total 0\n");
	EXPECT_NOTHING_LEFT();
}

/* 64-bit counters and times since 1970 need that many digits. */
Test(registry, large_numbers_keep_their_digits)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {{9007199254740991.0, "9007199254740991"},
		     {1784563200.123456, "1784563200.12346"},
		     {0.000001, "1e-06"},
		     {1e18, "1000000000000000000"},
		     {1e300, "1e+300"},
		     {-1e300, "-1e+300"},
		     {INFINITY, "inf"},
		     {-3, "-3"}};
	double value;
	add(&silent, &value);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		value = cases[i].value;
		char *is = rendered(false);
		cr_assert_str_eq(strrchr(is, ' ') + 1 + strlen(cases[i].text), "\n", "%s", is);
		cr_assert(strstr(is, cases[i].text), "%s", is);
		free(is);
	}
	EXPECT_NOTHING_LEFT();
}

Test(registry, labels_are_escaped)
{
	static const char *const labels[] = {"plain",	 "a\"b", "a\\b", "a\nb",
					     "\xc3\xa9", "",	 "\xc3"};
	double numbers[] = {1, 2, 3, 4, 5, 6, 7};
	registry_add(&all, &(struct metric_family){&counter, "by", labels, 7, .value = number,
						   .context = numbers});
	expect(false,
	       "# HELP a_total Things done.\n# TYPE a_total counter\n"
	       "a_total{by=\"plain\"} 1\na_total{by=\"a\\\"b\"} 2\na_total{by=\"a\\\\b\"} 3\n"
	       "a_total{by=\"a\\\\x0ab\"} 4\na_total{by=\"\xc3\xa9\"} 5\na_total{by=\"\"} 6\n"
	       "a_total{by=\"\\\\xc3\"} 7\n");
	EXPECT_NOTHING_LEFT();
}

Test(registry, labels_can_be_numbers_and_zeroes_are_not_logged)
{
	double numbers[] = {99, 0, 2, 0.5};
	registry_add(&all, &(struct metric_family){&counter, "worker", NULL, 3, .value = number,
						   .context = numbers, .tag = 1});
	expect(false,
	       "# HELP a_total Things done.\n# TYPE a_total counter\n"
	       "a_total{worker=\"0\"} 0\na_total{worker=\"1\"} 2\na_total{worker=\"2\"} 0.5\n");
	expect(true, "notice  stats work: done_1=2 done_2=0.5\n");
	numbers[2] = numbers[3] = 0;
	MUST(remove("log") == 0);
	expect(true, "notice  stats work: done=0\n");
	EXPECT_NOTHING_LEFT();
}

Test(registry, a_group_of_optional_values_is_logged_when_one_of_them_is_used)
{
	double numbers[] = {0, 0, 0}, always = 0;
	registry_add(&all, &(struct metric_family){&counter, "worker", NULL, 2, .value = number,
						   .context = numbers, .optional = true});
	registry_add(&all, &(struct metric_family){&gauge, .n = 1, .value = number,
						   .context = numbers, .tag = 2, .optional = true});
	add(&other, &always);
	expect(true, "notice  stats rest: others=0\n");
	numbers[1] = 3;
	MUST(remove("log") == 0);
	expect(true, "notice  stats work: done_1=3 held=0\nnotice  stats rest: others=0\n");
	numbers[1] = 0;
	numbers[2] = 4;
	MUST(remove("log") == 0);
	expect(true, "notice  stats work: done=0 held=4\nnotice  stats rest: others=0\n");
	EXPECT_NOTHING_LEFT();
}

static void copy_histogram(const struct metric_family *f, struct histogram *h)
{
	*h = *(const struct histogram *)f->context;
}

static void add_histogram(const struct service_metric *m, struct histogram *h)
{
	cr_assert(registry_add(&all, &(struct metric_family){m, .n = 1, .histogram = copy_histogram,
							     .context = h}));
}

static const struct service_metric latency = {"l_seconds", METRIC_HISTOGRAM, "Latency", "work",
					      "latency"};

Test(registry, histogram_buckets_are_cumulative)
{
	struct histogram h = {0};
	add_histogram(&latency, &h);
	histogram_add(&h, 0);
	histogram_add(&h, 5e-6);
	histogram_add(&h, 6e-6);
	histogram_add(&h, 0.3);
	histogram_add(&h, 10);
	histogram_add(&h, 100);
	expect(false, "# HELP l_seconds Latency.\n# TYPE l_seconds histogram\n"
		      "l_seconds_bucket{le=\"5e-06\"} 2\nl_seconds_bucket{le=\"1e-05\"} 3\n"
		      "l_seconds_bucket{le=\"2.5e-05\"} 3\nl_seconds_bucket{le=\"5e-05\"} 3\n"
		      "l_seconds_bucket{le=\"0.0001\"} 3\nl_seconds_bucket{le=\"0.00025\"} 3\n"
		      "l_seconds_bucket{le=\"0.0005\"} 3\nl_seconds_bucket{le=\"0.001\"} 3\n"
		      "l_seconds_bucket{le=\"0.0025\"} 3\nl_seconds_bucket{le=\"0.005\"} 3\n"
		      "l_seconds_bucket{le=\"0.01\"} 3\nl_seconds_bucket{le=\"0.025\"} 3\n"
		      "l_seconds_bucket{le=\"0.05\"} 3\nl_seconds_bucket{le=\"0.1\"} 3\n"
		      "l_seconds_bucket{le=\"0.25\"} 3\nl_seconds_bucket{le=\"0.5\"} 4\n"
		      "l_seconds_bucket{le=\"1\"} 4\nl_seconds_bucket{le=\"2.5\"} 4\n"
		      "l_seconds_bucket{le=\"10\"} 5\nl_seconds_bucket{le=\"+Inf\"} 6\n"
		      "l_seconds_sum 110.300011\nl_seconds_count 6\n");
	EXPECT_NOTHING_LEFT();
}

/* After months: a rate over a minute must still be exact. */
Test(registry, a_large_sum_keeps_its_fraction)
{
	struct histogram h = {.sum = 1234567890.125};
	add_histogram(&latency, &h);
	char *text = rendered(false);
	cr_assert(strstr(text, "\nl_seconds_sum 1234567890.125\n"), "%s", text);
	free(text);
	EXPECT_NOTHING_LEFT();
}

Test(registry, quantiles_are_bucket_bounds)
{
	struct histogram h = {0};
	cr_assert_eq(histogram_quantile(&h, 0.5), 0);
	cr_assert_eq(histogram_quantile(&h, 1), 0);
	for (int i = 0; i < 98; i++)
		histogram_add(&h, 2e-5);
	histogram_add(&h, 0.2);
	histogram_add(&h, 0.7);
	cr_assert_float_eq(histogram_quantile(&h, 0.5), 2.5e-5, 1e-9);
	cr_assert_float_eq(histogram_quantile(&h, 0.98), 2.5e-5, 1e-9);
	cr_assert_eq(histogram_quantile(&h, 0.99), 0.25);
	cr_assert_eq(histogram_quantile(&h, 1), 1);
	for (int i = 0; i < 1000; i++)
		histogram_add(&h, 1000); /* past the last bound */
	cr_assert_eq(histogram_quantile(&h, 0.99), INFINITY);
	cr_assert_float_eq(histogram_quantile(&h, 0.05), 2.5e-5, 1e-9);
	EXPECT_NOTHING_LEFT();
}

Test(registry, each_bound_belongs_to_its_bucket)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		struct histogram h = {0};
		histogram_add(&h, histogram_bounds[i]);
		histogram_add(&h, histogram_bounds[i] * 1.001);
		cr_assert_eq(h.bucket[i], 1);
		cr_assert_eq(h.bucket[i + 1], 1);
	}
	EXPECT_NOTHING_LEFT();
}

Test(registry, a_histogram_is_logged_with_its_quantiles)
{
	double numbers[] = {5};
	struct histogram h = {0};
	add(&counter, numbers);
	add_histogram(&latency, &h);
	for (int i = 0; i < 50; i++)
		histogram_add(&h, 2e-5);
	for (int i = 0; i < 50; i++)
		histogram_add(&h, 3e-3);
	expect(true, "notice  stats work: done=5 latency_p50_ms=0.025 latency_p99_ms=5\n");
	for (int i = 0; i < 10; i++)
		histogram_add(&h, 11);
	MUST(remove("log") == 0);
	expect(true, "notice  stats work: done=5 latency_p50_ms=5 latency_p99_ms=inf\n");
	EXPECT_NOTHING_LEFT();
}

Test(registry, a_full_registry_is_logged)
{
	double value = 1;
	for (int i = 0; i < REGISTRY_MAX; i++)
		add(&silent, &value);
	cr_assert_not(
		registry_add(&all, &(struct metric_family){&silent, .n = 1, .value = number}));
	cr_assert_eq(all.n, REGISTRY_MAX);
	EXPECT_NOTHING_LEFT();
}
