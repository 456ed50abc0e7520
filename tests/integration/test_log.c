/* The log: its targets, and failures of the targets that never harm the daemon. */
/* build: SOURCES ../support/sandbox.c */
#include "client.h"
#include "observe.h"
#include "sandbox.h"

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

DAEMON_SUITE(log);

/* Listen on an address that is known without the log. */
#define QUIET                                                                                      \
	"workers = 1\nadmin { address = \"\" }\nlisten \"main\" { address = \"unix:%s/sock\" }\n"
#define TO_FILE BASE "log { target = \"file\" file = \"%s\" }\n"

static void start_quiet(int stderr_fd)
{
	config_write(QUIET, test_dir);
	daemon_stderr = stderr_fd;
	daemon_spawn();
	notify_wait("READY=1");
}

/* The daemon serves, reloads and stops with a broken log. */
static void expect_daemon_works(int dumps)
{
	int client = client_unix("sock");
	client_echo(client, "served\n");
	for (int i = 0; i < dumps; i++)
		stats_dump();
	daemon_reload_and_wait();
	expect_status("last_reload", "ok");
	client_echo(client, "served on\n");
	expect_signals_accounted();
}

Test(log, every_line_has_time_and_level)
{
	daemon_start(BASE);
	stats_dump();
	daemon_finish();
	const char *line = log_text();
	cr_assert(*line);
	for (; *line; line += strcspn(line, "\n") + 1) {
		int ms = -1, at = 0;
		char level[8];
		sscanf(line, "%*4d-%*2d-%*2d %*2d:%*2d:%*2d.%3d%*1[-+]%*2d:%*2d %7[a-z]%n", &ms,
		       level, &at);
		cr_assert(at == 30 + (int)strlen(level) && strchr("diwne", *level), "%s", line);
	}
	cr_assert(log_contains(" notice  ready: generation=1"), "%s", log_text());
	cr_assert(log_contains(" info    listening: "), "%s", log_text());
}

/* Wait for a message with FIELD. A dot replaces each NUL, which the length of a value has. */
static const char *await_message(int journal, const char *field)
{
	static char bytes[65536];
	do {
		await_fd(journal, POLLIN, deadline(), field);
		ssize_t n = recv(journal, bytes, sizeof(bytes) - 1, 0);
		MUST(n > 0);
		for (ssize_t i = 0; i < n; i++)
			bytes[i] = (char)(bytes[i] ? bytes[i] : '.');
		bytes[n] = '\0';
	} while (!strstr(bytes, field));
	return bytes;
}

static void expect_part(const char *message, const char *part)
{
	cr_assert(strstr(message, part), "no %s in %s", part, message);
}

Test(log, a_quiet_life_logs_its_milestones_and_nothing_else)
{
	static const char *const milestones[] = {
		" notice  starting: ",	 " info    listening: ", " notice  ready: ",
		" notice  SIGHUP from ", " reloaded: ",		 " notice  SIGTERM from ",
		" notice  draining: ",	 " notice  drained: ",	 " notice  stats ",
		" notice  stopped: "};
	enum { N = sizeof(milestones) / sizeof(*milestones) };
	size_t n = 0;
	daemon_start(BASE);
	daemon_reload_and_wait();
	cr_assert_eq(daemon_stop(SIGTERM), 0);
	char copy[strlen(log_text()) + 1], *rest = strcpy(copy, log_text());
	for (char *line; (line = strsep(&rest, "\n")) && *line;) {
		if (strstr(line, " responding")) /* a slow machine: the health of the worker */
			continue;
		n -= n && strstr(line, " stats ") && strstr(milestones[n - 1], " stats ");
		cr_assert(n < N && strstr(line, milestones[n]), "milestone %zu: %s", n, line);
		n++;
	}
	cr_assert_eq(n, N);
}

