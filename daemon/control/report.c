#include "control/report.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "control/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_INTERVAL_NS 3000000000

const char *const state_names[N_STATES] = {"starting",	"running",  "reloading",
					   "lame_duck", "draining", "stopped"};

static const char *const outcomes[] = {"none", "ok", "rejected"};

/* Replace a runtime file by the output of PRINT. Returns false, with a warning unless QUIET, if
 * that fails. */
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
	if (text_close_stream(out, &text))
		good = runtime_replace(&d->runtime, name, text, length, &e) == 0;
	else if (!quiet) /* not through E: there may be no memory for its text */
		log_warning("cannot write %s/%s: %s; the previous file stays", d->runtime.path,
			    name, strerror(ENOMEM));
	if (!quiet)
		errors_log(&e, LOG_WARNING, "cannot_write");
	errors_clear(&e);
	free(text);
	return good;
}

/* The reason why the last reload was rejected, or "". */
static const char *rejection(const struct daemon *d)
{
	if (d->reload.last_outcome != RELOAD_REJECTED)
		return "";
	return d->reload.last_error ? d->reload.last_error : "out of memory";
}

/* "main 127.0.0.1:7007, admin 127.0.0.1:7008": the addresses as bound. */
static void print_listeners(const struct snapshot *s, FILE *out)
{
	for (size_t i = 0; i < s->n_listeners; i++) {
		const struct listener *l = s->listener[i];
		char title[128], address[ADDRESS_TEXT_MAX], escaped[4 * ADDRESS_TEXT_MAX];
		text_escape(title, sizeof(title), s->section[i]->title,
			    strlen(s->section[i]->title));
		address_format(&l->actual, address);
		text_escape(escaped, sizeof(escaped), address, strlen(address));
		fprintf(out, "%s%s %s", i ? ", " : "", title, escaped);
	}
}

static bool is_stopping(const struct daemon *d)
{
	return d->state == LAME_DUCK || d->state == DRAINING;
}

/* Until the lame duck or the drain is over, rounded up. */
static long long seconds_left(const struct daemon *d)
{
	double left = d->stop_deadline - clock_seconds(CLOCK_MONOTONIC);
	return left > 0 ? (long long)(left + 0.999) : 0;
}

void report_print_status(const struct daemon *d, FILE *out)
{
	fprintf(out,
		"pid=%d\nstate=%s\ngeneration=%llu\nreloads_ok=%llu\nreloads_rejected=%llu\n"
		"last_reload=%s\nlast_reload_error=%s\nstarted=%lld\nlame_duck=%lld\n"
		"drain_timeout=%lld\n",
		(int)getpid(), state_names[d->state], (unsigned long long)d->current->generation,
		(unsigned long long)d->reload.ok, (unsigned long long)d->reload.rejected,
		outcomes[d->reload.last_outcome], rejection(d), (long long)d->started,
		(long long)d->current->config->lame_duck,
		(long long)d->current->config->drain_timeout);
	fprintf(out, "service=%s\nlistening=", d->service->name);
	print_listeners(d->current, out);
	fputc('\n', out);
	if (is_stopping(d))
		fprintf(out, "connections=%zu\nseconds_left=%lld\n",
			workers_open_connections(d->workers), seconds_left(d));
}

/* TEXT has no control characters: it is escaped by text_escape(), or a name in this program. */
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

/* Print "key=value" lines as members of an object. A value of digits becomes a number. */
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
	for (size_t i = 0; i < RECENT_SIGNALS && i < s->n_recent; i++) {
		const struct handled_signal *h = &s->recent[(s->n_recent - 1 - i) % RECENT_SIGNALS];
		fprintf(out,
			"%s{\"signal\":\"%s\",\"count\":%llu,\"at\":%.3f,\"does\":", i ? "," : "",
			h->name, (unsigned long long)h->count, h->at);
		print_string(h->action, out);
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
	if (text_close_stream(status, &lines))
		print_members(lines, out);
	free(lines);
	fprintf(out,
		"\"name\":\"skeld\",\"version\":\"" SKELD_VERSION "\",\"time\":%.3f,"
		"\"limits\":{\"connections\":%lld},\"signals\":[",
		clock_seconds(CLOCK_REALTIME), (long long)d->current->config->limits.connections);
	print_signals(&d->signals, out);
	fputs("]}\n", out);
}

/* A full disk is logged once, not at every change of the state. */
static void write_status(struct daemon *d)
{
	bool was_stale = d->status_is_stale;
	d->status_is_stale = !replace(d, "status", report_print_status, was_stale);
	if (was_stale && !d->status_is_stale)
		log_notice("status file written again");
}

