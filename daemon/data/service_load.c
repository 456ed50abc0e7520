#include "data/service_load.h"

#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { POLL_MS = 100, WHY_MAX = 512 };

struct loaded {
	_Atomic unsigned refs;
	const struct service *service;
	struct config *config; /* the object may contain pointers to it */
	void *object;
};

enum job_state { RUNS, HAS_RETURNED, IS_ABANDONED };

/* Shared by the thread and the caller. Each has a reference; the thread drops its own last of all.
 */
struct load_job {
	_Atomic unsigned refs;
	_Atomic int state;     /* enum job_state */
	struct loaded *loaded; /* owned by the caller once HAS_RETURNED, else by the thread */
	int done_fd;	       /* eventfd */
	char why[WHY_MAX];
};

struct loaded *loaded_ref(struct loaded *l)
{
	if (l)
		atomic_fetch_add(&l->refs, 1);
	return l;
}

void loaded_unref(struct loaded *l)
{
	if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	if (l->object && l->service->unload)
		l->service->unload(l->object);
	config_unref(l->config);
	free(l);
}

const void *loaded_object(const struct loaded *l)
{
	return l ? l->object : NULL;
}

static void unref_job(struct load_job *j)
{
	if (!j || atomic_fetch_sub(&j->refs, 1) != 1)
		return;
	if (j->done_fd >= 0)
		close(j->done_fd);
	free(j);
}

/* The thread. */

static void *run_load(void *arg)
{
	struct load_job *j = arg;
	struct loaded *l = j->loaded;
	int runs = RUNS;
	l->object = l->service->load(l->config->service, j->why, sizeof(j->why));
	if (!atomic_compare_exchange_strong(&j->state, &runs, HAS_RETURNED))
		loaded_unref(l);
	eventfd_write(j->done_fd, 1);
	unref_job(j);
	return NULL;
}

/* The caller. */

static const char *file_of(const struct service_load *l, const struct config *c)
{
	return c->service_location.file ? c->service_location.file : l->file;
}

#define ADD_ERROR(l, c, e, ...)                                                                    \
	errors_add(e, file_of(l, c), (c)->service_location.line, __VA_ARGS__)

/* Returns NULL, and errno, if there is no memory or no descriptor. */
static struct load_job *new_job(const struct service *svc, struct config *c)
{
	struct load_job *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->refs = 1;
	j->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	j->loaded = j->done_fd >= 0 ? malloc(sizeof(*j->loaded)) : NULL;
	if (j->loaded) {
		*j->loaded = (struct loaded){1, svc, config_ref(c), NULL};
		return j;
	}
	unref_job(j);
	return NULL;
}

/* Returns 0 or an errno(3). */
static int start(struct load_job *j)
{
	pthread_t thread;
	j->refs = 2;
	int error = thread_start(&thread, "service-load", run_load, j);
	if (!error) {
		pthread_detach(thread);
		return 0;
	}
	loaded_unref(j->loaded);
	j->refs = 1;
	unref_job(j);
	return error;
}

/* Wait up to MS milliseconds for the thread of a load to leave the service. */
static bool await(const struct load_job *j, int ms)
{
	struct pollfd done = {.fd = j->done_fd, .events = POLLIN};
	return poll(&done, 1, ms) == 1;
}

int service_load_request(struct service_load *l, struct config *c, struct errors *e)
{
	const char *name = l->service->name;
	l->conclusive = false;
	if (!service_load_end(l, 0)) {
		ADD_ERROR(l, c, e,
			  "section %s: the previous load has not returned: the file system may be "
			  "hung",
			  name);
		return -1;
	}
	struct load_job *j = new_job(l->service, c);
	int error = j ? start(j) : errno ? errno : ENOMEM;
	if (error) {
		ADD_ERROR(l, c, e, "section %s: cannot start the thread that loads: %s", name,
			  strerror(error));
		return -1;
	}
	l->job = j;
	l->busy = true;
	l->limit = time_limit_begin(l->timeout_seconds);
	return j->done_fd;
}

bool service_load_poll(struct service_load *l)
{
	bool is_late = time_limit_is_over(&l->limit);
	return is_late || atomic_load(&l->job->state) == HAS_RETURNED;
}

struct loaded *service_load_result(struct service_load *l, struct errors *e)
{
	struct load_job *j = l->job;
	struct loaded *loaded = j->loaded;
	const char *name = l->service->name;
	if (atomic_load(&j->state) != HAS_RETURNED) {
		ADD_ERROR(l, loaded->config, e,
			  "section %s: not loaded within %g s: the file system may be hung", name,
			  l->timeout_seconds);
		service_load_abandon(l);
		return NULL;
	}
	l->busy = false;
	l->conclusive = true;
	if (!loaded->object) {
		ADD_ERROR(l, loaded->config, e, "section %s: %s", name,
			  *j->why ? j->why : "the service has not loaded");
		loaded_unref(loaded);
		loaded = NULL;
	}
	unref_job(j);
	l->job = NULL;
	return loaded;
}

struct loaded *service_load_wait(struct service_load *l, struct config *c, struct errors *e)
{
	if (service_load_request(l, c, e) < 0)
		return NULL;
	while (!service_load_poll(l))
		await(l->job, POLL_MS);
	return service_load_result(l, e);
}

void service_load_abandon(struct service_load *l)
{
	int runs = RUNS;
	if (!l->busy)
		return;
	l->busy = false;
	if (!atomic_compare_exchange_strong(&l->job->state, &runs, IS_ABANDONED))
		loaded_unref(l->job->loaded);
}

bool service_load_end(struct service_load *l, int ms)
{
	service_load_abandon(l);
	if (l->job && !await(l->job, ms))
		return false;
	unref_job(l->job);
	l->job = NULL;
	return true;
}
