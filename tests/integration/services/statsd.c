/*
 * Example: samples over UDP, in the format of statsd, and their values over TCP. It shows
 *datagrams, and a service with listeners of both kinds:
 *
 *	listen "samples" { address = "udp:127.0.0.1:8125" }
 *	listen "values" { address = "127.0.0.1:8126" }
 *
 * A datagram has one or more lines. `name:3|c` adds to a counter, and `name:3|c|@0.1` adds 30,
 * because only one of ten samples is sent. `name:3|g` sets a gauge, `name:+3|g` changes it.
 * `name:3|ms` records a duration. A TCP client sends `stats` and receives all values. A datagram
 * `stats` is answered by one line of totals: a short one, because anyone can forge the address to
 * which the answer goes.
 *
 *	$ printf 'hits:1|c\nhits:2|c' | nc -u -w1 127.0.0.1 8125
 *	$ echo stats | nc -N 127.0.0.1 8126
 *	c hits 3
 */
#include "service_datagram.h"

#include <math.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 128, LINE_SIZE = 256, TEXT_SIZE = 128 };

/* What a sample is. The rows of metrics[] have the same order. */
enum kind { COUNTER, GAUGE, TIMER, MALFORMED };
static const char *const letters[] = {[COUNTER] = "c", [GAUGE] = "g", [TIMER] = "ms"};

static const struct service_metric metrics[] = {
	[COUNTER] = {"skeld_statsd_counter_samples_total", METRIC_COUNTER, "Samples of counters",
		     "samples", "counters"},
	[GAUGE] = {"skeld_statsd_gauge_samples_total", METRIC_COUNTER, "Samples of gauges",
		   "samples", "gauges"},
	[TIMER] = {"skeld_statsd_timer_samples_total", METRIC_COUNTER, "Samples of timers",
		   "samples", "timers"},
	[MALFORMED] = {"skeld_statsd_malformed_samples_total", METRIC_COUNTER,
		       "Lines that are no sample, or that exceed statsd.names", "samples",
		       "malformed"},
	{0}};

struct settings {
	int64_t names;
};
static const struct service_option options[] = {
	{.name = "names",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct settings, names),
	 .default_value = "10000",
	 .min = 1,
	 .max = 1000000,
	 .unit = "names",
	 .help = "Limit of different names, so that clients cannot fill the memory"},
	{0}};

