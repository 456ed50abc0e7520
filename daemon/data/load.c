#include "data/load.h"

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
	struct tls_sites *tls;
	struct errors warnings;
};

enum job_state { RUNS, HAS_RETURNED, IS_ABANDONED };

/* Shared by the thread and the caller. Each has a reference; the thread drops its own last of all.
 */
struct load_job {
	_Atomic unsigned refs;
	_Atomic int state;	    /* enum job_state */
	_Atomic bool is_at_service; /* the tls sections are done */
	struct loaded *loaded;	    /* owned by the caller once HAS_RETURNED, else by the thread */
	struct tls_sites *old;
	int done_fd; /* eventfd */
	/* The thread writes these before HAS_RETURNED. */
	struct errors errors; /* of the tls sections */
	char why[WHY_MAX];    /* of the service */
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
	tls_sites_unref(l->tls);
	errors_clear(&l->warnings);
	config_unref(l->config);
	free(l);
}

const void *loaded_object(const struct loaded *l)
{
	return l ? l->object : NULL;
}

struct tls_sites *loaded_tls(const struct loaded *l)
{
	return l ? l->tls : NULL;
}

const struct errors *loaded_warnings(const struct loaded *l)
{
	static const struct errors none;
	return l ? &l->warnings : &none;
}

static void unref_job(struct load_job *j)
{
	if (!j || atomic_fetch_sub(&j->refs, 1) != 1)
		return;
	if (j->done_fd >= 0)
		close(j->done_fd);
	tls_sites_unref(j->old);
	errors_clear(&j->errors);
	free(j);
}

/* The thread. A mistake in a tls section does not hide those that the service finds. */

static void *run_load(void *arg)
{
	struct load_job *j = arg;
	struct loaded *l = j->loaded;
	int runs = RUNS;
	if (l->config->n_tls)
		l->tls = tls_sites_load(l->config, j->old, &l->warnings, &j->errors);
	atomic_store(&j->is_at_service, true);
	if (l->service->load)
		l->object = l->service->load(l->config->service, j->why, sizeof(j->why));
	if (!atomic_compare_exchange_strong(&j->state, &runs, HAS_RETURNED))
		loaded_unref(l);
	eventfd_write(j->done_fd, 1);
	unref_job(j);
	return NULL;
}

/* The caller. */

/* The section that an error is about. */
struct place {
	const char *file;
	unsigned line;
	const char *name;
};

/* The service's section, or the first tls section while those are read. */
static struct place place_of(const struct load *l, const struct config *c, bool is_at_service)
{
	bool of_service = l->service->load && (is_at_service || !c->n_tls);
	const struct location *at = of_service ? &c->service_location : &c->tls[0].location;
	return (struct place){at->file ? at->file : l->file, at->line,
			      of_service ? l->service->name : "tls"};
}

#define ADD_ERROR(place, e, ...) errors_add(e, (place).file, (place).line, __VA_ARGS__)

/* Returns NULL, and errno, if there is no memory or no descriptor. */
static struct load_job *new_job(const struct service *svc, struct config *c, struct tls_sites *old)
{
	struct load_job *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->refs = 1;
	j->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	j->loaded = j->done_fd >= 0 ? malloc(sizeof(*j->loaded)) : NULL;
	if (j->loaded) {
		*j->loaded = (struct loaded){.refs = 1, .service = svc, .config = config_ref(c)};
		j->old = tls_sites_ref(old);
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
	int error = thread_start(&thread, "load", run_load, j);
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

int load_request(struct load *l, struct config *c, struct tls_sites *old, struct errors *e)
{
	l->conclusive = false;
	if (!load_end(l, 0)) {
		struct place p = place_of(l, c, l->job->is_at_service);
		ADD_ERROR(p, e,
			  "section %s: the previous load has not returned: the file system may be "
			  "hung",
			  p.name);
		return -1;
	}
	struct load_job *j = new_job(l->service, c, old);
	int error = j ? start(j) : errno;
	if (!j || error) {
		struct place p = place_of(l, c, false);
		ADD_ERROR(p, e, "section %s: cannot start the thread that loads: %s", p.name,
			  strerror(error));
		return -1;
	}
	l->job = j;
	l->busy = true;
	l->limit = time_limit_begin(l->timeout_seconds);
	return j->done_fd;
}

bool load_poll(struct load *l)
{
	bool is_late = time_limit_is_over(&l->limit);
	return is_late || atomic_load(&l->job->state) == HAS_RETURNED;
}

/* The thread has returned. Returns false with errors if one of the steps has failed. */
static bool is_complete(struct load *l, struct errors *e)
{
	struct load_job *j = l->job;
	const struct loaded *loaded = j->loaded;
	bool good = !j->errors.n;
	l->conclusive = !j->errors.transient;
	errors_move(e, &j->errors);
	if (l->service->load && !loaded->object) {
		struct place p = place_of(l, loaded->config, true);
		ADD_ERROR(p, e, "section %s: %s", p.name,
			  *j->why ? j->why : "the service has not loaded");
		good = false;
	}
	return good;
}

struct loaded *load_result(struct load *l, struct errors *e)
{
	struct load_job *j = l->job;
	struct loaded *loaded = j->loaded;
	if (atomic_load(&j->state) != HAS_RETURNED) {
		struct place p = place_of(l, loaded->config, j->is_at_service);
		ADD_ERROR(p, e, "section %s: not loaded within %g s: the file system may be hung",
			  p.name, l->timeout_seconds);
		load_abandon(l);
		return NULL;
	}
	l->busy = false;
	if (!is_complete(l, e)) {
		loaded_unref(loaded);
		loaded = NULL;
	}
	unref_job(j);
	l->job = NULL;
	return loaded;
}

struct loaded *load_wait(struct load *l, struct config *c, struct tls_sites *old, struct errors *e)
{
	if (load_request(l, c, old, e) < 0)
		return NULL;
	while (!load_poll(l))
		await(l->job, POLL_MS);
	return load_result(l, e);
}

void load_abandon(struct load *l)
{
	int runs = RUNS;
	if (!l->busy)
		return;
	l->busy = false;
	if (!atomic_compare_exchange_strong(&l->job->state, &runs, IS_ABANDONED))
		loaded_unref(l->job->loaded);
}

bool load_end(struct load *l, int ms)
{
	load_abandon(l);
	if (l->job && !await(l->job, ms))
		return false;
	unref_job(l->job);
	l->job = NULL;
	return true;
}
