/*
 * The registry of all metrics, printed as Prometheus text or as log lines.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 *
 * The registry stores no values. It reads each value from its owner when it prints. Control thread.
 */
#ifndef SKELD_REGISTRY_H
#define SKELD_REGISTRY_H

#include "service_metric.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Bucket i counts the durations above bound i - 1, up to bound i; the last bucket has no bound. */
enum { HISTOGRAM_BUCKETS = 20 };
extern const double histogram_bounds[HISTOGRAM_BUCKETS - 1]; /* seconds */

struct histogram {
	uint64_t bucket[HISTOGRAM_BUCKETS];
	double sum; /* seconds */
};

/* The index of the bucket that counts SECONDS. */
unsigned histogram_bucket(double seconds);

void histogram_add(struct histogram *h, double seconds);

/* Returns the lowest bound that a share Q (0 to 1) of the durations does not exceed; INFINITY if
 * that is none of the bounds; 0 if there are no durations. */
double histogram_quantile(const struct histogram *h, double q);

/* A metric with a histogram, or with N values: one value, or one for each value of a label. */
struct metric_family {
	const struct service_metric *metric;
	const char *label;	   /* NULL: no label, and N is 1 */
	const char *const *labels; /* the N values of the label; NULL: "0", "1", ... */
	unsigned n;
	/* The current value I, or NAN if it cannot be read: then it is left out. */
	double (*value)(const struct metric_family *f, unsigned i);
	/* METRIC_HISTOGRAM, instead of `value`: store the current counts in H, which is zeroed. */
	void (*histogram)(const struct metric_family *f, struct histogram *h);
	void *context; /* for these functions */
	size_t tag;    /* for these functions */
	/* Labels that change: sets LABELS and returns N; without a label, the metric is left out.
	 * Or NULL: they are as above. */
	unsigned (*current_labels)(const struct metric_family *f, const char *const **labels);
	bool optional; /* registry_log() leaves out a group of such values while all of them are 0
			*/
};

enum { REGISTRY_MAX = 128 };

struct registry {
	struct metric_family family[REGISTRY_MAX];
	size_t n;
};

/* Add a copy of F. Families of one log group must follow each other. Returns false, and logs that,
 * if the registry is full. */
bool registry_add(struct registry *r, const struct metric_family *f);

/* Print all metrics as Prometheus text. */
void registry_write(const struct registry *r, FILE *out);

/* Log all metrics that have a log group, one line for each group that is used, at any log level. */
void registry_log(const struct registry *r);

#endif
