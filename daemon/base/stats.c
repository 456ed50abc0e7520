#include "base/stats.h"

#include "base/log.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

const double histogram_bounds[HISTOGRAM_BUCKETS - 1] = {
	5e-6, 1e-5,   2.5e-5, 5e-5, 1e-4,   2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
	1e-2, 2.5e-2, 5e-2,   1e-1, 2.5e-1, 5e-1,   1,	  2.5,	10};

void histogram_add(struct histogram *h, double seconds)
{
	unsigned i = 0;
	while (i < HISTOGRAM_BUCKETS - 1 && seconds > histogram_bounds[i])
		i++;
	h->bucket[i]++;
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
	return histogram_bounds[HISTOGRAM_BUCKETS - 2];
}

bool stats_add(struct stats *s, const struct family *f)
{
	if (s->n == STATS_MAX) {
		log_error("there is no room for the metric %s: it is not shown", f->metric->name);
		return false;
	}
	s->family[s->n++] = *f;
	return true;
}

/* Whole numbers as such, others with as many digits as a time in seconds needs. */
static void write_number(double v, FILE *out)
{
	if (v == (double)(int64_t)v)
		fprintf(out, "%.0f", v);
	else
		fprintf(out, "%.15g", v);
}

static const char *label_value(const struct family *f, unsigned i, char number[16])
{
	if (f->labels)
		return f->labels[i];
	snprintf(number, 16, "%u", i);
	return number;
}

static void write_label(const struct family *f, unsigned i, FILE *out)
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

static void write_histogram(const struct family *f, FILE *out)
{
	uint64_t seen = 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += f->histogram->bucket[i];
		fprintf(out, "%s_bucket{le=\"%g\"} %llu\n", f->metric->name, histogram_bounds[i],
			(unsigned long long)seen);
	}
	unsigned long long count = histogram_count(f->histogram);
	fprintf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", f->metric->name,
		count, f->metric->name, f->histogram->sum, f->metric->name, count);
}

void stats_write(const struct stats *s, FILE *out)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	for (const struct family *f = s->family; f < s->family + s->n; f++) {
		const char *name = f->metric->name;
		fprintf(out, "# HELP %s %s.\n# TYPE %s %s\n", name, f->metric->help, name,
			types[f->metric->type]);
		if (f->histogram)
			write_histogram(f, out);
		for (unsigned i = 0; f->value && i < f->n; i++) {
			fputs(name, out);
			if (f->label)
				write_label(f, i, out);
			fputc(' ', out);
			write_number(f->value(f, i), out);
			fputc('\n', out);
		}
	}
}

static void tell_duration(const char *what, double seconds, FILE *out)
{
	if (seconds < 1e-3)
		fprintf(out, "%s <= %g us", what, seconds * 1e6);
	else
		fprintf(out, "%s <= %g ms", what, seconds * 1e3);
}

/* "received SIGHUP 1 SIGUSR1 3": what is zero among many is left out. */
static void tell_family(const struct family *f, FILE *out)
{
	fprintf(out, " %s", f->metric->word);
	if (f->histogram) {
		tell_duration(" p50", histogram_quantile(f->histogram, 0.5), out);
		tell_duration(" p99", histogram_quantile(f->histogram, 0.99), out);
		return;
	}
	bool any = false;
	char number[16];
	for (unsigned i = 0; i < f->n; i++) {
		double v = f->value(f, i);
		if (f->label && v == 0)
			continue;
		any = true;
		if (f->label)
			fprintf(out, " %s", label_value(f, i, number));
		fputc(' ', out);
		write_number(v, out);
	}
	if (!any)
		fputs(" none", out);
}

void stats_log(const struct stats *s)
{
	for (const struct family *f = s->family, *end = s->family + s->n; f < end;) {
		const char *group = f->metric->group;
		char *line = NULL;
		size_t size;
		FILE *out = group ? open_memstream(&line, &size) : NULL;
		const struct family *first = f;
		for (; f < end && (f == first || (group && f->metric->group &&
						  strcmp(f->metric->group, group) == 0));
		     f++) {
			if (out && f > first)
				fputc(',', out);
			if (out)
				tell_family(f, out);
		}
		if (text_end_stream(out, &line))
			log_always("stats %s:%s", group, line);
		else if (group)
			log_warning("stats %s: out of memory", group);
		free(line);
	}
}
