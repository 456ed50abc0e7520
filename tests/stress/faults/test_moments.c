/*
 * A signal of each kind at each system call of start, reload, dump, drain and stop. It never ends
 * the daemon by its default action, causes no hang, and is accounted for; a signal before the
 * event loop waits for the loop. SIGKILL at any moment leaves nothing that prevents the next start
 * or misleads -s.
 */
/* build: SOURCES moment.c */
/* test: COST 40 TIMEOUT 300 LABELS all */
/* test: NAME all ENV SKELD_LONG=1 TIMEOUT 900 LABELS long */
#include "client.h"
#include "moment.h"
#include "observe.h"
#include "trace.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The number of moments per signal and phase in the short form. */
enum { SHORT_FORM = 40, KILLS = 60, ALL_KILLS = 200 };

DAEMON_SUITE(moments);

static const int signals[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGTERM, SIGQUIT, SIGPIPE};
enum { SIGNALS = sizeof(signals) / sizeof(*signals) };

static bool all(void)
{
	return getenv("SKELD_LONG");
}

static void configure(void)
{
	if (getenv("FAULTS_DAEMON")) /* a mutant, see `mutants_found` */
		daemon_use(getenv("FAULTS_DAEMON"));
	config_write(BASE "listen \"local\" { address = \"unix:%s/local\" }\n", test_dir);
}

static bool ends_it(int signo)
{
	return signo == SIGINT || signo == SIGTERM || signo == SIGQUIT;
}

/* The exit code: 0 after a drain; 1 after SIGQUIT or a second stop signal. */
static bool is_good_end(enum phase phase, int signo, int code)
{
	if (phase == STOP || signo == SIGQUIT)
		return code == 1 || (phase == DRAIN && code == 0);
	if (phase == DRAIN && ends_it(signo))
		return code == 0 || code == 1; /* it may have arrived after the drain */
	return code == 0;
}

static void try_moment(enum phase phase, int stop, int signo)
{
	char unix_path[64];
	int code = -1;
	if (phase != START)
		daemon_start(file_text(config_path));
	int stops = moment_walk(phase, stop, signo, &code);
	if (daemon_pid && stops < stop)
		daemon_signal(signo); /* the number of calls of a phase varies */
	if (daemon_pid && !ends_it(signo) && phase != DRAIN && phase != STOP) {
		if (phase == START)
			notify_wait("READY=1");
		/* The daemon lives, has handled the signal, and handles the next one. */
		client_echo(client_unix("local"), "still here\n");
		if (signo == SIGHUP)
			AWAIT(status_number("reloads_ok") >= 1);
		AWAIT(strcmp(status_get("state"), "running") == 0);
		daemon_signal(SIGTERM);
	}
	while (n_clients)
		client_close(client_fds[0]);
	if (daemon_pid)
		code = daemon_wait_exit();
	if (!is_good_end(phase, signo, code))
		fail_test("%s at moment %d of %s: ended with %d", strsignal(signo), stop,
			  phase_names[phase], code);
	expect_signals_logged();
	char name[16], late[64];
	snprintf(name, sizeof(name), "SIG%s", sigabbrev_np(signo));
	snprintf(late, sizeof(late), " %s ignored: the daemon has stopped\n", name);
	/* The phase may have begun with a signal of the same kind. */
	long others = signo == moment_begins[phase];
	if (stops == stop && signo != SIGPIPE && !moment_too_late &&
	    stats_logged("received", name) + log_contains(late) < 1 + others)
		fail_test("the signal at moment %d of %s was not accounted for", stop,
			  phase_names[phase]);
	if (runtime_file_exists("skeld.pid") || runtime_file_exists("status") ||
	    access(path_in("local", unix_path), F_OK) == 0)
		fail_test("%s at moment %d of %s: a file is left", strsignal(signo), stop,
			  phase_names[phase]);
}

