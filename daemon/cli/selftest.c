/*
 * The self-test runs the real daemon in this process, on a private runtime directory and port.
 * Timers on the daemon's loop send it signals, hooks record what the daemon handled, and
 * on_stopping() compares the two.
 */
#include "cli/selftest.h"

#include "base/log.h"
#include "cli/selftest_client.h"
#include "cli/selftest_signaller.h"
#include "control/daemon.h"
#include "control/signal_queue.h"
#include "control/state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	FLOOD_RECEIVED = 2000,	   /* the flood ends when the daemon has received so many signals */
	FLOOD_SENT_MAX = 20000000, /* or when so many were sent: the daemon is starved */
	FLOOD_OF_ONE = 1000,	   /* signals of one kind, all in one turn of the loop */
	FLOOD_CHECK_MS = 1,
	HANDLED_MAX = 16,
	STALL_SECONDS = 20
};

struct script {
	const char *name;
	const int *signals; /* ended by 0 */
	/* Another process sends each signal, behind a WITNESS. Both wait in the queue when the
	 * test returns to the loop, which then handles them. */
	bool yields;
	bool flood; /* of SIGUSR1 and SIGHUP from another process before them */
};

/* Its number is higher than those of the signals behind it: the kernel would swap them. */
enum { WITNESS = SIGUSR2 };

struct score {
	bool tap; /* print TAP, the Test Anything Protocol */
	unsigned passed, failed;
};

struct selftest {
	const struct script *script;
	struct daemon_settings settings; /* of the daemon under test */
	char dir[256], log[256 + sizeof("/log")];
	struct daemon *daemon; /* NULL: not ready */
	struct signaller signaller;
	bool flood_ended;
	uint64_t in_one_turn;	  /* deliveries of one kind, while the loop did not turn */
	size_t sent;		  /* signals of the script */
	int handled[HANDLED_MAX]; /* a ring: the last signals handled */
	size_t n_handled, n_handled_before; /* before: when the last on_stall_timer() ran */
	bool wrong_sender;		    /* an arrival did not name the process that sent it */
	struct client client;
	bool stalled;
	struct score *score;
};