struct series {
	char name[NAME_SIZE];
	enum kind kind;
	double value; /* a timer: the sum */
	double max;   /* timers only */
	uint64_t samples;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of everything below */
static void *all;					 /* tree of struct series, tsearch(3) */
static int64_t n_names;
static uint64_t n_samples;

static int compare(const void *a, const void *b)
{
	const struct series *x = a, *y = b;
	int order = strcmp(x->name, y->name);
	return order ? order : (int)x->kind - (int)y->kind;
}

/* Find the series of SAMPLE, or add one. Returns NULL if there are too many. */
static struct series *find_series(const struct series *sample, int64_t limit)
{
	struct series **found = tfind(sample, &all, compare);
	if (found)
		return *found;
	struct series *s = n_names < limit ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return NULL;
	strcpy(s->name, sample->name);
	s->kind = sample->kind;
	if (!tsearch(s, &all, compare)) {
		free(s);
		return NULL;
	}
	n_names++;
	return s;
}

/* Parse LINE, such as "name:3|c|@0.1", into the name, the kind and the value of a sample.
 * IS_CHANGE: the value has a sign. */
static bool parse(const char *line, struct series *sample, bool *is_change)
{
	size_t n = strcspn(line, ":");
	char *end;
	if (!n || n >= sizeof(sample->name) || line[n] != ':')
		return false;
	memcpy(sample->name, line, n);
	const char *value = line + n + 1;
	sample->value = strtod(value, &end);
	*is_change = *value == '+' || *value == '-';
	if (end == value || *end != '|' || !isfinite(sample->value))
		return false;
	const char *letter = end + 1;
	size_t length = strcspn(letter, "|");
	sample->kind = COUNTER;
	while (sample->kind < MALFORMED && (strlen(letters[sample->kind]) != length ||
					    strncmp(letters[sample->kind], letter, length) != 0))
		sample->kind++;
	if (sample->kind == MALFORMED || !letter[length])
		return sample->kind != MALFORMED;
	double rate = letter[length + 1] == '@' ? strtod(letter + length + 2, &end) : 0;
	if (!(rate > 0 && rate <= 1) || *end)
		return false;
	if (sample->kind == COUNTER)
		sample->value /= rate;
	return true;
}

/* Returns what the line was. The caller has the lock. */
static enum kind add_line(const char *line, int64_t limit)
{
	struct series sample = {0};
	bool is_change;
	struct series *s = parse(line, &sample, &is_change) ? find_series(&sample, limit) : NULL;
	if (!s)
		return MALFORMED;
	if (s->kind != GAUGE || is_change)
		s->value += sample.value;
	else
		s->value = sample.value;
	if (s->samples == 0 || sample.value > s->max)
		s->max = sample.value;
	s->samples++;
	n_samples++;
	return s->kind;
}

/* Copy the next line of the N bytes at BYTES. Returns its length with the line end. */
static size_t next_line(const char *bytes, size_t n, char line[static LINE_SIZE])
{
	const char *end = memchr(bytes, '\n', n);
	size_t length = end ? (size_t)(end - bytes) : n;
	/* A line that is too long, or contains a NUL, is malformed: an empty one is, too. */
	snprintf(line, LINE_SIZE, "%.*s", length < LINE_SIZE ? (int)length : 0, bytes);
	line[strcspn(line, "\r")] = '\0';
	return length + (end != NULL);
}

static void answer_totals(struct worker *w, const struct datagram_peer *to)
{
	char text[TEXT_SIZE];
	pthread_mutex_lock(&lock);
	int n = snprintf(text, sizeof(text), "samples %llu names %lld\n",
			 (unsigned long long)n_samples, (long long)n_names);
	pthread_mutex_unlock(&lock);
	datagram_send(w, to, text, (size_t)n);
}

static void statsd_datagram(struct worker *w, const struct datagram_peer *from, const char *bytes,
			    size_t n)
{
	const struct settings *s = worker_config(w);
	uint64_t counts[MALFORMED + 1] = {0};
	char line[LINE_SIZE];
	next_line(bytes, n, line);
	if (strcmp(line, "stats") == 0) {
		answer_totals(w, from);
		return;
	}
	pthread_mutex_lock(&lock);
	for (size_t used = 0; used < n;) {
		used += next_line(bytes + used, n - used, line);
		counts[add_line(line, s->names)]++;
	}
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i <= MALFORMED; i++)
		worker_count(w, i, counts[i]);
}

/* The values over TCP. */

static void print_series(const void *node, VISIT visit, void *out)
{
	const struct series *s = *(struct series *const *)node;
	if (visit != postorder && visit != leaf) /* each series once, in order */
		return;
	fprintf(out, "%s %s %.15g", letters[s->kind], s->name, s->value);
	if (s->kind == TIMER)
		fprintf(out, " samples %llu max %.15g", (unsigned long long)s->samples, s->max);
	fputc('\n', out);
}

/* Returns what connection_write() does. */
static int write_values(struct connection *c)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	if (!out)
		return connection_write(c, "out of memory\n", 14);
	pthread_mutex_lock(&lock);
	twalk_r(all, print_series, out);
	pthread_mutex_unlock(&lock);
	fputs("end\n", out);
	bool printed = !ferror(out);
	/* If there is no memory for the last piece, fclose(3) succeeds and `text` is NULL. */
	int result = fclose(out) == 0 && printed && text
			     ? connection_write(c, text, size)
			     : connection_write(c, "out of memory\n", 14);
	free(text);
	return result;
}

static size_t statsd_data(struct connection *c, const char *bytes, size_t n)
{
	char line[LINE_SIZE];
	size_t used = 0;
	for (int full = 0; !full && memchr(bytes + used, '\n', n - used);) {
		used += next_line(bytes + used, n - used, line);
		full = strcmp(line, "stats") == 0 ? write_values(c)
						  : connection_write(c, "expected: stats\n", 16);
	}
	return used;
}

__attribute__((destructor)) static void free_all(void)
{
	tdestroy(all, free);
}

const struct service service = {
	.name = "statsd",
	.options = options,
	.config_size = sizeof(struct settings),
	.metrics = metrics,
	.protocol = {.data = statsd_data},
	.datagram = statsd_datagram,
	.probe = "stats\n",
	.answer = "end\n",
};