Test(log, the_journal_gets_fields)
{
	if (!sandbox_can_mount())
		cr_skip_test("a mount namespace is not allowed here");
	int journal = sandbox_open_journal();
	daemon_prepare = sandbox_journal;
	daemon_start(BASE "log { level = \"debug\" }\n");
	const char *message = await_message(journal, "\nMESSAGE=ready: ");
	expect_part(message, "PRIORITY=5\n");
	expect_part(message, "\nSKELD_GENERATION\n\x01.......1\n");
	cr_assert(log_contains("<6>listening: "), "%s", log_text());
	client_echo(client_connect("main"), "hello\n");
	message = await_message(journal, "\x08.......accepted\n");
	expect_part(message, "\nSKELD_PEER\n");
	expect_part(message, "\nSKELD_LISTENER\n\x04.......main\n");
	config_write("nonsense\n");
	daemon_reload_and_wait();
	message = await_message(journal, "SKELD_EVENT\n\x0c.......reload_error\n");
	expect_part(message, "PRIORITY=3\n");
	expect_part(message, "\nSKELD_LINE\n\x01.......1\n");
	daemon_signal(SIGTERM);
	await_message(journal, "\nMESSAGE=stopped: ");
	cr_assert_eq(daemon_wait_exit(), 0);
	cr_assert(!log_contains("ready") && !log_contains("stopped"), "%s", log_text());
	close(journal);
}

Test(log, lines_have_levels_while_the_journal_takes_no_messages)
{
	if (!sandbox_can_mount())
		cr_skip_test("a mount namespace is not allowed here");
	daemon_prepare = sandbox_journal;
	daemon_start(BASE);
	config_write("nonsense\n");
	daemon_reload_and_wait();
	daemon_finish();
	cr_assert(log_contains("<5>ready: generation=1"), "%s", log_text());
	cr_assert(log_contains("<6>listening: "), "%s", log_text());
	cr_assert(log_contains("<3>"), "%s", log_text());
	for (const char *line = log_text(); *line; line += strcspn(line, "\n") + 1)
		cr_assert(line[0] == '<' && line[2] == '>', "%s", line);
}

static void stream_is_another(void)
{
	setenv("JOURNAL_STREAM", "1:2", 1);
}

Test(log, a_stream_other_than_that_of_the_journal_gets_no_levels)
{
	daemon_prepare = stream_is_another;
	daemon_start(BASE);
	daemon_finish();
	cr_assert(!log_contains("<5>") && log_contains(" notice  ready"), "%s", log_text());
}

Test(log, control_characters_of_a_configuration_are_escaped)
{
	daemon_start(BASE);
	config_write(BASE "log { level = \"a\\x1b[31m\\nERR\" }\n");
	daemon_reload_and_wait();
	expect_rejected(1, "skeld.conf:4: ");
	cr_assert(log_contains("a\\x1b[31m\\x0aERR"), "%s", log_text());
	cr_assert(!log_contains("\x1b") && !log_contains("\nERR"));
	cr_assert_null(strstr(notices.bytes, "\nERR"), "%s", notices.bytes);
	status_get("started"); /* no key of the status file was forged or lost */
	daemon_finish();
}

static void start_to_file(char path[static 64])
{
	path_in("skeld.log", path);
	config_write(TO_FILE, path);
	daemon_spawn();
	notify_wait("READY=1");
}

static bool file_contains(const char *path, const char *part)
{
	await_log_writer();
	const char *text = file_text(path);
	return text && strstr(text, part);
}

Test(log, sighup_reopens_the_log_file)
{
	char path[64], old[64];
	start_to_file(path);
	MUST(rename(path, path_in("skeld.log.1", old)) == 0);
	stats_dump();
	AWAIT(file_contains(old, "stats signals: received_sigusr1=1"));
	cr_assert_neq(access(path, F_OK), 0);
	daemon_reload_and_wait();
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert(file_contains(old, "SIGHUP from pid"), "%s", file_text(old));
	stats_dump();
	AWAIT(file_contains(path, "stats signals: received_sighup=1"));
	cr_assert(!file_contains(old, "received_sighup=1"));
	daemon_finish();
	cr_assert(file_contains(path, "SIGINT from pid"), "%s", file_text(path));
}

