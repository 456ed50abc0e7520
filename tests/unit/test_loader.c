/*
 * config/loader: every end of the parser's process gives a result and does not harm this process.
 */
/* build: WRAP cfg_parse_fp */
#include "base/clock.h"
#include "config/loader.h"
#include "fixture.h"
#include "loading.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(loader, .init = fixture_enter, .fini = fixture_leave);

/* Replaces cfg_parse_fp(): the parser first does what the test wants. */
int __real_cfg_parse_fp(cfg_t *cfg, FILE *in);
int __wrap_cfg_parse_fp(cfg_t *cfg, FILE *in);

static void do_nothing(void)
{
}
static void (*happens)(void) = do_nothing;

int __wrap_cfg_parse_fp(cfg_t *cfg, FILE *in)
{
	happens();
	return __real_cfg_parse_fp(cfg, in);
}

static const char good[] = "drain_timeout = 7\n";

static struct loader loader = {"skeld.conf", &thing_schema, .timeout_seconds = ANY_SECONDS};

static void expect_good(void)
{
	struct errors e = {0};
	file_write("skeld.conf", good);
	struct config *c = loader_load(&loader, &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	cr_assert_eq(c->drain_timeout, 7);
	config_unref(c);
}

static void expect_nothing_left(void)
{
	loader_stop(&loader);
	cr_assert(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "a child is left");
	EXPECT_NOTHING_LEFT();
}

static void expect_one_error(const char *error)
{
	struct errors e = {0};
	cr_assert_null(loader_load(&loader, &e));
	cr_assert_eq(e.n, 1);
	cr_assert_eq(strncmp(errors_text(&e, 0), error, strlen(error)), 0, "%s, not %s",
		     errors_text(&e, 0), error);
	errors_clear(&e);
}

/* The load fails with one error and leaves nothing, and the next load succeeds. */
static void expect_refused(void (*what)(void), const char *error)
{
	file_write("skeld.conf", good);
	happens = what;
	expect_one_error(error);
	happens = do_nothing;
	cr_assert(!loader.conclusive, "the result does not depend on the file");
	loader_stop(&loader); /* the loader was forked with this setting */
	expect_good();
	expect_nothing_left();
}

/* Negative control: without a separate process, the parser ends the caller. */
static int status_of_parsing_here(void (*what)(void))
{
	int status = 0;
	file_write("skeld.conf", good);
	pid_t pid = fork();
	if (pid == 0) {
		struct errors e = {0};
		happens = what;
		config_parse("skeld.conf", &thing_schema, &e);
		_exit(0);
	}
	MUST(waitpid(pid, &status, 0) == pid);
	return status;
}

/* libconfuse exits when it gets no memory. */
static void end_with_2(void)
{
	_exit(2); /* it calls exit(3), and the leak sanitizer hangs in a forked process */
}

Test(loader, a_parser_that_exits_rejects_the_file)
{
	int status = status_of_parsing_here(end_with_2);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	expect_refused(end_with_2, "skeld.conf: parser exited with status 2: ");
}

Test(loader, a_parser_that_aborts_rejects_the_file)
{
	int status = status_of_parsing_here(abort);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	expect_refused(abort, "skeld.conf: parser killed by signal 6 ");
}

/* As by the OOM killer. */
static void be_killed(void)
{
	raise(SIGKILL);
}

Test(loader, a_parser_that_is_killed_rejects_the_file)
{
	expect_refused(be_killed, "skeld.conf: parser killed by signal 9 ");
}

static void trickle(void)
{
	for (;;) {
		if (write(STDERR_FILENO + 2, "0", 1) != 1)
			_exit(0);
		poll(NULL, 0, 10);
	}
}

static void expect_half_a_second(void (*what)(void))
{
	loader.timeout_seconds = 0.5;
	file_write("skeld.conf", good);
	happens = what;
	expect_one_error("skeld.conf: configuration not read within 0.5 s");
	happens = do_nothing;
	loader.timeout_seconds = ANY_SECONDS;
}

static void hang(void)
{
	for (;;)
		pause();
}

Test(loader, a_parser_that_hangs_is_ended_after_the_time_limit)
{
	expect_half_a_second(hang);
	expect_good();
	expect_nothing_left();
}

Test(loader, a_parser_that_sends_slowly_is_ended_after_the_time_limit)
{
	expect_half_a_second(trickle);
	expect_nothing_left();
}

/* As PID 1 of a container: orphans become our children. */
Test(loader, the_caller_does_not_wait_for_a_hung_parser)
{
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	expect_half_a_second(hang);
	expect_nothing_left();
}

/* As PID 1: no second loader is started while the orphaned parser has not ended. */
Test(loader, only_one_parser_runs_at_a_time)
{
	pid_t held = fork();
	if (held == 0)
		hang();
	MUST(held > 0 && setpgid(held, held) == 0);
	loader.group = held; /* like a process that cannot be killed */
	file_write("skeld.conf", good);
	expect_one_error("skeld.conf: the previous configuration loader has not ended");
	cr_assert_eq(loader.pid, 0);
	siginfo_t end; /* the loader waits for the process itself */
	MUST(kill(held, SIGKILL) == 0 && waitid(P_PID, (id_t)held, &end, WEXITED | WNOWAIT) == 0);
	expect_good();
	expect_nothing_left();
}

/* This process and the loader were stopped for an hour. */
Test(loader, time_in_which_the_process_was_stopped_does_not_count)
{
	struct errors e = {0};
	file_write("skeld.conf", good);
	cr_assert_eq(loader_request(&loader, &e), 0);
	loader.limit.polled_ns -= INT64_C(3600000000000);
	while (!loader_poll(&loader))
		poll(NULL, 0, 1);
	struct config *c = loader_result(&loader, &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	config_unref(c);
	expect_nothing_left();
}

static void end_without_answer(void)
{
	_exit(0);
}

static void fill_answer_pipe(void)
{
	static const char much[1 << 20];
	_exit(write(STDERR_FILENO + 2, much, sizeof(much)) != sizeof(much));
}

Test(loader, an_incomplete_answer_rejects_the_file)
{
	static const char error[] = "skeld.conf: incomplete answer from the parser";
	expect_refused(end_without_answer, error);
	expect_refused(fill_answer_pipe, error);
}

/* Only the next parser has trouble; the loader and later parsers do not. */
static int once;

static void abort_once(void)
{
	char byte;
	if (read(once, &byte, 1) == 1)
		abort();
}

Test(loader, the_loader_serves_after_its_parser_ended)
{
	int ends[2];
	MUST(pipe(ends) == 0 && write(ends[1], "x", 1) == 1 && close(ends[1]) == 0);
	once = dup2(ends[0], STDIN_FILENO); /* the next parsers keep this setting */
	MUST(once == STDIN_FILENO && close(ends[0]) == 0);
	file_write("skeld.conf", good);
	happens = abort_once;
	expect_one_error("skeld.conf: parser killed by signal 6 ");
	pid_t pid = loader.pid;
	expect_good();
	cr_assert_eq(loader.pid, pid);
	expect_nothing_left();
}

Test(loader, a_killed_loader_is_restarted)
{
	expect_good();
	MUST(kill(loader.pid, SIGKILL) == 0);
	siginfo_t gone;
	MUST(waitid(P_PID, (id_t)loader.pid, &gone, WEXITED | WNOWAIT) == 0);
	expect_good();
	expect_nothing_left();
}

static void kill_the_loader(void)
{
	kill(getppid(), SIGKILL);
	pause();
}

/* The pid may belong to another process by then. */
Test(loader, a_reused_pid_is_not_killed)
{
	expect_good();
	MUST(kill(loader.pid, SIGKILL) == 0 && waitpid(loader.pid, NULL, 0) == loader.pid);
	loader.pid = getppid(); /* which would not survive a SIGKILL */
	loader_stop(&loader);
	expect_nothing_left();
}

Test(loader, a_loader_killed_during_a_load_rejects_the_file)
{
	expect_refused(kill_the_loader, "skeld.conf: the configuration loader does not answer: ");
}

/* Some programs start daemons with SIGCHLD ignored: waitpid(2) then finds no children. */
Test(loader, parsing_works_if_sigchld_is_ignored)
{
	MUST(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	file_write("skeld.conf", good);
	happens = abort;
	expect_one_error("skeld.conf: parser killed by signal 6 ");
	MUST(kill(loader.pid, SIGKILL) == 0);
	while (waitpid(loader.pid, NULL, 0) >= 0)
		;
	happens = do_nothing;
	expect_good();
	expect_nothing_left();
}

static int ours;

/* A signal to the process group does not reach the parser, and it holds no descriptor of the
 * daemon. */
static void check_environment(void)
{
	sigset_t set;
	sigprocmask(SIG_BLOCK, NULL, &set);
	for (int s = 1; s < SIGSYS; s++)
		if (s != SIGKILL && s != SIGSTOP && !sigismember(&set, s))
			_exit(101);
	if (fcntl(ours, F_GETFD) >= 0)
		_exit(102);
}

Test(loader, the_parser_inherits_no_signals_and_no_descriptors)
{
	sigset_t before, after;
	ours = fcntl(STDERR_FILENO, F_DUPFD, 20);
	MUST(ours >= 20 && sigprocmask(SIG_BLOCK, NULL, &before) == 0);
	happens = check_environment;
	expect_good();
	MUST(sigprocmask(SIG_BLOCK, NULL, &after) == 0);
	for (int s = 1; s < SIGSYS; s++)
		cr_assert_eq(sigismember(&before, s), sigismember(&after, s), "%d", s);
	close(ours);
	expect_nothing_left();
}

Test(loader, the_parser_gives_way_to_the_workers)
{
	int own = getpriority(PRIO_PROCESS, 0);
	expect_good();
	cr_assert_eq(sched_getscheduler(loader.pid), SCHED_BATCH);
	cr_assert_eq(getpriority(PRIO_PROCESS, (id_t)loader.pid), own + 10 < 19 ? own + 10 : 19);
	cr_assert_eq(getpriority(PRIO_PROCESS, 0), own, "the daemon keeps its priority");
	expect_nothing_left();
}
