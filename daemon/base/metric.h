/* One row of a table of metrics. */
#ifndef SKELD_METRIC_H
#define SKELD_METRIC_H

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
	const char *name; /* Prometheus' rules: a counter ends in _total; NULL ends a table */
	enum metric_type type;
	const char *help;	  /* one sentence, without a full stop */
	const char *group, *word; /* "stats GROUP: ... WORD 12 ..." in the log */
};

#endif