static void check(struct selftest *t, bool good, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void check(struct selftest *t, bool good, const char *format, ...)
{
	struct score *s = t->score;
	va_list ap;
	*(good ? &s->passed : &s->failed) += 1;
	if (s->tap)
		printf("%s %u - %s: ", good ? "ok" : "not ok", s->passed + s->failed,
		       t->script->name);
	else
		printf("%s %s: ", good ? "passed" : "FAILED", t->script->name);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

/* A line that is no result. */
static void say(const struct score *s, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say(const struct score *s, const char *format, ...)
{
	va_list ap;
	if (s->tap)
		fputs("# ", stdout);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
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
	for (int signal; !s->yields && (signal = s->signals[t->sent]); t->sent++)
		kill(getpid(), signal);
	if (!s->yields)
		return;
	int signal = s->signals[t->sent++];
	say(t->score, "sending %s", signal_name(signal));
	signaller_send(&t->signaller, WITNESS, WITNESS, 1);
	signaller_wait(&t->signaller);
	signaller_send(&t->signaller, signal, signal, 1);
	signaller_wait(&t->signaller);
	say(t->score, "yielding control");
}

/* Send the next signal once all are handled and the daemon is not reloading. */
static void send_next(struct selftest *t)
{
	if (t->script->yields && t->n_handled == 2 * t->sent && t->daemon->state == RUNNING)
		call_after(t, send_signals, 0);
}

static uint64_t flood_received(void)
{
	return signal_queue_received(SIGUSR1) + signal_queue_received(SIGHUP);
}

/* When the flood has ended and the queue is empty, send the signals of the script. */
static void await_flood(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	if (!t->flood_ended && flood_received() >= FLOOD_RECEIVED) {
		signaller_stop(&t->signaller);
		t->flood_ended = true;
	}
	if (!t->flood_ended || signal_queue_pending())
		call_after(t, await_flood, FLOOD_CHECK_MS);
	else
		send_signals(fd, what, t);
}

/*
 * First a flood of one kind while this callback runs: the queue must limit it, or a faster one
 * would keep all signals with a higher number pending. Then the flood that the loop handles.
 */
static void start_flood(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	(void)fd;
	(void)what;
	uint64_t before = signal_queue_received(SIGUSR1);
	signaller_send(&t->signaller, SIGUSR1, SIGUSR1, FLOOD_OF_ONE);
	signaller_wait(&t->signaller);
	t->in_one_turn = signal_queue_received(SIGUSR1) - before;
	signaller_send(&t->signaller, SIGUSR1, SIGHUP, FLOOD_SENT_MAX);
	call_after(t, await_flood, FLOOD_CHECK_MS);
}

/* A busy machine may take long, as long as the daemon goes on to handle signals. */
static void on_stall_timer(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	(void)fd;
	(void)what;
	t->stalled = t->n_handled == t->n_handled_before;
	t->n_handled_before = t->n_handled;
	if (t->stalled)
		daemon_leave(t->daemon, EXIT_FAILURE);
	else
		call_after(t, on_stall_timer, STALL_SECONDS * 1000);
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
 * Keep the real configuration, but one plain listener on a free port, no admin server, the log in
 * the private directory, the current user, and no lame duck, which would only cost time.
 */
static void on_adjust(void *context, struct config *c)
{
	struct selftest *t = context;
	size_t n_listen = t->client.service->protocol.data ? 1 : 0;
	if (!config_reset_listen(c, n_listen))
		abort(); /* as set_text() does */
	if (n_listen)
		set_text(&c->listen[0].address, "127.0.0.1:0");
	set_text(&c->admin.address, "");
	set_text(&c->user, "");
	set_text(&c->group, "");
	set_text(&c->log.file, t->log);
	c->log.target = LOG_TO_FILE;
	c->lame_duck = 0;
}

static void on_ready(void *context, struct daemon *d)
{
	struct selftest *t = context;
	t->daemon = d;
	if (t->client.service->protocol.data) {
		t->client.address = d->current->listener[0]->actual;
		client_start(&t->client);
	}
	call_after(t, on_stall_timer, STALL_SECONDS * 1000);
	say(t->score, "starting send_signals for %d", (int)getpid());
	if ((t->script->flood || t->script->yields) && !signaller_start(&t->signaller))
		check(t, false, "cannot start a process: %s", strerror(errno));
	else
		call_after(t, t->script->flood ? start_flood : send_signals, 0);
}

static void on_handled(void *context, struct daemon *d, const struct signal_arrival *a)
{
	struct selftest *t = context;
	(void)d;
	t->handled[t->n_handled++ % HANDLED_MAX] = a->signal;
	if (!t->script->yields)
		return;
	t->wrong_sender = t->wrong_sender || a->pid != t->signaller.pid;
	if (a->signal != WITNESS)
		say(t->score, "signal_handler('%s')", signal_name(a->signal));
	send_next(t);
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
		n += *p == signal || (s->yields && signal == WITNESS);
	return n;
}

static void check_accounts(struct selftest *t, const struct daemon *d)
{
	static const int kinds[] = {SIGUSR1, SIGHUP, SIGUSR2, SIGINT};
	bool flood = t->script->flood;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
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
		check(t, t->in_one_turn > 0 && t->in_one_turn <= MAX_PER_TURN,
		      "at most %d signals of one kind in a turn of the loop: %llu of %d",
		      MAX_PER_TURN, (unsigned long long)t->in_one_turn, FLOOD_OF_ONE);
		check(t, signal_queue_received(SIGUSR1) > t->in_one_turn,
		      "more SIGUSR1 in later turns: %llu",
		      (unsigned long long)signal_queue_received(SIGUSR1));
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
	int expected[HANDLED_MAX];
	size_t n = 0;
	for (const int *p = t->script->signals; *p; p++) {
		if (t->script->yields)
			expected[n++] = WITNESS;
		expected[n++] = *p;
	}
	/* After a flood, the script's signals are the last ones handled. */
	bool same = t->script->flood ? t->n_handled >= n : t->n_handled == n;
	size_t first = t->n_handled > n ? t->n_handled - n : 0;
	char text[256] = "";
	for (size_t i = first; i < t->n_handled; i++) {
		int signal = t->handled[i % HANDLED_MAX];
		same = same && signal == expected[i - first];
		strcat(strcat(text, " "), signal_name(signal));
	}
	check(t, same, "handled in the order sent:%s", text);
	if (t->script->yields)
		check(t, !t->wrong_sender, "each signal names its sender, pid %d",
		      (int)t->signaller.pid);
}

static void on_stopping(void *context, struct daemon *d)
{
	struct selftest *t = context;
	if (!t->daemon)
		return;
	check(t, !t->stalled, "every signal was handled within %d s", STALL_SECONDS);
	check_order(t);
	signaller_stop(&t->signaller);
	check_accounts(t, d);
	check_reloads(t, d);
	if (!t->client.service->protocol.data)
		return; /* a service without connections has no clients */
	const char *failure = client_join(&t->client);
	check(t, !failure && t->client.requests, "a client %s, %u requests",
	      failure ? failure : "was served until the drain", t->client.requests);
}

/* One run of the daemon. */

static void show_log(const struct selftest *t)
{
	char text[4096];
	FILE *in = fopen(t->log, "re");
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
	if (mkdtemp(t->dir)) {
		snprintf(t->log, sizeof(t->log), "%s/log", t->dir);
		return true;
	}
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
		      struct score *score)
{
	struct selftest t = {.script = s, .client.service = svc, .score = score};
	unsigned failed_before = score->failed;
	char config[sizeof(t.dir) + sizeof("/skeld.conf")];
	if (!make_directory(&t))
		return EXIT_FAILURE;
	snprintf(config, sizeof(config), "%s/skeld.conf", t.dir);
	choose_config(&t, a, config);
	struct daemon_hooks hooks = {on_adjust,	       on_ready,    on_handled,
				     on_state_changed, on_stopping, &t};
	int code = daemon_run(&t.settings, svc, &hooks);
	if (t.daemon)
		check(&t, code == 0, "exit code %d", code);
	if (score->failed > failed_before)
		show_log(&t);
	unlink(t.log);
	unlink(config);
	rmdir(t.dir);
	return t.daemon ? 0 : code;
}

static const int order[] = {SIGHUP, SIGHUP, SIGUSR1, SIGINT, 0};
/* Two toggles are two: they are not merged. */
static const int burst[] = {SIGUSR1, SIGHUP, SIGUSR1, SIGUSR2, SIGUSR2, SIGHUP, SIGINT, 0};
static const int storm[] = {SIGINT, 0};
static const struct script scripts[] = {{"order", order, .yields = true},
					{"burst", burst, .yields = false},
					{"storm", storm, .flood = true}};
enum { N_SCRIPTS = sizeof(scripts) / sizeof(*scripts) };

/* Mark the scripts of LIST ("order,storm") as wanted. Returns false and prints an unknown name. */
static bool parse_list(const char *list, bool wanted[N_SCRIPTS])
{
	for (const char *end = ","; *end; list = end + 1) { /* an empty name is unknown, too */
		size_t i = 0, n = strcspn(list, ",");
		end = list + n;
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
	struct score score = {.tap = a->tap};
	if (!parse_list(a->argument ? a->argument : "order,burst,storm", wanted))
		return EX_USAGE;
	setvbuf(stdout, NULL, _IOLBF, 0);
	unsetenv("NOTIFY_SOCKET"); /* a self-test in a unit must not look like the service */
	for (size_t i = 0; i < N_SCRIPTS; i++) {
		int code = wanted[i] ? run_script(&scripts[i], a, svc, &score) : 0;
		if (code && a->tap)
			puts("Bail out! the daemon did not start");
		if (code)
			return code; /* the daemon did not start; its errors are printed */
	}
	say(&score, "self-test: %u checks passed, %u failed", score.passed, score.failed);
	if (a->tap)
		printf("1..%u\n", score.passed + score.failed);
	return score.failed || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS; /* flushed by lines */
}
