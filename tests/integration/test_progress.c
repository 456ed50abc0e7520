/* skeld -s on a terminal shows what it waits for, in one line. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int terminal = -1;
static struct text output; /* all that the command has written to the terminal */

DAEMON_SUITE(progress);

/* Start skeld -s COMMAND, with a pseudoterminal as its standard output and standard error. */
static pid_t start_on_terminal(const char *command)
{
	terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	MUST(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
	int end = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
	MUST(end >= 0);
	pid_t pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		if (dup2(end, STDOUT_FILENO) >= 0 && dup2(end, STDERR_FILENO) >= 0)
			execl(daemon_binary, daemon_binary, "-r", runtime_dir, "-s", command, NULL);
		_exit(99);
	}
	close(end);
	return pid;
}

static const char *read_terminal(void)
{
	char bytes[1024];
	for (ssize_t n; (n = read(terminal, bytes, sizeof(bytes))) > 0;)
		text_append(&output, bytes, (size_t)n);
	return output.bytes ? output.bytes : "";
}

/* The final content of the terminal: each line, without blanks at its end. */
static const char *screen(void)
{
	static char shown[4096];
	size_t line = 0, column = 0, end = 0;
	memset(shown, 0, sizeof(shown));
	for (const char *c = read_terminal(); *c && line + column < sizeof(shown) - 1; c++) {
		if (*c == '\r') {
			column = 0;
		} else if (*c == '\n') {
			while (end > line && shown[end - 1] == ' ')
				end--;
			shown[end++] = '\n';
			line = end;
			column = 0;
		} else {
			shown[line + column++] = *c;
			end = line + column > end ? line + column : end;
		}
	}
	while (end > line && shown[end - 1] == ' ')
		end--;
	shown[end] = '\0';
	return shown;
}

static bool shows(const char *text)
{
	return strstr(read_terminal(), text) != NULL;
}

/* In the last complete line of progress. */
static long seconds_left(void)
{
	static const char before[] = "connection open, ";
	long seconds = -1;
	for (const char *c = read_terminal(); (c = strstr(c, before)); c++)
		if (strstr(c, " s left"))
			seconds = strtol(c + strlen(before), NULL, 10);
	return seconds;
}

static int exit_code(pid_t command)
{
	int status;
	MUST(waitpid(command, &status, 0) == command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* "stopped: pid 1234", then AFTER. */
static const char *outcome(const char *before, const char *after)
{
	static char line[128];
	snprintf(line, sizeof(line), "%s: pid %d%s\n", before, (int)daemon_pid, after);
	return line;
}

Test(progress, stop_on_a_terminal_shows_state_connections_and_seconds_until_the_outcome)
{
	config_write(BASE LISTEN_BUSY "limits { buffer = 1M }\ndrain_timeout = 3600\n", test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_connect_busy();
	pid_t command = start_on_terminal("stop");
	AWAIT(shows(": draining, 1 connection open, 3") && shows(" s left"));
	long left = seconds_left();
	AWAIT(seconds_left() < left);
	cr_assert(!strchr(read_terminal(), '\n'), "%s", output.bytes);
	client_close(client);
	cr_assert_eq(exit_code(command), 0, "%s", read_terminal());
	cr_assert_str_eq(screen(), outcome("stopped", ""));
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(progress, a_lame_duck_is_shown_until_a_second_signal_ends_it)
{
	daemon_start(BASE "lame_duck = 3600\n");
	pid_t command = start_on_terminal("stop");
	AWAIT(shows(": lame_duck, 0 connections open, 3") && shows(" s left"));
	daemon_signal(SIGTERM);
	cr_assert_eq(exit_code(command), 0, "%s", read_terminal());
	cr_assert_str_eq(screen(), outcome("stopped", ""));
	cr_assert_eq(daemon_wait_exit(), 1);
}

Test(progress, reload_on_a_terminal_shows_the_time_until_it_gives_up)
{
	daemon_start(BASE);
	MUST(kill(loader_pid(), SIGSTOP) == 0);
	pid_t command = start_on_terminal("reload");
	AWAIT(shows(": reloading, giving up in 2"));
	MUST(kill(loader_pid(), SIGCONT) == 0);
	cr_assert_eq(exit_code(command), 0, "%s", read_terminal());
	cr_assert_str_eq(screen(), outcome("reloaded", " serves generation 2"));
	daemon_finish();
}

Test(progress, a_rejected_reload_on_a_terminal_leaves_only_the_errors)
{
	daemon_start(BASE);
	config_write("workers = many\n");
	cr_assert_eq(exit_code(start_on_terminal("reload")), 78, "%s", read_terminal());
	cr_assert(strstr(screen(), "skeld.conf:1: workers = \"many\": expected "), "%s", screen());
	cr_assert(!strstr(screen(), "giving up"), "%s", screen());
	daemon_finish();
}

Test(progress, in_a_pipe_only_the_outcome_is_printed)
{
	daemon_start(BASE "lame_duck = 1\n");
	cr_assert_eq(skeld_run("-r", runtime_dir, "-s", "stop", NULL), 0);
	cr_assert_str_eq(command_out.bytes, outcome("stopped", ""));
	cr_assert_eq(command_err.size, 0, "%s", command_err.bytes);
	cr_assert_eq(daemon_wait_exit(), 0);
}

Test(progress, the_status_file_counts_the_seconds_of_a_stop)
{
	daemon_start(BASE "lame_duck = 3600\n");
	MUST(text_read(&output, "run/status"));
	cr_assert(!strstr(output.bytes, "seconds_left="), "%s", output.bytes);
	daemon_signal(SIGTERM);
	AWAIT(strcmp(status_get("state"), "lame_duck") == 0);
	AWAIT(strtol(status_get("seconds_left"), NULL, 10) < 3600);
	expect_status("connections", "0");
	daemon_signal(SIGTERM);
	cr_assert_eq(daemon_wait_exit(), 1);
}
