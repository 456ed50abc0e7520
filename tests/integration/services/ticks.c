/*
 * Example: a service without clients. Each worker has a timer and counts its ticks. It shows state
 * per worker, a timer that a reload changes, and work that a drain waits for: with the option
 * `work`, a tick begins work that takes so many milliseconds.
 */
#include "service_thread.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>

struct ticks_config {
	int64_t interval, work;
};

static const struct service_option options[] = {
	{.name = "interval",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct ticks_config, interval),
	 .default_value = "1000",
	 .min = 1,
	 .max = 3600000,
	 .unit = "milliseconds",
	 .help = "Time between two ticks"},
	{.name = "work",
	 .type = OPTION_NUMBER,
	 .offset = offsetof(struct ticks_config, work),
	 .default_value = "0",
	 .max = 3600000,
	 .unit = "milliseconds",
	 .help = "Duration of the work of a tick, 0 = no work"},
	{0},
};

enum { TICKS, BEGUN, DONE };
static const struct service_metric metrics[] = {
	[TICKS] = {"ticks_total", METRIC_COUNTER, "Ticks", "ticks", "ticked"},
	[BEGUN] = {"ticks_work_begun_total", METRIC_COUNTER, "Work begun", "ticks", "begun"},
	[DONE] = {"ticks_work_done_total", METRIC_COUNTER, "Work done", "ticks", "done"},
	{0},
};

struct clockwork {
	struct worker *worker;
	struct event *tick, *work;
	bool works; /* the worker is held while the work runs */
};

static void set(struct event *timer, int64_t ms)
{
	struct timeval t = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
	event_add(timer, &t);
}

static void on_work_done(evutil_socket_t fd, short what, void *arg)
{
	struct clockwork *c = arg;
	(void)fd;
	(void)what;
	c->works = false;
	worker_count(c->worker, DONE, 1);
	worker_release(c->worker);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct clockwork *c = arg;
	const struct ticks_config *config = worker_config(c->worker);
	(void)fd;
	(void)what;
	worker_count(c->worker, TICKS, 1);
	if (!config->work || c->works)
		return;
	c->works = true;
	worker_count(c->worker, BEGUN, 1);
	worker_hold(c->worker);
	set(c->work, config->work);
}

static void ticks_reloaded(struct worker *w)
{
	struct clockwork *c = worker_data(w);
	const struct ticks_config *config = worker_config(w);
	set(c->tick, config->interval);
}

static void ticks_stop(struct worker *w)
{
	struct clockwork *c = worker_data(w);
	if (c->tick)
		event_free(c->tick);
	if (c->work)
		event_free(c->work);
	free(c);
}

static int ticks_start(struct worker *w)
{
	struct clockwork *c = calloc(1, sizeof(*c));
	if (!c)
		return -1;
	worker_set_data(w, c);
	c->worker = w;
	c->tick = event_new(worker_base(w), -1, EV_PERSIST, on_tick, c);
	c->work = evtimer_new(worker_base(w), on_work_done, c);
	if (!c->tick || !c->work) {
		ticks_stop(w);
		return -1;
	}
	ticks_reloaded(w);
	return 0;
}

/* Stop the timer. Running work continues and releases the worker. */
static void ticks_drain(struct worker *w)
{
	struct clockwork *c = worker_data(w);
	worker_log(w, LOG_NOTICE, "no further tick, %s", c->works ? "but work to be done" : "idle");
	event_del(c->tick);
}

const struct service service = {
	.name = "ticks",
	.options = options,
	.config_size = sizeof(struct ticks_config),
	.metrics = metrics,
	.start = ticks_start,
	.stop = ticks_stop,
	.reloaded = ticks_reloaded,
	.drain = ticks_drain,
};
