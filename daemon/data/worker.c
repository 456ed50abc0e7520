#include "data/worker.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define WARNING_INTERVAL_NS INT64_C(1000000000)

const char *const close_reasons[N_CLOSE_REASONS] = {
	[CLOSED_BY_PEER] = "peer",  [CLOSED_BY_SERVICE] = "service", [CLOSED_ERROR] = "error",
	[CLOSED_IDLE] = "idle",	    [CLOSED_OVERFLOW] = "overflow",  [CLOSED_LIMIT] = "limit",
	[CLOSED_MEMORY] = "memory", [CLOSED_PROXY] = "proxy",	     [CLOSED_TLS] = "tls",
	[CLOSED_DRAIN] = "drain",   [CLOSED_DEADLINE] = "deadline"};

const char *const drop_reasons[N_DROP_REASONS] = {
	[DROPPED_KERNEL] = "kernel", [DROPPED_TRUNCATED] = "truncated", [DROPPED_SEND] = "send"};

bool worker_may_warn(const struct worker *w, enum warning kind, unsigned *suppressed)
{
	int64_t now = now_ns(), not_before = atomic_load(&w->workers->warning[kind].not_before);
	if (now < not_before ||
	    !atomic_compare_exchange_strong(&w->workers->warning[kind].not_before, &not_before,
					    now + WARNING_INTERVAL_NS)) {
		atomic_fetch_add(&w->workers->warning[kind].suppressed, 1);
		return false;
	}
	*suppressed = atomic_exchange(&w->workers->warning[kind].suppressed, 0);
	return true;
}

void worker_warn_no_memory(struct worker *w)
{
	unsigned suppressed;
	if (worker_may_warn(w, WARN_MEMORY, &suppressed))
		log_warning("out of memory: worker=%u suppressed=%u; closing connections, lower "
			    "limits.memory or limits.connections",
			    w->index, suppressed);
}

const char *worker_keep_title(struct worker *w, const char *title)
{
	size_t size = strlen(title) + 1;
	struct kept_title *t = w->titles;
	while (t && strcmp(t->text, title) != 0)
		t = t->next;
	if (t)
		return t->text;
	t = malloc(sizeof(*t) + size);
	if (!t)
		return "";
	memcpy(t->text, title, size);
	t->next = w->titles;
	w->titles = t;
	return t->text;
}

void worker_report_progress(const struct worker *w)
{
	/* Ignore EAGAIN: the counter is full, so the control plane wakes up anyway. */
	eventfd_write(w->workers->progress_fd, 1);
}

void worker_report_if_drained(struct worker *w)
{
	if (worker_drains(w) && !w->n_connections && !w->holds && TAILQ_EMPTY(&w->acceptors) &&
	    !atomic_exchange(&w->drained, true))
		worker_report_progress(w);
}

void worker_schedule_check(struct worker *w, int ms)
{
	if (event_pending(w->check, EV_TIMEOUT, NULL))
		return;
	event_base_update_cache_time(w->base); /* callbacks may have used time since the wake-up */
	event_add(w->check, &(struct timeval){.tv_usec = ms * 1000L});
}