/* Each signal begins at another offset of the stride, so that together they cover all moments. */
static void try_phase(enum phase phase)
{
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	int code = -1, tried = 0;
	configure();
	if (phase != START)
		daemon_start(file_text(config_path));
	int moments = moment_walk(phase, NEVER, SIGHUP, &code);
	if (daemon_pid)
		daemon_finish();
	cr_assert_gt(moments, 10, "%d moments", moments);
	int stride = all() ? 1 : 1 + moments / SHORT_FORM;
	for (size_t i = 0; i < SIGNALS; i++)
		for (int stop = 1 + (int)i * stride / SIGNALS; stop <= moments; stop += stride) {
			try_moment(phase, stop, signals[i]);
			tried++;
		}
	fprintf(stderr, "# %s: %d moments, %d tried\n", phase_names[phase], moments, tried);
}

/* Negative control: before main() a signal ends the process, and the test detects it. */
Test(moments, a_signal_before_main_ends_the_process)
{
	int code = -1;
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	configure();
	cr_assert_eq(moment_walk(LOADING, 3, SIGHUP, &code), 3);
	cr_assert_eq(daemon_wait_exit(), 128 + SIGHUP);
}

Test(moments, a_signal_at_the_first_call_of_main_is_handled)
{
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	configure();
	for (size_t i = 0; i < SIGNALS; i++)
		try_moment(START, 1, signals[i]);
}

Test(moments, signals_at_each_call_of_start_are_handled)
{
	try_phase(START);
}

Test(moments, signals_at_each_call_of_reload_are_handled)
{
	try_phase(RELOAD);
}

Test(moments, signals_at_each_call_of_dump_are_handled)
{
	try_phase(DUMP);
}

Test(moments, signals_at_each_call_of_drain_are_handled)
{
	try_phase(DRAIN);
}

Test(moments, signals_at_each_call_of_stop_are_handled)
{
	try_phase(STOP);
}

static void ignore_signals(void)
{
	for (size_t i = 0; i < SIGNALS; i++)
		signal(signals[i], SIG_IGN);
}

/* nohup(1) ignores SIGHUP, and a shell SIGINT and SIGQUIT of a job in the background. */
Test(moments, signals_ignored_by_the_parent_are_handled_at_each_call_of_stop)
{
	daemon_prepare = ignore_signals;
	try_phase(STOP);
}

/* Stale files may exist: -s does not trust them, and the daemon starts again. */
static void expect_unhindered(enum phase phase, int stop)
{
	int code = skeld_run("-r", runtime_dir, "-s", "status", NULL);
	if (code != 3 || command_out.size)
		fail_test("killed at moment %d of %s: -s status exits with %d, %s", stop,
			  phase_names[phase], code, command_out.bytes);
	daemon_start(file_text(config_path));
	client_echo(client_unix("local"), "here again\n");
	client_echo(client_connect("main"), "here again\n");
	expect_status("generation", "1");
	if (status_number("pid") != daemon_pid)
		fail_test("the status file is another's: %s", last_value);
	daemon_finish();
}

Test(moments, the_daemon_starts_again_after_a_kill_at_any_call)
{
	if (!trace_allowed())
		cr_skip_test("ptrace is not allowed here");
	const char *given = getenv("SKELD_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	fprintf(stderr, "# kill at any call: SKELD_TEST_SEED=%u\n", seed);
	configure();
	int moments[N_PHASES], code, kills = all() ? ALL_KILLS : KILLS;
	for (enum phase p = LOADING; p < N_PHASES; p++) {
		if (p > START)
			daemon_start(file_text(config_path));
		moments[p] = moment_walk(p, NEVER, SIGKILL, &code);
		if (daemon_pid)
			daemon_finish();
	}
	for (int i = 0; i < kills; i++) {
		enum phase p = (enum phase)(i % N_PHASES);
		int stop = 1 + rand_r(&seed) % moments[p];
		if (p > START)
			daemon_start(file_text(config_path));
		if (moment_walk(p, stop, SIGKILL, &code) < stop && daemon_pid)
			daemon_signal(SIGKILL);
		if (daemon_pid)
			daemon_wait_exit();
		expect_unhindered(p, stop);
	}
}
