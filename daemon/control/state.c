#include "control/state.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/report.h"

#include <stdio.h>

void daemon_set_state(struct daemon *d, enum state s)
{
	char lines[64] = "";
	log_debug("state: %s -> %s", state_names[d->state], state_names[s]);
	d->state = s;
	if (s == RELOADING) /* sd_notify(3): both lines belong in one datagram */
		snprintf(lines, sizeof(lines), "RELOADING=1\nMONOTONIC_USEC=%lld\n",
			 (long long)(now_ns() / 1000));
	else if (s == RUNNING)
		snprintf(lines, sizeof(lines), "READY=1\n");
	report_status(d, lines);
	if (d->hooks && d->hooks->state_changed)
		d->hooks->state_changed(d->hooks->context, d);
}

void daemon_leave(struct daemon *d, int exit_code)
{
	d->exit_code = exit_code;
	daemon_set_state(d, STOPPED);
	event_base_loopbreak(d->base);
}

void daemon_set_timer(struct daemon *d, struct event *e, long long seconds)
{
	event_base_update_cache_time(d->base);
	event_add(e, &(struct timeval){.tv_sec = (time_t)seconds});
}

struct config *daemon_adjust_config(struct daemon *d, struct config *c)
{
	if (c && d->hooks && d->hooks->adjust_config)
		d->hooks->adjust_config(d->hooks->context, c);
	return c;
}

struct log_target *daemon_open_log(const struct config *c, struct errors *e)
{
	char why[512];
	struct log_target *t =
		log_open((enum log_kind)c->log.target, c->log.file, why, sizeof(why));
	if (!t)
		errors_add(e, c->log.location.file, c->log.location.line, "%s", why);
	return t;
}

/* Listener number I of S. */
static void log_listener(const struct snapshot *s, size_t i, bool added)
{
	const struct listener *l = s->listener[i];
	const char *title = s->section[i]->title;
	char address[ADDRESS_TEXT_MAX];
	const struct log_about about = {
		.field = {LOG_TEXT("address", address), LOG_TEXT("listener", title)}};
	address_format(&l->actual, address);
	if (added)
		log_about(LOG_INFO, &about, "listening: %s (%s)", address, title);
	else if (l->keeper == KEEPER_UNIT) /* the socket unit keeps it open */
		log_about(LOG_WARNING, &about,
			  "unused socket: %s, passed as %s, matches no listen section; "
			  "connections to it are not accepted",
			  address, l->title);
	else
		log_about(LOG_INFO, &about, "no longer listening: %s (%s)", address, title);
}

void daemon_log_listeners(const struct snapshot *new, const struct snapshot *old)
{
	for (size_t i = 0; old && i < old->n_listeners; i++)
		if (!snapshot_has(new, old->listener[i]))
			log_listener(old, i, false);
	for (size_t i = 0; i < new->n_listeners; i++)
		if (!old || !snapshot_has(old, new->listener[i]))
			log_listener(new, i, true);
}
