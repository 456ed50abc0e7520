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
DAEMON_SUITE(terminal, open_terminal());

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

static void in_foreground(void)
{
	take_terminal();
}

static void under_nohup(void)
{
	in_foreground();
	signal(SIGHUP, SIG_IGN);
}

/* A shell with `stty tostop`, and the daemon as its background job. */
static void in_background(void)
{
	struct termios t;
	int status;
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
	daemon_prepare = in_foreground;
	daemon_start(BASE);
	close(terminal_end);
	close(terminal);
	notify_wait("STOPPING=1");
	cr_assert_eq(daemon_wait_exit(), 0, "%s", log_text());
	cr_assert(log_contains("SIGHUP from the terminal: drain and stop"), "%s", log_text());
	cr_assert(!strstr(notices.bytes, "RELOADING=1"));
}

Test(terminal, vanished_terminal_during_a_reload_drains)
{
	daemon_prepare = in_foreground;
	daemon_start(BASE);
	MUST(kill(loader_pid(), SIGSTOP) == 0);
	daemon_signal(SIGHUP);
	notify_wait("RELOADING=1");
	close(terminal_end);
	close(terminal);
	cr_assert_eq(daemon_wait_exit(), 0, "%s", log_text());
}

Test(terminal, sighup_of_a_process_reloads_in_the_foreground_of_a_terminal)
{
	daemon_prepare = in_foreground;
	daemon_start(BASE);
	daemon_reload_and_wait();
	daemon_finish();
}

Test(terminal, nohup_outlives_its_terminal)
{
	daemon_prepare = under_nohup;
	daemon_start(BASE);
	close(terminal_end);
	close(terminal);
	AWAIT(log_contains("SIGHUP from the terminal: ignored"));
	client_echo(client_connect("main"), "still here\n");
	daemon_reload_and_wait();
	daemon_finish();
}

Test(terminal, background_job_may_write_to_a_terminal_with_tostop)
{
	daemon_prepare = in_background;
	daemon_stderr = terminal_end;
	config_write("%s", BASE);
	daemon_spawn();
	notify_wait("READY=1");
	daemon_prepare = NULL;
	MUST(kill((pid_t)status_number("pid"), SIGTTOU) == 0); /* the log writer blocks its own */
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "stop", NULL), 0, "%s", command_err.bytes);
	cr_assert_eq(daemon_wait_exit(), 0);
}
