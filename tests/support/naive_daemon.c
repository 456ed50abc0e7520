/* The negative control: a daemon on bare libevent and plain libconfuse. Handlers are evsignal
 * events and nothing stands in front of them; the configuration is parsed in place.
 *
 *   naive burst FILE   SIGHUP reads FILE; print each signal as it is handled, end after SIGINT
 *   naive storm N      from within a callback raise SIGUSR1 N times, SIGHUP and SIGINT once each,
 *                      then print how often each was handled
 *   naive reload A B   parse A, then B, into the same live variable; print it after each
 */
#include <confuse.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	int signo;
	const char *name;
} handled[] = {{SIGHUP, "SIGHUP"}, {SIGINT, "SIGINT"}, {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}};
enum { HANDLED = sizeof(handled) / sizeof(*handled) };

struct naive {
	struct event_base *base;
	const char *file;
	long storm, count[HANDLED];
};

static void on_signal(evutil_socket_t signo, short events, void *arg)
{
	struct naive *n = arg;
	(void)events;
	for (size_t i = 0; i < HANDLED; i++) {
		if (handled[i].signo != signo)
			continue;
		n->count[i]++;
		if (n->file)
			printf("handled %s\n", handled[i].name);
	}
	if (signo == SIGHUP && n->file)
		close(open(n->file, O_RDONLY));
	if (signo == SIGINT && n->file)
		event_base_loopexit(n->base, NULL);
}

static void on_time(evutil_socket_t fd, short events, void *arg)
{
	const struct naive *n = arg;
	(void)fd, (void)events;
	for (long i = 0; i < n->storm; i++)
		raise(SIGUSR1);
	raise(SIGHUP);
	raise(SIGINT);
}

static void run_storm(struct naive *n)
{
	long before = -1, total = 0;
	event_base_once(n->base, -1, EV_TIMEOUT, on_time, n, NULL);
	event_base_loop(n->base, EVLOOP_ONCE);
	for (int idle = 0; idle < 10; idle = total == before ? idle + 1 : 0) {
		event_base_loop(n->base, EVLOOP_NONBLOCK);
		before = total;
		total = 0;
		for (size_t i = 0; i < HANDLED; i++)
			total += n->count[i];
	}
	for (size_t i = 0; i < HANDLED; i++)
		printf("%s %ld\n", handled[i].name, n->count[i]);
}

static int serve(struct naive *n)
{
	struct event *event[HANDLED];
	n->base = event_base_new();
	if (!n->base)
		return 1;
	for (size_t i = 0; i < HANDLED; i++) {
		event[i] = evsignal_new(n->base, handled[i].signo, on_signal, n);
		if (!event[i] || event_add(event[i], NULL) < 0)
			return 1;
	}
	printf("ready\n");
	if (n->storm)
		run_storm(n);
	else
		event_base_dispatch(n->base);
	for (size_t i = 0; i < HANDLED; i++)
		event_free(event[i]);
	event_base_free(n->base);
	libevent_global_shutdown();
	return 0;
}

static void quiet(cfg_t *cfg, const char *format, va_list ap)
{
	(void)cfg, (void)format, (void)ap;
}

static int reload_in_place(char *files[static 2])
{
	long port = 1;
	cfg_opt_t options[] = {CFG_SIMPLE_INT("port", &port), CFG_END()};
	for (size_t i = 0; i < 2; i++) {
		cfg_t *cfg = cfg_init(options, CFGF_NONE);
		cfg_set_error_function(cfg, quiet);
		int result = cfg_parse(cfg, files[i]);
		printf("%s %ld\n", result == CFG_SUCCESS ? "parsed" : "failed", port);
		cfg_free(cfg);
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct naive n = {0};
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && strcmp(argv[1], "reload") == 0)
		return reload_in_place(argv + 2);
	if (argc != 3)
		return 64;
	if (strcmp(argv[1], "storm") == 0)
		n.storm = strtol(argv[2], NULL, 10);
	else
		n.file = argv[2];
	return serve(&n);
}
