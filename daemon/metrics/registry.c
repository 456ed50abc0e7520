#include "metrics/registry.h"

#include "base/log.h"
#include "base/text.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = 1024 };

const double histogram_bounds[HISTOGRAM_BUCKETS - 1] = {
	5e-6, 1e-5,   2.5e-5, 5e-5, 1e-4,   2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
	1e-2, 2.5e-2, 5e-2,   1e-1, 2.5e-1, 5e-1,   1,	  2.5,	10};

unsigned histogram_bucket(double seconds)
{
	unsigned i = 0;
	while (i < HISTOGRAM_BUCKETS - 1 && seconds > histogram_bounds[i])
		i++;
	return i;
}

void histogram_add(struct histogram *h, double seconds)
{
	h->bucket[histogram_bucket(seconds)]++;
	h->sum += seconds;
}

static uint64_t histogram_count(const struct histogram *h)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		n += h->bucket[i];
	return n;
}

double histogram_quantile(const struct histogram *h, double q)
{
	uint64_t n = histogram_count(h), seen = 0;
	if (!n)
		return 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += h->bucket[i];
		if ((double)seen >= q * (double)n)
			return histogram_bounds[i];
	}
	return INFINITY;
}

bool registry_add(struct registry *r, const struct metric_family *f)
{
	if (r->n == REGISTRY_MAX) {
		log_error("registry full: metric %s is not shown", f->metric->name);
		return false;
	}
	r->family[r->n++] = *f;
	return true;
}

/* 15 digits: a time in seconds since the epoch is exact to 10 us. */
static void print_number(double v, FILE *out)
{
	if (fabs(v) < 0x1p63 && v == (double)(int64_t)v)
		fprintf(out, "%.0f", v);
	else
		fprintf(out, "%.15g", v);
}

/* NUMBER is the memory for a label value that is a number. */
static const char *label_value(const struct metric_family *f, unsigned i, char number[16])
{
	if (f->labels)
		return f->labels[i];
	snprintf(number, 16, "%u", i);
	return number;
}

/* Returns F with its current labels. */
static struct metric_family with_labels(const struct metric_family *f)
{
	struct metric_family with = *f;
	if (f->current_labels)
		with.n = f->current_labels(f, &with.labels);
	return with;
}

/* Prometheus text. */

/* Prometheus requires UTF-8, but a title can have any bytes: escape it as in the log. */
static void write_label(const struct metric_family *f, unsigned i, FILE *out)
{
	char number[16], text[LABEL_MAX];
	const char *value = label_value(f, i, number);
	text_escape(text, sizeof(text), value, strlen(value));
	fprintf(out, "{%s=\"", f->label);
	for (const char *p = text; *p; p++) {
		if (*p == '\\' || *p == '"')
			fputc('\\', out);
		fputc(*p, out);
	}
	fputs("\"}", out);
}

static void write_values(const struct metric_family *f, FILE *out)
{
	for (unsigned i = 0; i < f->n; i++) {
		double v = f->value(f, i);
		if (isnan(v))
			continue;
		fputs(f->metric->name, out);
		if (f->label)
			write_label(f, i, out);
		fputc(' ', out);
		print_number(v, out);
		fputc('\n', out);
	}
}

static void write_histogram(const struct metric_family *f, FILE *out)
{
	const char *name = f->metric->name;
	struct histogram h = {0};
	uint64_t seen = 0;
	f->histogram(f, &h);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += h.bucket[i];
		fprintf(out, "%s_bucket{le=\"%g\"} %llu\n", name, histogram_bounds[i],
			(unsigned long long)seen);
	}
	unsigned long long count = histogram_count(&h);
	fprintf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum ", name, count, name);
	print_number(h.sum, out);
	fprintf(out, "\n%s_count %llu\n", name, count);
}

void registry_write(const struct registry *r, FILE *out)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	for (size_t i = 0; i < r->n; i++) {
		const struct metric_family with = with_labels(&r->family[i]), *f = &with;
		const struct service_metric *m = f->metric;
		if (f->current_labels && !f->n)
			continue;
		fprintf(out, "# HELP %s %s.\n# TYPE %s %s\n", m->name, m->help, m->name,
			types[m->type]);
		if (f->histogram)
			write_histogram(f, out);
		else
			write_values(f, out);
	}
}

/* Log lines. */

/* Print NAME in snake case: a part of a key. */
static void print_key(const char *name, FILE *out)
{
	for (; *name; name++)
		fputc(isalnum((unsigned char)*name) ? tolower((unsigned char)*name) : '_', out);
}

static void print_pair(const struct metric_family *f, const char *label, double v, FILE *out)
{
	fputc(' ', out);
	print_key(f->metric->log_name, out);
	if (label) {
		fputc('_', out);
		print_key(label, out);
	}
	fputc('=', out);
	print_number(v, out);
}

/* " received_sighup=1 received_sigusr1=3": of several values, zeros are left out unless all are. */
static void print_values(const struct metric_family *f, FILE *out)
{
	char number[16];
	bool any = false;
	for (unsigned i = 0; i < f->n; i++) {
		double v = f->value(f, i);
		if (isnan(v) || (f->label && v == 0))
			continue;
		any = true;
		print_pair(f, f->label ? label_value(f, i, number) : NULL, v, out);
	}
	if (!any && f->label)
		print_pair(f, NULL, 0, out);
}

static void print_family(const struct metric_family *f, FILE *out)
{
	if (!f->histogram) {
		const struct metric_family with = with_labels(f);
		print_values(&with, out);
		return;
	}
	struct histogram h = {0};
	f->histogram(f, &h);
	print_pair(f, "p50_ms", histogram_quantile(&h, 0.5) * 1e3, out);
	print_pair(f, "p99_ms", histogram_quantile(&h, 0.99) * 1e3, out);
}

/* Are all families optional values that are 0? */
static bool is_unused(const struct metric_family *first, const struct metric_family *end)
{
	for (const struct metric_family *f = first; f < end; f++) {
		if (!f->optional)
			return false;
		for (unsigned i = 0; i < f->n; i++)
			if (f->value(f, i) != 0)
				return false;
	}
	return true;
}

/* Log the families from FIRST up to END, which belong to one group. */
static void log_families(const struct metric_family *first, const struct metric_family *end)
{
	const char *group = first->metric->log_group;
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);
	for (const struct metric_family *f = first; out && f < end; f++)
		print_family(f, out);
	if (text_close_stream(out, &line))
		log_always_about(&(struct log_about){.event = "stats",
						     .pairs = line + (*line == ' '),
						     .field = {LOG_TEXT("group", group)}},
				 "stats %s", group);
	else
		log_warning("stats %s: out of memory", group);
	free(line);
}

static bool in_group(const struct metric_family *f, const char *group)
{
	return f->metric->log_group && strcmp(f->metric->log_group, group) == 0;
}

void registry_log(const struct registry *r)
{
	const struct metric_family *next, *end = r->family + r->n;
	for (const struct metric_family *f = r->family; f < end; f = next) {
		const char *group = f->metric->log_group;
		next = f + 1;
		while (group && next < end && in_group(next, group))
			next++;
		if (group && !is_unused(f, next))
			log_families(f, next);
	}
}
