/*
 * The self-test runs the real daemon in this process, on a private runtime directory and port.
 * Timers on the daemon's loop send it signals, hooks record what the daemon handled, and
 * on_stopping() compares the two.
 */
#include "cli/selftest.h"

#include "base/log.h"
#include "cli/selftest_client.h"
#include "control/daemon.h"
#include "control/signal_queue.h"
#include "control/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	FLOOD_RECEIVED = 2000,	   /* the flood ends when the daemon has received so many signals */
	FLOOD_SENT_MAX = 20000000, /* or when so many were sent: the daemon is starved */
	FLOOD_ROW = 4,		   /* signals of one kind in a row */
	FLOOD_CHECK_MS = 1,
	HANDLED_MAX = 16,
	TIME_LIMIT_SECONDS = 20
};

struct script {
	const char *name;
	const int *signals; /* ended by 0 */
	bool yields;	    /* returns to the loop after each signal, until it is handled */
	bool flood;	    /* of SIGUSR1 and SIGHUP from another process before them */
};

struct selftest {
	const struct script *script;
	struct daemon_settings settings; /* of the daemon under test */
	char dir[256];
	struct daemon *daemon; /* NULL: not ready */
	pid_t flooder;	       /* the process that floods the daemon; 0: none */
	size_t sent;
	int handled[HANDLED_MAX]; /* a ring: the last signals handled */
	size_t n_handled;
	struct client client;
	bool timed_out;
	unsigned passed, failed;
};

static void check(struct selftest *t, bool good, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void check(struct selftest *t, bool good, const char *format, ...)
{
	va_list ap;
	printf("%s %s: ", good ? "passed" : "FAILED", t->script->name);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	*(good ? &t->passed : &t->failed) += 1;
}

/* Call CALLBACK from the event loop after MS milliseconds. */
static void call_after(struct selftest *t, event_callback_fn callback, int ms)
{
	event_base_once(t->daemon->base, -1, EV_TIMEOUT, callback, t,
			&(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 + 1});
}

/* Sending. */

static void send_signals(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	const struct script *s = t->script;
	(void)fd;
	(void)what;
	while (s->signals[t->sent]) {
		int signal = s->signals[t->sent++];
		if (s->yields)
			printf("sending %s\n", signal_name(signal));
		kill(getpid(), signal);
		if (s->yields) {
			puts("yielding control");
			break;
		}
	}
}

/* Send the next signal once all are handled and the daemon is not reloading. */
static void send_next(struct selftest *t)
{
	if (t->script->yields && t->n_handled == t->sent && t->daemon->state == RUNNING)
		call_after(t, send_signals, 0);
}

/* Runs in a child of a process with threads: async-signal-safe calls only. */
static _Noreturn void run_flooder(pid_t daemon)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < FLOOD_SENT_MAX; i++)
		kill(daemon, i / FLOOD_ROW % 2 ? SIGHUP : SIGUSR1);
	_exit(0);
}

static void end_flood(struct selftest *t)
{
	if (t->flooder <= 0)
		return;
	kill(t->flooder, SIGKILL);
	waitpid(t->flooder, NULL, 0);
	t->flooder = 0;
}

static uint64_t flood_received(void)
{
	return signal_queue_received(SIGUSR1) + signal_queue_received(SIGHUP);
}

/* When the flood has ended and the queue is empty, send the signals of the script. */
static void await_flood(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	if (flood_received() >= FLOOD_RECEIVED)
		end_flood(t);
	if (t->flooder > 0 || signal_queue_pending())
		call_after(t, await_flood, FLOOD_CHECK_MS);
	else
		send_signals(fd, what, t);
}

static void start_flood(struct selftest *t)
{
	sigset_t all, before; /* the flooder must not run the daemon's handlers */
	pid_t daemon = getpid();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	t->flooder = fork();
	if (t->flooder == 0)
		run_flooder(daemon);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	call_after(t, await_flood, FLOOD_CHECK_MS);
}

static void on_time_limit(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	(void)fd;
	(void)what;
	t->timed_out = true;
	daemon_leave(t->daemon, EXIT_FAILURE);
}

/* Hooks. */

static void set_text(char **field, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		abort(); /* without ten bytes of memory, no test has a result */
	free(*field);
	*field = copy;
}

/*
 * Keep the real configuration, but one listener on a free port, no admin server, the log in the
 * private directory, the present user, and no lame duck, which only costs time.
 */
