/* The log: its targets, and failures of the targets that never harm the daemon. */
#include "client.h"
#include "observe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

FIXTURE_SUITE(log);

/* Listen on an address that is known without the log. */
#define QUIET                                                                                      \
	"workers = 1\nadmin { address = \"\" }\nlisten \"main\" { address = \"unix:%s/sock\" }\n"
#define TO_FILE BASE "log { target = \"file\" file = \"%s\" }\n"

static void start_quiet(int stderr_fd)
{
	config_write(f, QUIET, f->dir);
	f->stderr_fd = stderr_fd;
	daemon_spawn(f);
	notify_wait(f, "READY=1");
}

/* The daemon serves, reloads and stops with a broken log. */
static void expect_all_well(void)
{
	int client = client_unix(f, "sock");
	client_echo(f, client, "served\n");
	for (int i = 0; i < 100; i++)
		stats_dump(f);
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "ok");
	client_echo(f, client, "served on\n");
	expect_signals_accounted(f);
}

Test(log, every_line_has_time_and_level)
{
	daemon_start(f, BASE);
	stats_dump(f);
	daemon_finish(f);
	const char *line = log_text(f);
	cr_assert(*line);
	for (; *line; line += strcspn(line, "\n") + 1) {
		int ms = -1, at = 0;
		char level[8];
		sscanf(line, "%*4d-%*2d-%*2d %*2d:%*2d:%*2d.%3d %7[a-z]%n", &ms, level, &at);
		cr_assert(at == 24 + (int)strlen(level) && strchr("diwne", *level), "%s", line);
	}
	cr_assert(log_contains(f, " notice  ready: generation=1"), "%s", log_text(f));
	cr_assert(log_contains(f, " info    listening: "), "%s", log_text(f));
}

static void stream_is_the_journal(struct fixture *fixture)
{
	char value[64];
	struct stat st;
	(void)fixture;
	fstat(STDERR_FILENO, &st);
	snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)st.st_dev,
		 (unsigned long)st.st_ino);
	setenv("JOURNAL_STREAM", value, 1);
}

Test(log, the_journal_gets_levels)
{
	f->prepare = stream_is_the_journal;
	daemon_start(f, BASE);
	config_write(f, "nonsense\n");
	daemon_reload_and_wait(f);
	daemon_finish(f);
	cr_assert(log_contains(f, "<5>ready: generation=1"), "%s", log_text(f));
	cr_assert(log_contains(f, "<6>listening: "), "%s", log_text(f));
	cr_assert(log_contains(f, "<3>"), "%s", log_text(f));
	for (const char *line = log_text(f); *line; line += strcspn(line, "\n") + 1)
		cr_assert(line[0] == '<' && line[2] == '>', "%s", line);
}

static void stream_is_another(struct fixture *fixture)
{
	(void)fixture;
	setenv("JOURNAL_STREAM", "1:2", 1);
}

Test(log, another_stream_than_that_of_the_journal_gets_no_levels)
{
	f->prepare = stream_is_another;
	daemon_start(f, BASE);
	daemon_finish(f);
	cr_assert(!log_contains(f, "<5>") && log_contains(f, " notice  ready"), "%s", log_text(f));
}

Test(log, control_characters_of_a_configuration_are_escaped)
{
	daemon_start(f, BASE);
	config_write(f, BASE "log { level = \"a\\x1b[31m\\nERR\" }\n");
	daemon_reload_and_wait(f);
	expect_rejected(f, 1, "skeld.conf:4: ");
	cr_assert(log_contains(f, "a\\x1b[31m\\x0aERR"), "%s", log_text(f));
	cr_assert(!log_contains(f, "\x1b") && !log_contains(f, "\nERR"));
	cr_assert_null(strstr(f->notices.bytes, "\nERR"), "%s", f->notices.bytes);
	status_get(f, "started"); /* no key of the status file was forged or lost */
	daemon_finish(f);
}

static void start_to_file(char path[static 64])
{
	path_in(f, "skeld.log", path);
	config_write(f, TO_FILE, path);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
}

static bool file_contains(const char *path, const char *part)
{
	const char *text = file_text(f, path);
	return text && strstr(text, part);
}

Test(log, sighup_reopens_the_log_file)
{
	char path[64], old[64];
	start_to_file(path);
	MUST(rename(path, path_in(f, "skeld.log.1", old)) == 0);
	stats_dump(f);
	await(f, file_contains(old, "stats signals: received SIGUSR1 1"));
	cr_assert_neq(access(path, F_OK), 0);
	daemon_reload_and_wait(f);
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert(file_contains(old, "SIGHUP from pid"), "%s", file_text(f, old));
	stats_dump(f);
	await(f, file_contains(path, "stats signals: received SIGHUP 1"));
	cr_assert(!file_contains(old, "received SIGHUP 1"));
	daemon_finish(f);
	cr_assert(file_contains(path, "SIGINT from pid"), "%s", file_text(f, path));
}

