/*
 * The real daemon in this very process, on a private runtime directory and port, sends itself the
 * signals. Hooks look on and compare what the handlers did with what was sent.
 */
#include "control/selftest.h"

#include "base/log.h"
#include "control/daemon.h"
#include "control/selftest_client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { STORM = 200000, HANDLED_MAX = 2 * RELAY_BATCH, GIVE_UP_SECONDS = 20 };

struct script {
	const char *name;
	const int *signals; /* ended by 0 */
	bool yield;	    /* to the loop after each */
	unsigned storm;	    /* before them: so many SIGUSR1 and SIGHUP in turn */
};

struct selftest {
	const struct script *script;
	struct options options; /* of the daemon under test */
	char dir[256];
	struct daemon *daemon;
	size_t sent;
	int handled[HANDLED_MAX];
	size_t n_handled;
	struct client client;
	bool given_up;
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

/* Sending. */

static void send_signal(struct selftest *t, int signal)
{
	if (t->script->yield)
		printf("sending %s\n", signal_name(signal));
	kill(getpid(), signal);
}

static void send_signals(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	(void)fd;
	(void)what;
	for (unsigned i = 0; i < t->script->storm; i++)
		send_signal(t, i % 2 ? SIGHUP : SIGUSR1);
	while (t->script->signals[t->sent]) {
		send_signal(t, t->script->signals[t->sent++]);
		if (t->script->yield) {
			puts("yielding control");
			break;
		}
	}
}

static void give_up(evutil_socket_t fd, short what, void *arg)
{
	struct selftest *t = arg;
	(void)fd;
	(void)what;
	t->given_up = true;
	daemon_leave(t->daemon, EXIT_FAILURE);
}

static void send_soon(struct selftest *t)
{
	event_base_once(t->daemon->base, -1, EV_TIMEOUT, send_signals, t,
			&(struct timeval){.tv_usec = 1});
}

/* The next one, once what was sent has been handled and the daemon is at rest. */
static void go_on(struct selftest *t)
{
	if (t->script->yield && t->n_handled == t->sent && t->daemon->state == RUNNING)
		send_soon(t);
}

/* Hooks. */

static void set_text(char **field, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		abort(); /* a test that cannot allocate ten bytes has no result */
	free(*field);
	*field = copy;
}

/* Its real configuration, but for what belongs to the machine (addresses, user, log), and for what
 * takes its time. */
static void on_adjust(void *context, struct config *c)
{
	struct selftest *t = context;
	char log[sizeof(t->dir) + 8];
	snprintf(log, sizeof(log), "%s/log", t->dir);
	for (size_t i = 1; i < c->n_listen; i++) {
		free(c->listen[i].title);
		free(c->listen[i].address);
		free(c->listen[i].place.file);
	}
	c->n_listen = 1;
	c->listen[0].proxy = false;
	set_text(&c->listen[0].address, t->client.its->data ? "127.0.0.1:0" : "");
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
	if (t->client.its->data) {
		t->client.address = d->current->listener[0]->actual;
		client_start(&t->client);
	}
	event_base_once(d->base, -1, EV_TIMEOUT, give_up, t,
			&(struct timeval){.tv_sec = GIVE_UP_SECONDS});
	printf("starting send_signals for %d\n", (int)getpid());
	send_soon(t);
}

static void on_handled(void *context, struct daemon *d, const struct arrival *a)
{
	struct selftest *t = context;
	(void)d;
	if (t->n_handled < HANDLED_MAX)
		t->handled[t->n_handled++] = a->signal;
	if (t->script->yield) {
		printf("signal_handler('%s')\n", signal_name(a->signal));
		go_on(t);
	}
	if (t->script->storm) /* a slow handler, so that more arrives than can be taken */
		nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void on_changed(void *context, struct daemon *d)
{
	struct selftest *t = context;
	if (d->state == DRAINING)
		atomic_store(&t->client.may_end, true);
	if (t->daemon)
		go_on(t);
}

static uint64_t accounted(const struct daemon *d, int signal, uint64_t *received)
{
	for (unsigned i = 0; i < N_SIGNALS; i++)
		if (signals_at(i) == signal) {
			*received = relay_received(signal);
			return d->signals.handled[i] + d->signals.coalesced[i];
		}
	return 0;
}

static void check_accounts(struct selftest *t, const struct daemon *d)
{
	uint64_t expected[] = {t->script->storm / 2, t->script->storm / 2, 0};
	int signals[] = {SIGUSR1, SIGHUP, SIGINT};
	for (size_t i = 0; i < 3; i++) {
		uint64_t received = 0, done = accounted(d, signals[i], &received);
		for (const int *s = t->script->signals; *s; s++)
			expected[i] += *s == signals[i];
		check(t, received == expected[i] && done == received,
		      "%s: %llu sent, %llu received, %llu handled or coalesced",
		      signal_name(signals[i]), (unsigned long long)expected[i],
		      (unsigned long long)received, (unsigned long long)done);
	}
}

static void check_order(struct selftest *t)
{
	size_t n = 0;
	while (t->script->signals[n])
		n++;
	/* After a storm only the end is known: what was sent last is handled last. */
	size_t first = t->script->storm && t->n_handled > n ? t->n_handled - n : 0;
	bool same = t->n_handled - first == n;
	for (size_t i = 0; same && i < n; i++)
		same = t->handled[first + i] == t->script->signals[i];
	char text[256] = "";
	for (size_t i = first; i < t->n_handled && strlen(text) < sizeof(text) - 16; i++)
		strcat(strcat(text, " "), signal_name(t->handled[i]));
	check(t, same, "handled in the order sent:%s", text);
}

static void on_ends(void *context, struct daemon *d)
{
	struct selftest *t = context;
	if (!t->daemon)
		return;
	check(t, !t->given_up, "the daemon ended by itself");
	check_order(t);
	check_accounts(t, d);
	if (t->script->yield)
		check(t, d->current->generation == 3, "generation rose twice, to %llu",
		      (unsigned long long)d->current->generation);
	else
		check(t, d->current->generation <= 3, "few reloads: generation %llu",
		      (unsigned long long)d->current->generation);
	if (!t->client.its->data)
		return; /* a service without connections has no clients */
	const char *failure = client_join(&t->client);
	check(t, !failure && t->client.rounds, "a client %s, %u rounds",
	      failure ? failure : "was served until the drain", t->client.rounds);
}

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

static int run_script(const struct script *s, const struct options *o, const struct service *its,
		      unsigned *passed, unsigned *failed)
{
	struct selftest t = {.script = s, .options = *o, .client.its = its};
	char file[sizeof(t.dir) + sizeof("/skeld.conf")];
	const char *tmp = getenv("TMPDIR");
	snprintf(t.dir, sizeof(t.dir), "%s/skeld-self-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(t.dir)) {
		fprintf(stderr, "skeld: cannot make %s: %s\n", t.dir, strerror(errno));
		return EXIT_FAILURE;
	}
	t.options.runtime_dir = t.dir;
	snprintf(file, sizeof(file), "%s/skeld.conf", t.dir);
	if (!o->config_given && access(o->config, F_OK) < 0) { /* none is installed: the defaults */
		FILE *out = fopen(file, "we");
		if (out) {
			fputs("# nothing but defaults\n", out);
			fclose(out);
		}
		t.options.config = file;
	}
	struct hooks hooks = {on_adjust, on_ready, on_handled, on_changed, on_ends, &t};
	int code = daemon_run(&t.options, its, &hooks);
	if (t.daemon)
		check(&t, code == 0, "exit code %d", code);
	if (t.failed)
		show_log(&t);
	char log[sizeof(t.dir) + 8];
	snprintf(log, sizeof(log), "%s/log", t.dir);
	unlink(log);
	unlink(file);
	rmdir(t.dir);
	*passed += t.passed;
	*failed += t.failed;
	return t.daemon ? 0 : code;
}

int selftest_run(const struct options *o, const struct service *its)
{
	static const int order[] = {SIGHUP, SIGHUP, SIGUSR1, SIGINT, 0};
	static const int burst[] = {SIGUSR1, SIGHUP, SIGUSR1, SIGUSR2, SIGHUP, SIGINT, 0};
	static const int last[] = {SIGINT, 0};
	static const struct script scripts[] = {{"order", order, true, 0},
						{"burst", burst, false, 0},
						{"storm", last, false, STORM}};
	enum { N = sizeof(scripts) / sizeof(*scripts) };
	bool wanted[N] = {0};
	const char *list = o->argument ? o->argument : "order,burst,storm";
	for (size_t n; *list; list += n + (list[n] == ',')) {
		size_t i = 0;
		n = strcspn(list, ",");
		while (i < N &&
		       (strlen(scripts[i].name) != n || strncmp(list, scripts[i].name, n) != 0))
			i++;
		if (i == N) {
			fprintf(stderr, "skeld: --self-test=%.*s: expected order, burst or storm\n",
				(int)n, list);
			return EX_USAGE;
		}
		wanted[i] = true;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	unsetenv("NOTIFY_SOCKET"); /* whoever runs a test has not started a service */
	unsigned passed = 0, failed = 0;
	for (size_t i = 0; i < N; i++) {
		int code = wanted[i] ? run_script(&scripts[i], o, its, &passed, &failed) : 0;
		if (code)
			return code; /* it did not even start, and has said why */
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