static void send_status(struct daemon *d, const char *lines)
{
	size_t open = workers_open_connections(d->workers);
	const char *error = rejection(d);
	char cut[401]; /* at a whole character: systemd ignores a text that is not UTF-8 */
	text_escape(cut, sizeof(cut), error, strlen(error));
	d->reported_connections = open;
	d->status_sent_ns = now_ns();
	notify_send(&d->notify, "%sSTATUS=%s, generation %llu, %zu connection%s%s%s", lines,
		    state_names[d->state], (unsigned long long)d->current->generation, open,
		    open == 1 ? "" : "s", *error ? "; last reload rejected: " : "", cut);
}

void report_status(struct daemon *d, const char *lines)
{
	write_status(d);
	send_status(d, lines);
}

void report_tick(struct daemon *d)
{
	if (d->status_is_stale || is_stopping(d)) /* -s stop shows the numbers */
		write_status(d);
	/* The state is sent at once; the number of connections changes all the time. */
	if (workers_open_connections(d->workers) != d->reported_connections &&
	    now_ns() - d->status_sent_ns >= STATUS_INTERVAL_NS)
		send_status(d, "");
}

void report_print_metrics(const struct daemon *d, FILE *out)
{
	registry_write(&d->registry, out);
}

void report_dump(struct daemon *d)
{
	registry_log(&d->registry);
	replace(d, "stats.prom", report_print_metrics, false);
}

/* The daemon's own metrics. */

static double one(const struct metric_family *f, unsigned i)
{
	(void)f;
	(void)i;
	return 1;
}

static double in_state(const struct metric_family *f, unsigned i)
{
	return ((const struct daemon *)f->context)->state == i;
}

static double generation(const struct metric_family *f, unsigned i)
{
	(void)i;
	return (double)((const struct daemon *)f->context)->current->generation;
}

static double reload_count(const struct metric_family *f, unsigned i)
{
	const struct reload_state *r = &((const struct daemon *)f->context)->reload;
	return (double)(i == 0 ? r->ok : r->rejected);
}

static double last_successful(const struct metric_family *f, unsigned i)
{
	(void)i;
	return ((const struct daemon *)f->context)->reload.last_outcome != RELOAD_REJECTED;
}

static double last_success(const struct metric_family *f, unsigned i)
{
	(void)i;
	return (double)((const struct daemon *)f->context)->reload.last_success;
}

/* One for each tls section. */
static unsigned tls_titles(const struct metric_family *f, const char *const **titles)
{
	const struct tls_sites *tls = ((const struct daemon *)f->context)->current->tls;
	*titles = tls_sites_titles(tls);
	return (unsigned)tls_sites_n(tls);
}

static double tls_expiry(const struct metric_family *f, unsigned i)
{
	return (double)tls_sites_expiry(((const struct daemon *)f->context)->current->tls, i);
}

static double lost_lines(const struct metric_family *f, unsigned i)
{
	(void)f;
	(void)i;
	return (double)log_lost();
}

void report_register_metrics(struct daemon *d)
{
	static const struct service_metric rows[] = {
		{"skeld_build_info", METRIC_GAUGE, "Version of the daemon", NULL, NULL},
		{"skeld_state", METRIC_GAUGE, "1 for the current state, 0 for all others", "config",
		 "state"},
		{"skeld_config_generation", METRIC_GAUGE,
		 "Generation of the configuration in force", "config", "generation"},
		{"skeld_config_reloads_total", METRIC_COUNTER, "Reloads, by result", "config",
		 "reloads"},
		{"skeld_config_last_reload_successful", METRIC_GAUGE,
		 "1 unless the last reload was rejected", NULL, NULL},
		{"skeld_config_last_reload_success_timestamp_seconds", METRIC_GAUGE,
		 "When the configuration in force was loaded, in seconds since the epoch", NULL,
		 NULL},
		{"skeld_tls_certificate_expiry_timestamp_seconds", METRIC_GAUGE,
		 "When the first certificate of the chain expires, in seconds since the epoch",
		 NULL, NULL},
		{"skeld_log_lost_total", METRIC_COUNTER, "Log lines dropped", "log", "lost"}};
	static const char *const versions[] = {SKELD_VERSION};
	static const char *const results[] = {"ok", "rejected"};
	const struct metric_family families[] = {
		{&rows[0], "version", versions, 1, .value = one},
		{&rows[1], "state", state_names, N_STATES, .value = in_state},
		{&rows[2], .n = 1, .value = generation},
		{&rows[3], "result", results, 2, .value = reload_count},
		{&rows[4], .n = 1, .value = last_successful},
		{&rows[5], .n = 1, .value = last_success},
		{&rows[6], "tls", .current_labels = tls_titles, .value = tls_expiry},
		{&rows[7], .n = 1, .value = lost_lines}};
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
		struct metric_family f = families[i];
		f.context = d;
		registry_add(&d->registry, &f);
	}
}