Test(log, a_reload_changes_the_target)
{
	char path[64];
	daemon_start(BASE);
	path_in("skeld.log", path);
	config_write(TO_FILE, path);
	daemon_reload_and_wait();
	stats_dump();
	AWAIT(file_contains(path, "stats signals: received_sighup=1"));
	cr_assert(!log_contains("stats signals: received_sighup=1"));
	config_write(BASE);
	daemon_reload_and_wait();
	stats_dump();
	AWAIT(log_contains("stats signals: received_sighup=2"));
	daemon_finish();
}

Test(log, a_log_file_that_cannot_be_opened_rejects_the_reload)
{
	char path[64];
	start_to_file(path);
	config_write(TO_FILE "drain_timeout = 3\n", "/nonexistent/skeld.log");
	daemon_reload_and_wait();
	expect_status("last_reload", "rejected");
	expect_status("generation", "1");
	cr_assert_not_null(strstr(status_get("last_reload_error"), "/nonexistent/skeld.log"));
	cr_assert(file_contains(path, "/nonexistent/skeld.log"), "%s", file_text(path));
	cr_assert(!file_contains(path, "drain_timeout: "));
	stats_dump();
	AWAIT(file_contains(path, "stats signals: received_sighup=1"));
	daemon_finish();
}

/* The directory may belong to the target user: root must not give its own files away. */
Test(log, root_does_not_follow_a_link_to_the_log_file)
{
	if (getuid() != 0)
		cr_skip_test("needs root");
	char path[64], secret[64], binary[4096];
	struct stat st;
	path_in("skeld.log", path);
	file_write_bytes(path_in("secret", secret), "of root\n", 8);
	snprintf(binary, sizeof(binary), "%s", daemon_binary);
	daemon_run_as(65534); /* the user owns the directories */
	daemon_uid = 0;
	daemon_use(binary);
	config_write("user = \"nobody\"\n" TO_FILE, path);
	MUST(symlink(secret, path) == 0);
	daemon_spawn();
	cr_assert_eq(daemon_wait_exit(), 1, "%s", log_text());
	cr_assert(log_contains("Too many levels of symbolic links"), "%s", log_text());
	MUST(unlink(path) == 0 && link(secret, path) == 0);
	daemon_spawn();
	notify_wait("READY=1");
	MUST(stat(secret, &st) == 0);
	cr_assert_eq(st.st_uid, 0);
	cr_assert(file_contains(path, "cannot change the owner of the log file to uid 65534"), "%s",
		  file_text(path));
	daemon_finish();
}

Test(log, a_full_disk_loses_counted_lines_only)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	MUST(full >= 0);
	start_quiet(full);
	expect_daemon_works(100);
	cr_assert_gt(stats_value("skeld_log_lost_total"), 100);
	daemon_finish();
	close(full);
}

Test(log, a_closed_pipe_does_not_end_the_daemon)
{
	int ends[2];
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	close(ends[0]);
	start_quiet(ends[1]);
	close(ends[1]);
	expect_daemon_works(100);
	daemon_finish();
}