Test(log, a_reload_changes_the_target)
{
	char path[64];
	daemon_start(f, BASE);
	path_in(f, "skeld.log", path);
	config_write(f, TO_FILE, path);
	daemon_reload_and_wait(f);
	stats_dump(f);
	await(f, file_contains(path, "stats signals: received SIGHUP 1"));
	cr_assert(!log_contains(f, "stats signals: received SIGHUP 1"));
	config_write(f, BASE);
	daemon_reload_and_wait(f);
	stats_dump(f);
	await(f, log_contains(f, "stats signals: received SIGHUP 2"));
	daemon_finish(f);
}

Test(log, a_log_file_that_cannot_be_opened_rejects_the_reload)
{
	char path[64];
	start_to_file(path);
	config_write(f, TO_FILE "drain_timeout = 3\n", "/nonexistent/skeld.log");
	daemon_reload_and_wait(f);
	expect_status(f, "last_reload", "rejected");
	expect_status(f, "generation", "1");
	cr_assert_not_null(strstr(status_get(f, "last_reload_error"), "/nonexistent/skeld.log"));
	cr_assert(file_contains(path, "/nonexistent/skeld.log"), "%s", file_text(f, path));
	cr_assert(!file_contains(path, "drain_timeout: "));
	stats_dump(f);
	await(f, file_contains(path, "stats signals: received SIGHUP 1"));
	daemon_finish(f);
}

/* The directory may belong to the target user: root must not give its own files away. */
Test(log, root_does_not_follow_a_link_to_the_log_file)
{
	if (getuid() != 0)
		cr_skip_test("needs root");
	char path[64], secret[64], binary[4096];
	struct stat st;
	path_in(f, "skeld.log", path);
	file_write(f, path_in(f, "secret", secret), "of root\n", 8);
	snprintf(binary, sizeof(binary), "%s", f->binary);
	fixture_run_as(f, 65534); /* the user owns the directories */
	f->uid = 0;
	fixture_use(f, binary);
	config_write(f, "user = \"nobody\"\n" TO_FILE, path);
	MUST(symlink(secret, path) == 0);
	daemon_spawn(f);
	cr_assert_eq(daemon_wait_exit(f), 1, "%s", log_text(f));
	cr_assert(log_contains(f, "Too many levels of symbolic links"), "%s", log_text(f));
	MUST(unlink(path) == 0 && link(secret, path) == 0);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	MUST(stat(secret, &st) == 0);
	cr_assert_eq(st.st_uid, 0);
	cr_assert(file_contains(path, "cannot change the owner of the log file to uid 65534"), "%s",
		  file_text(f, path));
	daemon_finish(f);
}

Test(log, a_full_disk_loses_counted_lines_only)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	MUST(full >= 0);
	start_quiet(full);
	expect_all_well();
	cr_assert_gt(stats_value(f, "skeld_log_lines_lost_total"), 100);
	daemon_finish(f);
	close(full);
}

Test(log, a_closed_pipe_does_not_end_the_daemon)
{
	int ends[2];
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	close(ends[0]);
	start_quiet(ends[1]);
	close(ends[1]);
	expect_all_well();
	daemon_finish(f);
}

Test(log, a_full_pipe_blocks_nothing)
{
	int ends[2];
	char bytes[8192];
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	MUST(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
	start_quiet(ends[1]);
	expect_all_well();
	double lost = stats_value(f, "skeld_log_lines_lost_total");
	cr_assert_gt(lost, 100);
	/* The reader finally gets the number of lost lines. */
	MUST(read(ends[0], bytes, sizeof(bytes)) > 0);
	daemon_signal(f, SIGUSR1);
	int64_t until = deadline();
	ssize_t n = 0;
	for (size_t have = 0; have < sizeof(bytes) - 1; have += (size_t)n) {
		await_fd(f, ends[0], POLLIN, until, "what is logged then");
		n = read(ends[0], bytes + have, sizeof(bytes) - 1 - have);
		MUST(n > 0);
		bytes[have + (size_t)n] = '\0';
		if (strstr(bytes, "log lines lost: "))
			break;
	}
	close(ends[1]);
	daemon_finish(f);
	close(ends[0]);
}

Test(log, a_full_socket_blocks_nothing)
{
	int ends[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	int small = 4096;
	MUST(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
	start_quiet(ends[1]);
	expect_all_well();
	close(ends[1]);
	daemon_finish(f);
	close(ends[0]);
}

static void limit_file_size(struct fixture *fixture)
{
	const struct rlimit most = {65536, 65536};
	(void)fixture;
	setrlimit(RLIMIT_FSIZE, &most);
}

Test(log, a_log_file_at_its_size_limit_does_not_end_the_daemon)
{
	char path[64], *big = calloc(1, 65500);
	MUST(big);
	f->prepare = limit_file_size;
	file_write(f, path_in(f, "skeld.log", path), big, 65500);
	free(big);
	config_write(f, QUIET "log { target = \"file\" file = \"%s\" }\n", f->dir, path);
	daemon_spawn(f);
	notify_wait(f, "READY=1");
	expect_all_well();
	daemon_finish(f);
}
