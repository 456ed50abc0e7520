#include "metrics/registry.h"

#include "base/log.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* Prometheus text. */

static void write_label(const struct metric_family *f, unsigned i, FILE *out)
{
	char number[16];
	fprintf(out, "{%s=\"", f->label);
	for (const char *text = label_value(f, i, number); *text; text++) {
		if (*text == '\\' || *text == '"')
			fputc('\\', out);
		if (*text == '\n')
			fputs("\\n", out);
		else
			fputc(*text, out);
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
	fprintf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, count, name,
		h.sum, name, count);
}

void registry_write(const struct registry *r, FILE *out)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	for (const struct metric_family *f = r->family; f < r->family + r->n; f++) {
		const struct service_metric *m = f->metric;
		fprintf(out, "# HELP %s %s.\n# TYPE %s %s\n", m->name, m->help, m->name,
			types[m->type]);
		if (f->histogram)
			write_histogram(f, out);
		else
			write_values(f, out);
	}
}

/* Log lines. */

static void print_quantile(const char *name, double seconds, FILE *out)
{
	if (isinf(seconds))
		fprintf(out, " %s > %g ms", name, histogram_bounds[HISTOGRAM_BUCKETS - 2] * 1e3);
	else if (seconds < 1e-3)
		fprintf(out, " %s <= %g us", name, seconds * 1e6);
	else
		fprintf(out, " %s <= %g ms", name, seconds * 1e3);
}

/* "received SIGHUP 1 SIGUSR1 3": of several values, zeros are left out. */
static void print_values(const struct metric_family *f, FILE *out)
{
	char number[16];
	bool any = false;
	for (unsigned i = 0; i < f->n; i++) {
		double v = f->value(f, i);
		if (isnan(v) || (f->label && v == 0))
			continue;
		any = true;
		if (f->label)
			fprintf(out, " %s", label_value(f, i, number));
		fputc(' ', out);
		print_number(v, out);
	}
	if (!any)
		fputs(f->label ? " none" : " unknown", out);
}

static void print_family(const struct metric_family *f, FILE *out)
{
	fprintf(out, " %s", f->metric->log_name);
	if (f->histogram) {
		struct histogram h = {0};
		f->histogram(f, &h);
		print_quantile("p50", histogram_quantile(&h, 0.5), out);
		print_quantile("p99", histogram_quantile(&h, 0.99), out);
	} else {
		print_values(f, out);
	}
}

/* Log the families from FIRST up to END, which are all of one group. */
static void log_families(const struct metric_family *first, const struct metric_family *end)
{
	const char *group = first->metric->log_group;
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);
	for (const struct metric_family *f = first; out && f < end; f++) {
		if (f > first)
			fputc(',', out);
		print_family(f, out);
	}
	if (text_close_stream(out, &line))
		log_always("stats %s:%s", group, line);
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
		if (group)
			log_families(f, next);
	}
}
