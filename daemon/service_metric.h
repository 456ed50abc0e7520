/* A metric: one row of a table. */
#ifndef SKELD_SERVICE_METRIC_H
#define SKELD_SERVICE_METRIC_H

enum service_metric_type {
	METRIC_COUNTER,	 /* a sum that only grows: worker_count() */
	METRIC_GAUGE,	 /* a value that rises and falls: worker_gauge() */
	METRIC_HISTOGRAM /* durations in buckets from 5 us to 10 s: worker_observe() */
};

struct service_metric {
	const char *name; /* a Prometheus name, a counter ends in _total, a histogram in _seconds;
			     NULL ends the table */
	enum service_metric_type type;
	const char *help; /* one sentence, without a full stop */
	/* SIGUSR1 logs "stats GROUP: NAME=12 NAME=3", the names in snake case. A metric without a
	 * group is not logged. Rows of one group follow each other. */
	const char *log_group, *log_name;
};

#endif
