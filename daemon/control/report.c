#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "control/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcomes[] = {"none", "ok", "rejected"};

/* Replace a runtime file by what PRINT writes. Failing costs the file, never the daemon. */
static bool replace(struct daemon *d, const char *name,
		    void (*print)(const struct daemon *d, FILE *out), bool quiet)
{
	struct errors e = {0};
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	bool good = false;
	if (out)
		print(d, out);
	if (text_end_stream(out, &text))
		good = runtime_replace(&d->runtime, name, text, length, &e) == 0;
	else if (!quiet) /* at once: there may be no memory to keep it for the next line, either */
		log_warning("cannot write %s/%s: %s; the one that was there stays", d->runtime.path,
			    name, strerror(ENOMEM));
	for (size_t i = 0; !quiet && i < errors_shown(&e); i++)
		log_warning("%s", errors_text(&e, i));
	errors_clear(&e);
	free(text);
	return good;
}

/* Why the last reload was rejected; "" when it was not. */
static const char *rejection(const struct daemon *d)
{
	if (d->reloads.last != OUTCOME_REJECTED)
		return "";
	return d->reloads.error ? d->reloads.error : "out of memory";
}

void report_print_status(const struct daemon *d, FILE *out)
{
	fprintf(out,
		"pid=%d\nstate=%s\ngeneration=%llu\nreloads_ok=%llu\nreloads_rejected=%llu\n"
		"last_reload=%s\nlast_reload_error=%s\nstarted=%lld\nlame_duck=%lld\n"
		"drain_timeout=%lld\n",
		(int)getpid(), state_names[d->state], (unsigned long long)d->current->generation,
		(unsigned long long)d->reloads.ok, (unsigned long long)d->reloads.rejected,
		outcomes[d->reloads.last], rejection(d), (long long)d->started,
		(long long)d->current->config->lame_duck,
		(long long)d->current->config->drain_timeout);
}

/* TEXT has no control characters: it went through text_escape(), or is a name of ours. */
static void print_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

/* "key=value" lines as members of an object. Numbers are those that look like one. */
static void print_members(char *lines, FILE *out)
{
	for (char *line; (line = strsep(&lines, "\n")) && *line;) {
		char *value = line, *key = strsep(&value, "=");
		fprintf(out, "\"%s\":", key);
		if (*value && !value[strspn(value, "0123456789")])
			fputs(value, out);
		else
			print_string(value, out);
		fputc(',', out);
	}
}

static void print_signals(const struct signals *s, FILE *out)
{
	for (size_t i = 0; i < REMEMBERED && i < s->n_last; i++) {
		const struct handled *h = &s->last[(s->n_last - 1 - i) % REMEMBERED];
		fprintf(out,
			"%s{\"signal\":\"%s\",\"count\":%llu,\"at\":%.3f,\"does\":", i ? "," : "",
			h->signal, (unsigned long long)h->count, h->at);
		print_string(h->does, out);
		fputs(",\"sender\":", out);
		print_string(h->sender, out);
		fputc('}', out);
	}
}

void report_print_json(const struct daemon *d, FILE *out)
{
	char *lines = NULL;
	size_t length;
	FILE *status = open_memstream(&lines, &length);
	if (status)
		report_print_status(d, status);
	fputc('{', out);
	if (text_end_stream(status, &lines))
		print_members(lines, out);
	free(lines);
	fprintf(out, "\"name\":\"skeld\",\"version\":\"" SKELD_VERSION "\",\"service\":");
	print_string(d->its->name, out);
	fprintf(out, ",\"time\":%.3f,\"signals\":[", clock_seconds(CLOCK_REALTIME));
	print_signals(&d->signals, out);
	fputs("]}\n", out);
}

/* A disk that is full is told once, not at every change of state until it is not. */
static void write_status(struct daemon *d)
{
	bool was_stale = d->stale;
	d->stale = !replace(d, "status", report_print_status, was_stale);
	if (was_stale && !d->stale)
		log_notice("the status file can be written again");
}