Test(log, a_full_pipe_blocks_nothing)
{
	int ends[2];
	char bytes[8192];
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	MUST(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
	start_quiet(ends[1]);
	expect_daemon_works(2000); /* more than the queue of the log holds */
	double lost = stats_value("skeld_log_lost_total");
	cr_assert_gt(lost, 100);
	/* The reader finally gets the number of lost lines. */
	MUST(read(ends[0], bytes, sizeof(bytes)) > 0);
	daemon_signal(SIGUSR1);
	int64_t until = deadline();
	ssize_t n = 0;
	for (size_t have = 0; have < sizeof(bytes) - 1; have += (size_t)n) {
		await_fd(ends[0], POLLIN, until, "what is logged then");
		n = read(ends[0], bytes + have, sizeof(bytes) - 1 - have);
		MUST(n > 0);
		bytes[have + (size_t)n] = '\0';
		if (strstr(bytes, "log lines lost: "))
			break;
	}
	close(ends[1]);
	daemon_finish();
	close(ends[0]);
}

Test(log, a_full_socket_blocks_nothing)
{
	int ends[2];
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	int small = 4096;
	MUST(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
	start_quiet(ends[1]);
	expect_daemon_works(100);
	close(ends[1]);
	daemon_finish();
	close(ends[0]);
}

static void limit_file_size(void)
{
	const struct rlimit most = {65536, 65536};
	setrlimit(RLIMIT_FSIZE, &most);
}

Test(log, a_log_file_at_its_size_limit_does_not_end_the_daemon)
{
	char path[64], *big = calloc(1, 65500);
	MUST(big);
	daemon_prepare = limit_file_size;
	file_write_bytes(path_in("skeld.log", path), big, 65500);
	free(big);
	config_write(QUIET "log { target = \"file\" file = \"%s\" }\n", test_dir, path);
	daemon_spawn();
	notify_wait("READY=1");
	expect_daemon_works(100);
	daemon_finish();
}

#define JSON                                                                                       \
	"workers = 1\nadmin { address = \"\" }\nlog { format = \"json\" level = \"debug\" }\n"     \
	"listen \"main\" { address = \"unix:%s/sock\" }\n"                                         \
	"listen \"proxied\" { address = \"unix:%s/proxied\" proxy = true }\n"

/* Run jq(1) with PROGRAM on the log of the daemon, as one array. Its output is the reason. */
static void expect_jq(const char *program)
{
	char log[64], command[1024];
	file_write_bytes(path_in("log.json", log), log_text(), strlen(log_text()));
	snprintf(command, sizeof(command), "jq -es '%s' %s >/dev/null", program, log);
	int status = system(command);
	cr_assert_eq(status, 0, "%s\n%s", program, log_text());
}

static void make_every_kind_of_event(void)
{
	int client = client_unix("sock");
	client_echo(client, "hello\n");
	stats_dump();
	config_write(JSON "drain_timeout = 3\n", test_dir, test_dir);
	daemon_reload_and_wait();
	config_write(JSON "drain_timeout = \"\\xff \\\"\\n\"\nnonsense\n", test_dir, test_dir);
	daemon_reload_and_wait();
	daemon_signal(SIGUSR2);
	daemon_signal(SIGUSR2);
	client_close(client);
}

Test(log, every_line_in_json_is_an_object_that_jq_reads)
{
	if (system("jq --version >/dev/null 2>&1") != 0)
		cr_skip_test("jq is not installed");
	config_write(JSON, test_dir, test_dir);
	daemon_spawn();
	notify_wait("READY=1");
	int client = client_unix("proxied");
	client_send(client, "no PROXY header, \"quoted\"\r\n\r\n");
	client_expect_eof(client);
	make_every_kind_of_event();
	daemon_finish();
	expect_jq("length > 20 and all(.[]; type == \"object\" and (.message | type == \"string\") "
		  "and (.level | IN(\"debug\", \"info\", \"notice\", \"warning\", \"error\")) "
		  "and (.event | test(\"^[a-z][a-z0-9_]*$\")) "
		  "and (.time | test(\"^[0-9-]{10}T[0-9:]{8}[.][0-9]{3}[+-][0-9:]{5}$\")) "
		  "and all(keys[]; test(\"^[a-z][a-z0-9_]*$\")) "
		  "and all(.[]; type == \"string\" or type == \"number\"))");
	expect_jq("any(.event == \"listening\" and .listener == \"main\" and "
		  "(.address | startswith(\"unix:\")))");
	expect_jq("any(.event == \"ready\" and .generation == 1 and .workers == 1)");
	expect_jq("any(.event == \"closed\" and .peer == \"a unix peer\" and "
		  ".listener == \"proxied\" and .worker == 0 and "
		  ".listen_proxy == \"true\" and .suppressed == 0)");
	expect_jq("any(.event == \"signal\" and .signal == \"SIGUSR1\" and .count == 1 and "
		  "(.sender | startswith(\"pid \")) and .action == \"dump statistics\")");
	expect_jq("any(.event == \"stats\" and .group == \"signals\" and .received_sigusr1 == 1)");
	expect_jq("any(.event == \"option_changed\" and .option == \"drain_timeout\" and "
		  ".old == \"10\" and .new == \"3\")");
	expect_jq("any(.event == \"reload_error\" and (.file | endswith(\"skeld.conf\")) and "
		  ".line == 7)");
	expect_jq("any(.event == \"reload_rejected\" and .errors == 2 and .generation == 2)");
}

Test(log, a_change_in_json_has_whole_values_that_contain_separators)
{
	static const char all[] = BASE "log { format = \"json\" }\necho { banner = '%s' }\n"
				       "listen 'a: \" -> b' { address = 'unix:%s/%s' }\n";
	config_write(all, "a: b -> \"c needs a restart, keeping ", test_dir, "one");
	daemon_spawn();
	notify_wait("READY=1");
	config_write(all, "d -> e", test_dir, "two");
	daemon_reload_and_wait();
	cr_assert(log_contains("\"option\":\"echo.banner\","
			       "\"old\":\"a: b -> \\\\\\\"c needs a restart, keeping \","
			       "\"new\":\"d -> e\""),
		  "%s", log_text());
	cr_assert(log_contains(
			  "\"option\":\"listen \\\"a: \\\\\\\" -> b\\\".address\",\"old\":\"unix:"),
		  "%s", log_text());
}

Test(log, an_error_in_json_has_the_whole_file_name_and_value)
{
	MUST(mkdir("a: b 7: c", 0755) == 0);
	file_write("a: b 7: c/more", "limits { connections = 'x\": expected' }\n");
	config_write(BASE "log { format = \"json\" }\n");
	daemon_spawn();
	notify_wait("READY=1");
	config_write(BASE "log { format = \"json\" }\ninclude('a: b 7: c/more')\n");
	daemon_reload_and_wait();
	cr_assert(log_contains("\"event\":\"reload_error\",\"message\":\"limits.connections = "),
		  "%s", log_text());
	cr_assert(log_contains("/a: b 7: c/more\",\"line\":1,\"option\":\"limits.connections\","
			       "\"value\":\"x\\\\\\\": expected\""),
		  "%s", log_text());
}

Test(log, a_reload_changes_the_format)
{
	daemon_start(BASE);
	config_write(BASE "log { format = \"json\" file = \"/unused\" }\n");
	daemon_reload_and_wait();
	cr_assert(log_contains("\"event\":\"config_warning\"") && log_contains("\"line\":4"), "%s",
		  log_text());
	cr_assert(log_contains("\"event\":\"reloaded\",\"message\":\"reloaded\",\"generation\":2,"),
		  "%s", log_text());
	config_write(BASE);
	daemon_reload_and_wait();
	cr_assert(log_contains(" notice  reloaded: generation=3 "), "%s", log_text());
	daemon_finish();
}

Test(log, a_dump_omits_unused_groups)
{
	daemon_start(BASE);
	daemon_signal(SIGUSR1);
	daemon_finish(); /* dumps again */
	cr_assert_eq(log_count("stats connections: open=0 accepted=0"), 2, "%s", log_text());
	cr_assert_eq(log_count("stats workers: "), 2, "%s", log_text());
	cr_assert(!log_contains("stats outgoing: "), "%s", log_text());
	cr_assert(!log_contains("stats datagrams: "), "%s", log_text());
	cr_assert(!log_contains("stats tls: "), "%s", log_text());
}
