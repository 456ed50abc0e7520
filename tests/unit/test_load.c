/* base/load: whatever becomes of the process that parses, this one has a result, and lives. */
#include "base/clock.h"
#include "base/load.h"
#include "fixture.h"
#include "loading.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(load, .init = fixture_enter, .fini = fixture_leave);

/* libconfuse, but for what happens to it; see CMakeLists.txt. */
int __real_cfg_parse_fp(cfg_t *cfg, FILE *in);
int __wrap_cfg_parse_fp(cfg_t *cfg, FILE *in);

static void nothing(void)
{
}
static void (*happens)(void) = nothing;

int __wrap_cfg_parse_fp(cfg_t *cfg, FILE *in)
{
	happens();
	return __real_cfg_parse_fp(cfg, in);
}

static const char good[] = "drain_timeout = 7\n";

static struct loader loader = {"skeld.conf", &thing_schema, .seconds = LOAD_SECONDS};

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
	loader_end(&loader);
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

/* It is refused with one error, nothing is left of it, and the next one loads. */
static void expect_refused(void (*what)(void), const char *error)
{
	file_write("skeld.conf", good);
	happens = what;
	expect_one_error(error);
	happens = nothing;
	cr_assert(!loader.judged, "nothing is known of the file");
	loader_end(&loader); /* it was made when this was to happen */
	expect_good();
	expect_nothing_left();
}

/* The control: without a child of its own, the one who loads is who ends. */
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

/* What libconfuse does when it is refused memory. */
static void end_with_2(void)
{
	_exit(2); /* it calls exit(3), from which the leak sanitizer has no way in a copy of us */
}

Test(load, a_parser_that_exits)
{
	int status = status_of_parsing_here(end_with_2);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 2);
	expect_refused(end_with_2,
		       "skeld.conf: cannot be parsed: its parser ended with exit code 2: ");
}

Test(load, a_parser_that_aborts)
{
	int status = status_of_parsing_here(abort);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	expect_refused(abort, "skeld.conf: cannot be parsed: its parser was ended by signal 6 ");
}

/* As by the kernel, when memory is short. */
static void be_killed(void)
{
	raise(SIGKILL);
}

Test(load, a_parser_that_is_killed)
{
	expect_refused(be_killed,
		       "skeld.conf: cannot be parsed: its parser was ended by signal 9 ");
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
	loader.seconds = 0.5;
	file_write("skeld.conf", good);
	happens = what;
	expect_one_error("skeld.conf: cannot be read within 0.5 s");
	happens = nothing;
	loader.seconds = LOAD_SECONDS;
}

static void hang(void)
{
	for (;;)
		pause();
}

Test(load, a_parser_that_hangs)
{
	expect_half_a_second(hang);
	expect_good();
	expect_nothing_left();
}

Test(load, a_parser_that_says_a_little_for_ever)
{
	expect_half_a_second(trickle);
	expect_nothing_left();
}

/* As PID 1 of a container has it: whoever loses its parent becomes our child. */
Test(load, nobody_else_waits_for_what_is_left)
{
	MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	expect_half_a_second(hang);
	expect_nothing_left();
}

/* As PID 1, again: while what is left has not ended no other one is started beside it. */
Test(load, one_at_a_time)
{
	pid_t held = fork();
	if (held == 0)
		hang();
	MUST(held > 0 && setpgid(held, held) == 0);
	loader.group = held; /* as one that cannot be ended */
	file_write("skeld.conf", good);
	expect_one_error("skeld.conf: cannot be read: who was to read it before has not ended yet");
	cr_assert_eq(loader.pid, 0);
	MUST(kill(held, SIGKILL) == 0);
	expect_good();
	expect_nothing_left();
}

