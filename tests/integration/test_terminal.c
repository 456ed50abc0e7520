/* The daemon in the foreground or background of a terminal. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int terminal = -1, terminal_end = -1;

static void open_terminal(void);
FIXTURE_SUITE(terminal, open_terminal());

/* A pseudoterminal: the daemon gets TERMINAL_END, and closing TERMINAL hangs it up. */
static void open_terminal(void)
{
	terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	MUST(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
	terminal_end = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
	MUST(terminal_end >= 0);
}

static void take_terminal(void)
{
	if (setsid() < 0 || ioctl(terminal_end, TIOCSCTTY, 0) < 0)
		_exit(99);
}

static void in_foreground(struct fixture *fixture)
{
	(void)fixture;
	take_terminal();
}

static void under_nohup(struct fixture *fixture)
{
	in_foreground(fixture);
	signal(SIGHUP, SIG_IGN);
}

/* A shell with `stty tostop`, and the daemon as its background job. */
static void in_background(struct fixture *fixture)
{
	struct termios t;
	int status;
	(void)fixture;
	take_terminal();
	if (tcgetattr(terminal_end, &t) < 0)
		_exit(99);
	t.c_lflag |= TOSTOP;
	if (tcsetattr(terminal_end, TCSANOW, &t) < 0)
		_exit(99);
	pid_t job = fork();
	if (job == 0) {
		setpgid(0, 0);
		return;
	}
	setpgid(job, job);
	if (waitpid(job, &status, WUNTRACED) != job || WIFSTOPPED(status))
		_exit(98);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 97);
}

Test(terminal, vanished_terminal_drains)
{
	f->prepare = in_foreground;
	daemon_start(f, BASE);
	close(terminal_end);
	close(terminal);
	notify_wait(f, "STOPPING=1");
	cr_assert_eq(daemon_wait_exit(f), 0, "%s", log_text(f));
	cr_assert(log_contains(f, "SIGHUP from the terminal: drain and stop"), "%s", log_text(f));
	cr_assert(!strstr(f->notices.bytes, "RELOADING=1"));
}

Test(terminal, vanished_terminal_during_a_reload_drains)
{
	f->prepare = in_foreground;
	daemon_start(f, BASE);
	MUST(kill(loader_pid(f), SIGSTOP) == 0);
	daemon_signal(f, SIGHUP);
	notify_wait(f, "RELOADING=1");
	close(terminal_end);
	close(terminal);
	cr_assert_eq(daemon_wait_exit(f), 0, "%s", log_text(f));
}

Test(terminal, sighup_of_a_process_reloads_in_the_foreground_of_a_terminal)
{
	f->prepare = in_foreground;
	daemon_start(f, BASE);
	daemon_reload_and_wait(f);
	daemon_finish(f);
}

Test(terminal, nohup_outlives_its_terminal)
{
	f->prepare = under_nohup;
	daemon_start(f, BASE);
	close(terminal_end);
	close(terminal);
	await(f, log_contains(f, "SIGHUP from the terminal: ignored"));
	client_echo(f, client_connect(f, "main"), "still here\n");
	daemon_reload_and_wait(f);
	daemon_finish(f);
}

Test(terminal, background_job_may_write_to_a_terminal_with_tostop)
{
	f->prepare = in_background;
	f->stderr_fd = terminal_end;
	config_write(f, "%s", BASE);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	f->prepare = NULL;
	cr_assert_eq(skeld_run(f, "-r", f->runtime, "-s", "stop", NULL), 0, "%s", f->err.bytes);
	cr_assert_eq(daemon_wait_exit(f), 0);
}
