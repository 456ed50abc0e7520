/*
 * One registry of metrics, rendered twice: lines for a person, Prometheus text for a machine
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * Control thread. Values are not stored here but asked for when rendered, from whoever owns them.
 */
#ifndef SKELD_STATS_H
#define SKELD_STATS_H

#include "base/metric.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Durations in seconds; bucket i counts those up to histogram_bounds[i], the last all others. */
enum { HISTOGRAM_BUCKETS = 20 };
extern const double histogram_bounds[HISTOGRAM_BUCKETS - 1];

struct histogram {
	uint64_t bucket[HISTOGRAM_BUCKETS];
	double sum;
};

void histogram_add(struct histogram *h, double seconds);

/* The bound below which the share Q (0..1) of all lies; 0 when there is none. */
double histogram_quantile(const struct histogram *h, double q);

/* A metric with its values: one for each of N label values, or one without a label. */
struct family {
	const struct metric *metric;
	const char *label;	   /* NULL: none, and N is 1 */
	const char *const *labels; /* the N label values; NULL: "0", "1", ... */
	unsigned n;
	/* The I-th value, now. */
	double (*value)(const struct family *f, unsigned i);
	const struct histogram *histogram; /* METRIC_HISTOGRAM: instead of value */
	void *context;			   /* for value */
	size_t tag;			   /* for value */
};

enum { STATS_MAX = 128 };

struct stats {
	struct family family[STATS_MAX];
	size_t n;
};

/* Families of one group stand together. False: the registry is full. */
bool stats_add(struct stats *s, const struct family *f);

/* As Prometheus text. */
void stats_write(const struct stats *s, FILE *out);

/* As log lines, whatever the log level, one for each group. */
void stats_log(const struct stats *s);

#endif