static void on_adjust(void *context, struct config *c)
{
	struct selftest *t = context;
	char log[sizeof(t->dir) + 8];
	snprintf(log, sizeof(log), "%s/log", t->dir);
	for (size_t i = 1; i < c->n_listen; i++) {
		free(c->listen[i].title);
		free(c->listen[i].address);
		free(c->listen[i].location.file);
	}
	c->n_listen = 1;
	c->listen[0].proxy = false;
	set_text(&c->listen[0].address, t->client.service->data ? "127.0.0.1:0" : "");
	set_text(&c->admin.address, "");
	set_text(&c->user, "");
	set_text(&c->group, "");
	set_text(&c->log.file, log);
	c->log.target = LOG_TO_FILE;
	c->lame_duck = 0;
}

static void on_ready(void *context, struct daemon *d)
{
	struct selftest *t = context;
	t->daemon = d;
	if (t->client.service->data) {
		t->client.address = d->current->listener[0]->actual;
		client_start(&t->client);
	}
	call_after(t, on_time_limit, TIME_LIMIT_SECONDS * 1000);
	printf("starting send_signals for %d\n", (int)getpid());
	if (t->script->flood)
		start_flood(t);
	else
		call_after(t, send_signals, 0);
}

static void on_handled(void *context, struct daemon *d, const struct signal_arrival *a)
{
	struct selftest *t = context;
	(void)d;
	t->handled[t->n_handled++ % HANDLED_MAX] = a->signal;
	if (t->script->yields) {
		printf("signal_handler('%s')\n", signal_name(a->signal));
		send_next(t);
	}
}

static void on_state_changed(void *context, struct daemon *d)
{
	struct selftest *t = context;
	if (d->state == DRAINING)
		atomic_store(&t->client.may_end, true);
	if (t->daemon)
		send_next(t);
}

static uint64_t count_in_script(const struct script *s, int signal)
{
	uint64_t n = 0;
	for (const int *p = s->signals; *p; p++)
		n += *p == signal;
	return n;
}

static void check_accounts(struct selftest *t, const struct daemon *d)
{
	static const int kinds[] = {SIGUSR1, SIGHUP, SIGINT};
	bool flood = t->script->flood;
	for (size_t i = 0; i < 3; i++) {
		int kind = kinds[i];
		uint64_t received = signal_queue_received(kind),
			 sent = count_in_script(t->script, kind);
		uint64_t handled = d->signals.handled[kind], coalesced = d->signals.coalesced[kind];
		check(t,
		      received == handled + coalesced &&
			      (flood ? received >= sent : received == sent),
		      "%s: received=%llu handled=%llu coalesced=%llu", signal_name(kind),
		      (unsigned long long)received, (unsigned long long)handled,
		      (unsigned long long)coalesced);
	}
}

/* A reload takes more than one turn of the loop, and every SIGHUP that arrives during it is merged.
 */
static void check_reloads(struct selftest *t, const struct daemon *d)
{
	unsigned long long reloads = d->current->generation - 1;
	uint64_t hups = signal_queue_received(SIGHUP);
	if (t->script->flood) {
		check(t, flood_received() >= FLOOD_RECEIVED, "a flood of %llu signals arrived",
		      (unsigned long long)flood_received());
		check(t, reloads <= hups / 2, "few reloads: %llu for %llu SIGHUP", reloads,
		      (unsigned long long)hups);
	} else if (t->script->yields) {
		check(t, reloads == hups, "each SIGHUP reloads: %llu reloads", reloads);
	} else {
		check(t, reloads <= hups, "at most one reload for each SIGHUP: %llu reloads",
		      reloads);
	}
}

static void check_order(struct selftest *t)
{
	size_t n = 0;
	while (t->script->signals[n])
		n++;
	/* After a flood, the script's signals are the last ones handled. */
	bool same = t->script->flood ? t->n_handled >= n : t->n_handled == n;
	size_t first = t->n_handled > n ? t->n_handled - n : 0;
	char text[256] = "";
	for (size_t i = first; i < t->n_handled; i++) {
		int signal = t->handled[i % HANDLED_MAX];
		same = same && signal == t->script->signals[i - first];
		strcat(strcat(text, " "), signal_name(signal));
	}
	check(t, same, "handled in the order sent:%s", text);
}

static void on_stopping(void *context, struct daemon *d)
{
	struct selftest *t = context;
	end_flood(t);
	if (!t->daemon)
		return;
	check(t, !t->timed_out, "the daemon stopped within %d s", TIME_LIMIT_SECONDS);
	check_order(t);
	check_accounts(t, d);
	check_reloads(t, d);
	if (!t->client.service->data)
		return; /* a service without connections has no clients */
	const char *failure = client_join(&t->client);
	check(t, !failure && t->client.requests, "a client %s, %u requests",
	      failure ? failure : "was served until the drain", t->client.requests);
}

