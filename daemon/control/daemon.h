/* The daemon: creates its parts, starts them in order, runs, and frees them in reverse order. */
#ifndef SKELD_DAEMON_H
#define SKELD_DAEMON_H

#include "service.h"

struct daemon_hooks;

struct daemon_settings {
	const char *config_file;
	const char *runtime_dir;
};

/*
 * Run until stopped. Returns the exit code. HOOKS may be NULL, see control/state.h. The daemon
 * calls SERVICE's functions on the worker threads.
 */
int daemon_run(const struct daemon_settings *settings, const struct service *svc,
	       const struct daemon_hooks *hooks);

#endif