/* We were stopped for an hour, and so was it. */
Test(load, the_time_in_which_nobody_ran_does_not_count)
{
	struct errors e = {0};
	file_write("skeld.conf", good);
	cr_assert_eq(loader_ask(&loader, &e), 0);
	loader.looked -= INT64_C(3600000000000);
	while (!loader_look(&loader))
		poll(NULL, 0, 1);
	struct config *c = loader_take(&loader, &e);
	cr_assert(c, "%s", errors_text(&e, 0));
	config_unref(c);
	expect_nothing_left();
}

static void say_nothing(void)
{
	_exit(0);
}

static void fill_its_pipe(void)
{
	static const char much[1 << 20];
	_exit(write(STDERR_FILENO + 2, much, sizeof(much)) != sizeof(much));
}

Test(load, a_parser_that_does_not_say_all)
{
	static const char error[] = "skeld.conf: cannot be parsed: the answer of its parser is ";
	expect_refused(say_nothing, error);
	expect_refused(fill_its_pipe, error);
}

/* Once, in the loader that is there, whose next child has no trouble. */
static int once;

static void abort_once(void)
{
	char byte;
	if (read(once, &byte, 1) == 1)
		abort();
}

Test(load, a_loader_outlives_its_children)
{
	int ends[2];
	MUST(pipe(ends) == 0 && write(ends[1], "x", 1) == 1 && close(ends[1]) == 0);
	once = dup2(ends[0], STDIN_FILENO); /* which they keep */
	MUST(once == STDIN_FILENO && close(ends[0]) == 0);
	file_write("skeld.conf", good);
	happens = abort_once;
	expect_one_error("skeld.conf: cannot be parsed: its parser was ended by signal 6 ");
	pid_t pid = loader.pid;
	expect_good();
	cr_assert_eq(loader.pid, pid);
	expect_nothing_left();
}

Test(load, a_loader_that_is_killed)
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

/* Its number may be anybody's by then. */
Test(load, what_is_gone_is_not_killed)
{
	expect_good();
	MUST(kill(loader.pid, SIGKILL) == 0 && waitpid(loader.pid, NULL, 0) == loader.pid);
	loader.pid = getppid(); /* who would not survive it */
	loader_end(&loader);
	expect_nothing_left();
}

Test(load, a_loader_that_is_killed_meanwhile)
{
	expect_refused(kill_the_loader,
		       "skeld.conf: cannot be read: no answer of the process that reads it: ");
}

/* Whoever has SIGCHLD ignored, as some who start daemons do, has nobody to wait for. */
Test(load, children_that_nobody_waits_for)
{
	MUST(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	file_write("skeld.conf", good);
	happens = abort;
	expect_one_error("skeld.conf: cannot be parsed: its parser was ended by signal 6 ");
	MUST(kill(loader.pid, SIGKILL) == 0);
	while (waitpid(loader.pid, NULL, 0) >= 0)
		;
	happens = nothing;
	expect_good();
	expect_nothing_left();
}

static int ours;

/* A signal for the whole group is for the daemon, and what the daemon closes is closed. */
static void look_around(void)
{
	sigset_t set;
	sigprocmask(SIG_BLOCK, NULL, &set);
	for (int s = 1; s < SIGSYS; s++)
		if (s != SIGKILL && s != SIGSTOP && !sigismember(&set, s))
			_exit(101);
	if (fcntl(ours, F_GETFD) >= 0)
		_exit(102);
}

Test(load, the_child_has_no_signals_and_no_descriptors)
{
	sigset_t before, after;
	ours = fcntl(STDERR_FILENO, F_DUPFD, 20);
	MUST(ours >= 20 && sigprocmask(SIG_BLOCK, NULL, &before) == 0);
	happens = look_around;
	expect_good();
	MUST(sigprocmask(SIG_BLOCK, NULL, &after) == 0);
	for (int s = 1; s < SIGSYS; s++)
		cr_assert_eq(sigismember(&before, s), sigismember(&after, s), "%d", s);
	close(ours);
	expect_nothing_left();
}
