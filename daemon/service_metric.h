/* A metric: one row of a table. */
#ifndef SKELD_SERVICE_METRIC_H
#define SKELD_SERVICE_METRIC_H

/* A service has counters only; the others are for the daemon. */
enum service_metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct service_metric {
	const char *name; /* a Prometheus name, a counter ends in _total; NULL ends the table */
	enum service_metric_type type;
	const char *help; /* one sentence, without a full stop */
	/* SIGUSR1 logs "stats GROUP: NAME 12, NAME 3". A metric without a group is not logged. */
	const char *log_group, *log_name;
};

#endif