static void tell_manager(struct daemon *d, const char *first)
{
	size_t open = plane_open(d->plane);
	const char *error = rejection(d);
	char cut[401]; /* at a whole character: systemd ignores what is not UTF-8 */
	text_escape(cut, sizeof(cut), error, strlen(error));
	d->told_open = open;
	notify_send(&d->notify, "%sSTATUS=%s, generation %llu, %zu connection%s%s%s", first,
		    state_names[d->state], (unsigned long long)d->current->generation, open,
		    open == 1 ? "" : "s", *error ? "; last reload rejected: " : "", cut);
}

void report_status(struct daemon *d, const char *first)
{
	write_status(d);
	tell_manager(d, first);
}

void report_again(struct daemon *d)
{
	if (d->stale)
		write_status(d);
}

void report_connections(struct daemon *d)
{
	if (plane_open(d->plane) != d->told_open)
		tell_manager(d, "");
}

void report_print_stats(const struct daemon *d, FILE *out)
{
	stats_write(&d->stats, out);
}

void report_stats(struct daemon *d)
{
	stats_log(&d->stats);
	replace(d, "stats.prom", report_print_stats, false);
}

/* The daemon's own metrics. */

static double one(const struct family *f, unsigned i)
{
	(void)f;
	(void)i;
	return 1;
}

static double in_state(const struct family *f, unsigned i)
{
	return ((const struct daemon *)f->context)->state == i;
}

static double generation(const struct family *f, unsigned i)
{
	(void)i;
	return (double)((const struct daemon *)f->context)->current->generation;
}

static double reload_count(const struct family *f, unsigned i)
{
	const struct reloads *r = &((const struct daemon *)f->context)->reloads;
	return (double)(i == 0 ? r->ok : r->rejected);
}

static double last_successful(const struct family *f, unsigned i)
{
	(void)i;
	return ((const struct daemon *)f->context)->reloads.last != OUTCOME_REJECTED;
}

static double last_success(const struct family *f, unsigned i)
{
	(void)i;
	return (double)((const struct daemon *)f->context)->reloads.last_good;
}

static double lost_lines(const struct family *f, unsigned i)
{
	(void)f;
	(void)i;
	return (double)log_lost();
}

void report_init(struct daemon *d)
{
	static const struct metric rows[] = {
		{"skeld_build_info", METRIC_GAUGE, "The version that runs", NULL, NULL},
		{"skeld_state", METRIC_GAUGE, "1 for the state that the daemon is in", "config",
		 "state"},
		{"skeld_config_generation", METRIC_GAUGE, "Configurations loaded since the start",
		 "config", "generation"},
		{"skeld_config_reloads_total", METRIC_COUNTER, "Reloads, by result", "config",
		 "reloads"},
		{"skeld_config_last_reload_successful", METRIC_GAUGE,
		 "1 unless the last reload was rejected", NULL, NULL},
		{"skeld_config_last_reload_success_timestamp_seconds", METRIC_GAUGE,
		 "When the present configuration was loaded, in seconds since the epoch", NULL,
		 NULL},
		{"skeld_log_lines_lost_total", METRIC_COUNTER,
		 "Log lines that could not be written", "log", "lost"}};
	static const char *const versions[] = {SKELD_VERSION};
	static const char *const results[] = {"ok", "rejected"};
	const struct family families[] = {
		{&rows[0], "version", versions, 1, .value = one},
		{&rows[1], "state", state_names, N_STATES, .value = in_state},
		{&rows[2], .n = 1, .value = generation},
		{&rows[3], "result", results, 2, .value = reload_count},
		{&rows[4], .n = 1, .value = last_successful},
		{&rows[5], .n = 1, .value = last_success}};
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
		struct family f = families[i];
		f.context = d;
		stats_add(&d->stats, &f);
	}
	signals_register(d, &d->stats);
	plane_register(d->plane, &d->stats);
	stats_add(&d->stats, &(struct family){&rows[6], .n = 1, .value = lost_lines});
	process_register(&d->stats, &d->process);
}