/* One run of the daemon. */

static void show_log(const struct selftest *t)
{
	char path[sizeof(t->dir) + 8], text[4096];
	snprintf(path, sizeof(path), "%s/log", t->dir);
	FILE *in = fopen(path, "re");
	for (size_t n; in && (n = fread(text, 1, sizeof(text), in)) > 0;)
		fwrite(text, 1, n, stderr);
	if (in)
		fclose(in);
}

static bool make_directory(struct selftest *t)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(t->dir, sizeof(t->dir), "%s/skeld-self-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	t->settings.runtime_dir = t->dir;
	if (mkdtemp(t->dir))
		return true;
	fprintf(stderr, "skeld: cannot create %s: %s\n", t->dir, strerror(errno));
	return false;
}

/* If no configuration is installed, test an empty one, in PATH. */
static void choose_config(struct selftest *t, const struct arguments *a, const char *path)
{
	t->settings.config_file = a->config_file;
	if (a->config_given || access(a->config_file, F_OK) == 0)
		return;
	FILE *out = fopen(path, "we");
	if (out) {
		fputs("# defaults only\n", out);
		fclose(out);
	}
	t->settings.config_file = path;
}

/* Returns 0, or the exit code of a daemon that did not start. */
static int run_script(const struct script *s, const struct arguments *a, const struct service *svc,
		      unsigned *passed, unsigned *failed)
{
	struct selftest t = {.script = s, .client.service = svc};
	char config[sizeof(t.dir) + sizeof("/skeld.conf")], log[sizeof(t.dir) + sizeof("/log")];
	if (!make_directory(&t))
		return EXIT_FAILURE;
	snprintf(config, sizeof(config), "%s/skeld.conf", t.dir);
	snprintf(log, sizeof(log), "%s/log", t.dir);
	choose_config(&t, a, config);
	struct daemon_hooks hooks = {on_adjust,	       on_ready,    on_handled,
				     on_state_changed, on_stopping, &t};
	int code = daemon_run(&t.settings, svc, &hooks);
	if (t.daemon)
		check(&t, code == 0, "exit code %d", code);
	if (t.failed)
		show_log(&t);
	unlink(log);
	unlink(config);
	rmdir(t.dir);
	*passed += t.passed;
	*failed += t.failed;
	return t.daemon ? 0 : code;
}

static const int order[] = {SIGHUP, SIGHUP, SIGUSR1, SIGINT, 0};
static const int burst[] = {SIGUSR1, SIGHUP, SIGUSR1, SIGUSR2, SIGHUP, SIGINT, 0};
static const int storm[] = {SIGINT, 0};
static const struct script scripts[] = {{"order", order, .yields = true},
					{"burst", burst, .yields = false},
					{"storm", storm, .flood = true}};
enum { N_SCRIPTS = sizeof(scripts) / sizeof(*scripts) };

/* Mark the scripts of LIST ("order,storm") as wanted. Returns false and prints an unknown name. */
static bool parse_list(const char *list, bool wanted[N_SCRIPTS])
{
	for (size_t n; *list; list += n + (list[n] == ',')) {
		size_t i = 0;
		n = strcspn(list, ",");
		while (i < N_SCRIPTS &&
		       (strlen(scripts[i].name) != n || strncmp(list, scripts[i].name, n) != 0))
			i++;
		if (i == N_SCRIPTS) {
			fprintf(stderr, "skeld: --self-test=%.*s: expected order, burst or storm\n",
				(int)n, list);
			return false;
		}
		wanted[i] = true;
	}
	return true;
}

int selftest_run(const struct arguments *a, const struct service *svc)
{
	bool wanted[N_SCRIPTS] = {0};
	unsigned passed = 0, failed = 0;
	if (!parse_list(a->argument ? a->argument : "order,burst,storm", wanted))
		return EX_USAGE;
	setvbuf(stdout, NULL, _IOLBF, 0);
	unsetenv("NOTIFY_SOCKET"); /* a self-test in a unit must not look like the service */
	for (size_t i = 0; i < N_SCRIPTS; i++) {
		int code = wanted[i] ? run_script(&scripts[i], a, svc, &passed, &failed) : 0;
		if (code)
			return code; /* the daemon did not start; its errors are printed */
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
