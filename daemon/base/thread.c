#include "base/thread.h"

#include "base/log.h"

#include <signal.h>

int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	sigfillset(&all);
	log_unblock_crash_signals(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits this mask */
	int error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_setname_np(*thread, name);
	return error;
}
