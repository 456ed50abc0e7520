/* base/log: the targets stderr, file, syslog and journal. */
#include "base/log.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int stderr_before;

/* Stderr is file "stderr". */
static void setup(void)
{
	fixture_enter();
	umask(0);
	stderr_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	int fd = open("stderr", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	MUST(fd >= 0 && stderr_before >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
	close(fd);
	MUST(unsetenv("JOURNAL_STREAM") == 0);
	descriptors_before = open_descriptors();
}

TestSuite(log_target, .init = setup, .fini = fixture_leave);

static void end(void)
{
	log_stop();
	MUST(dup2(stderr_before, STDERR_FILENO) == STDERR_FILENO);
	EXPECT_NOTHING_LEFT();
}

static struct log_target *open_well(enum log_kind kind, const char *file)
{
	char why[256];
	struct log_target *t = log_open(kind, file, why, sizeof(why));
	cr_assert(t, "%s", why);
	return t;
}

static void expect_refused(enum log_kind kind, const char *file, const char *expected)
{
	char why[256] = "";
	cr_assert_null(log_open(kind, file, why, sizeof(why)));
	cr_assert_str_eq(why, expected, "%s", why);
}

/* The lines of file NAME end with these words, in this order. */
static void expect_in(const char *name, const char *words)
{
	char *text = strdup(file_text(name)), *rest = text, *line;
	char *is = calloc(1, strlen(text) + 1);
	MUST(text && is);
	while ((line = strsep(&rest, "\n")) && rest)
		strcat(strcat(is, *is ? " " : ""), strrchr(line, ' ') + 1);
	cr_assert_str_eq(is, words, "%s has \"%s\"", name, is);
	free(is);
	free(text);
}

Test(log_target, a_log_file_is_created_and_appended_to)
{
	struct stat st;
	log_switch(open_well(LOG_TO_FILE, "log"));
	log_info("one");
	MUST(stat("log", &st) == 0);
	cr_assert_eq(st.st_mode, S_IFREG | 0640);
	log_switch(open_well(LOG_TO_FILE, "log"));
	log_info("two");
	MUST(truncate("log", 0) == 0); /* copytruncate leaves no hole */
	log_info("three");
	expect_in("log", "three");
	expect_in("stderr", "");
	end();
}

Test(log_target, a_log_file_is_reopened)
{
	log_switch(open_well(LOG_TO_FILE, "log"));
	log_info("one");
	MUST(rename("log", "log.1") == 0);
	log_info("two");
	struct log_target *t = open_well(LOG_TO_FILE, "log");
	log_info("three"); /* nothing has changed yet */
	size_t before = open_descriptors();
	log_switch(t);
	cr_assert_eq(open_descriptors(), before - 1, "the old one is still open");
	log_info("four");
	expect_in("log.1", "one two three");
	expect_in("log", "four");
	end();
}

Test(log_target, the_log_returns_to_stderr)
{
	log_info("one");
	log_switch(open_well(LOG_TO_FILE, "log"));
	log_info("two");
	log_switch(open_well(LOG_TO_STDERR, NULL));
	log_info("three");
	cr_assert(!log_switch_to_stderr());
	log_switch(open_well(LOG_TO_FILE, "log"));
	log_info("four");
	cr_assert(log_switch_to_stderr());
	log_info("five");
	log_switch(open_well(LOG_TO_FILE, "log"));
	log_stop();
	log_info("six");
	expect_in("stderr", "one three five six");
	expect_in("log", "two four");
	end();
}

Test(log_target, a_target_that_cannot_be_opened_changes_nothing)
{
	log_switch(open_well(LOG_TO_FILE, "log"));
	MUST(mkdir("directory", 0755) == 0 && mkfifo("fifo", 0644) == 0);
	expect_refused(LOG_TO_FILE, "missing/log",
		       "cannot open the log missing/log: No such file or directory");
	expect_refused(LOG_TO_FILE, "directory", "cannot open the log directory: Is a directory");
	expect_refused(LOG_TO_FILE, "fifo", "cannot open the log fifo: No such device or address");
	log_info("one");
	expect_in("log", "one");
	end();
}

Test(log_target, a_discarded_target_is_closed)
{
	log_discard(open_well(LOG_TO_FILE, "log"));
	log_discard(open_well(LOG_TO_STDERR, NULL));
	log_discard(NULL);
	log_info("one");
	expect_in("stderr", "one");
	end();
}

static void stream_is(const struct stat *st)
{
	char value[64];
	snprintf(value, sizeof(value), "%llu:%llu", (unsigned long long)st->st_dev,
		 (unsigned long long)st->st_ino);
	MUST(setenv("JOURNAL_STREAM", value, 1) == 0);
}

static void expect_text(const char *name, const char *expected)
{
	const char *text = file_text(name);
	cr_assert_str_eq(text, expected, "%s", text);
}

Test(log_target, lines_to_the_journal_have_a_level_and_no_time)
{
	struct stat st;
	MUST(stat("stderr", &st) == 0);
	stream_is(&st);
	log_error("one\n");
	log_info("two");
	log_always("three");
	expect_text("stderr", "<3>one\\x0a\n<6>two\n<5>three\n");
	/* A log file is not treated as the journal, even if it is its stream. */
	MUST(truncate("stderr", 0) == 0);
	log_switch(open_well(LOG_TO_FILE, "stderr"));
	log_info("four");
	const char *text = file_text("stderr");
	cr_assert_neq(*text, '<', "%s", text);
	end();
}

Test(log_target, lines_to_another_stream_have_times)
{
	static const char *const others[] = {"", "nonsense", "1:", ":1", "1:2"};
	struct stat st;
	for (size_t i = 0; i < 7; i++) {
		MUST(stat("stderr", &st) == 0);
		st.st_ino += i == 5;
		st.st_dev += i == 6;
		if (i < 5)
			MUST(setenv("JOURNAL_STREAM", others[i], 1) == 0);
		else
			stream_is(&st);
		log_stop();
		log_info("one");
	}
	expect_in("stderr", "one one one one one one one");
	end();
}

/* A private /dev: root needs a mount namespace for it, other users also a user namespace. */
static int syslog_socket(int type)
{
	static bool mounted;
	if (!mounted) {
		if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("dev", "/dev", "tmpfs", 0, NULL) < 0)
			cr_skip_test("no namespaces here");
		mounted = true;
	}
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	unlink(a.sun_path);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

static int syslog_daemon(void)
{
	return syslog_socket(SOCK_DGRAM);
}

/* "<PRIORITY>Jan 31 23:59:59 skeld[PID]: TEXT", and no newline. */
static void expect_datagram(int fd, int priority, const char *text)
{
	char is[LOG_LINE_MAX + 1], begin[16], end[64];
	await_fd(fd, POLLIN, deadline(), "a datagram");
	ssize_t n = recv(fd, is, LOG_LINE_MAX, 0);
	MUST(n > 0);
	is[n] = '\0';
	int length = snprintf(begin, sizeof(begin), "<%d>", priority);
	snprintf(end, sizeof(end), " skeld[%d]: %s", (int)getpid(), text);
	cr_assert(strncmp(is, begin, (size_t)length) == 0 &&
			  strcmp(is + length + strlen("Jan 31 23:59:59"), end) == 0,
		  "%s", is);
}

Test(log_target, syslog_gets_one_datagram_per_line)
{
	int fd = syslog_daemon();
	log_switch(open_well(LOG_TO_SYSLOG, NULL));
	log_error("one");
	log_info("two\nlines");
	expect_datagram(fd, LOG_DAEMON | LOG_ERR, "one");
	expect_datagram(fd, LOG_DAEMON | LOG_INFO, "two\\x0alines");
	close(fd);
	end();
}

Test(log_target, syslog_is_reconnected_after_its_restart)
{
	int fd = syslog_daemon();
	log_switch(open_well(LOG_TO_SYSLOG, NULL));
	close(fd);
	log_info("lost");
	cr_assert_eq(log_lost(), 1);
	const char *text = file_text("stderr");
	cr_assert(strstr(text, "log lines lost: count=1; ") &&
			  strstr(text, "cannot reach syslog: "),
		  "%s", text);
	fd = syslog_daemon();
	log_info("here");
	expect_datagram(fd, LOG_DAEMON | LOG_INFO, "here");
	close(fd);
	end();
}

Test(log_target, lines_go_to_stderr_while_there_is_no_syslog)
{
	close(syslog_daemon());
	log_switch(open_well(LOG_TO_SYSLOG, NULL));
	log_info("one");
	MUST(unlink("/dev/log") == 0);
	log_info("two");
	const char *text = file_text("stderr");
	cr_assert(strstr(text, " warning cannot reach syslog: /dev/log: Connection refused; "),
		  "%s", text);
	cr_assert(strstr(text, " info    one\n") && strstr(text, " info    two\n"), "%s", text);
	int fd = syslog_daemon();
	log_info("three");
	expect_datagram(fd, LOG_DAEMON | LOG_INFO, "three");
	cr_assert_eq(log_lost(), 0);
	close(fd);
	end();
}

Test(log_target, syslog_on_a_stream_socket_gets_lines_that_end_in_nul)
{
	char bytes[256];
	int fd = syslog_socket(SOCK_STREAM);
	MUST(listen(fd, 1) == 0);
	log_switch(open_well(LOG_TO_SYSLOG, NULL));
	log_info("one");
	log_error("two");
	log_stop();
	int peer = accept(fd, NULL, NULL);
	ssize_t n = recv(peer, bytes, sizeof(bytes), MSG_WAITALL);
	MUST(n > 0);
	size_t first = strlen(bytes) + 1;
	cr_assert(strncmp(bytes, "<30>", 4) == 0 && strstr(bytes, "]: one"), "%s", bytes);
	cr_assert(strncmp(bytes + first, "<27>", 4) == 0 && strstr(bytes + first, "]: two"), "%s",
		  bytes + first);
	cr_assert_eq(first + strlen(bytes + first) + 1, (size_t)n);
	close(peer);
	close(fd);
	end();
}

enum { THREADS = 4, LINES = 500 };

static void *write_lines(void *arg)
{
	char text[300];
	memset(text, *(const char *)arg, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < LINES; i++)
		log_info("%s", text);
	return NULL;
}

Test(log_target, lines_of_threads_do_not_mix)
{
	pthread_t thread[THREADS];
	size_t lines = 0;
	log_switch(open_well(LOG_TO_FILE, "log"));
	for (size_t i = 0; i < THREADS; i++)
		MUST(pthread_create(&thread[i], NULL, write_lines, &"abcd"[i]) == 0);
	for (size_t i = 0; i < THREADS; i++)
		MUST(pthread_join(thread[i], NULL) == 0);
	char *text = strdup(file_text("log")), *rest = text, *line;
	for (; (line = strsep(&rest, "\n")) && rest; lines++) {
		const char *last = strrchr(line, ' ') + 1;
		cr_assert(strlen(last) == 299 && strspn(last, (char[]){*last, '\0'}) == 299, "%s",
			  line);
	}
	cr_assert_eq(lines, THREADS * LINES);
	free(text);
	end();
}
