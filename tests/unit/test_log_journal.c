/* base/log: messages to systemd's journal, see systemd.io/JOURNAL_NATIVE_PROTOCOL. */
#include "base/log.h"
#include "fixture.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

enum { MESSAGE_MAX = 4 * LOG_LINE_MAX };

static int stderr_before;
static int stream; /* what the journal would read of stderr */

/* A private /run: root needs a mount namespace for it, other users also a user namespace. Stderr is
 * a stream that the journal reads. */
static void setup(void)
{
	int ends[2];
	char value[64];
	struct stat st;
	fixture_enter();
	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("run", "/run", "tmpfs", 0, NULL) < 0)
		cr_skip_test("no namespaces here");
	MUST(mkdir("/run/systemd", 0755) == 0 && mkdir("/run/systemd/journal", 0755) == 0);
	stderr_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	descriptors_before = open_descriptors();
	MUST(stderr_before >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	MUST(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO && close(ends[1]) == 0);
	MUST(fstat(STDERR_FILENO, &st) == 0);
	snprintf(value, sizeof(value), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	MUST(setenv("JOURNAL_STREAM", value, 1) == 0);
	stream = ends[0];
	descriptors_before++; /* the log keeps its socket to the journal */
}

TestSuite(log_journal, .init = setup, .fini = fixture_leave);

static int journal_as(int type)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	unlink(a.sun_path);
	MUST(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

static int journal(void)
{
	return journal_as(SOCK_DGRAM);
}

/* Write the log to a running journal, with fields. */
static int start(void)
{
	int fd = journal();
	log_info("before");
	log_send_fields();
	free(fd_text(stream));
	return fd;
}

static void end(int fd)
{
	log_stop();
	close(fd);
	close(stream);
	MUST(dup2(stderr_before, STDERR_FILENO) == STDERR_FILENO);
	EXPECT_NOTHING_LEFT();
}

static void expect_in_stream(const char *expected)
{
	char *text = fd_text(stream);
	cr_assert_str_eq(text, expected, "%s", text);
	free(text);
}

static void expect_no_message(int fd)
{
	cr_assert_eq(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0), 0, "a message");
}

static size_t receive(int fd, char message[static MESSAGE_MAX])
{
	await_fd(fd, POLLIN, deadline(), "a message");
	ssize_t n = recv(fd, message, MESSAGE_MAX, 0);
	MUST(n > 0);
	return (size_t)n;
}

/* Returns the value of the field NAME, with its length before it; NULL if there is none. */
static const char *find_field(const char *message, size_t n, const char *name)
{
	char line[64];
	int length = snprintf(line, sizeof(line), "\nSKELD_%s\n", name);
	const char *at = memmem(message, n, line, (size_t)length);
	return at ? at + length : NULL;
}

/* FIELDS: names without the prefix, each followed by its value; NULL ends them. */
static void expect_message(int fd, int level, const char *text, const char *const fields[])
{
	char message[MESSAGE_MAX], expected[MESSAGE_MAX], *p = expected;
	size_t n = receive(fd, message);
	p += sprintf(p, "PRIORITY=%d\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=skeld\nMESSAGE=%s\n",
		     level, text);
	for (; *fields; fields += 2) {
		const uint64_t length = htole64(strlen(fields[1]));
		p += sprintf(p, "SKELD_%s\n", fields[0]);
		p = mempcpy(p, &length, sizeof(length));
		p += sprintf(p, "%s\n", fields[1]);
	}
	cr_assert(n == (size_t)(p - expected) && memcmp(message, expected, n) == 0, "%.*s", (int)n,
		  message);
}

#define EXPECT_MESSAGE(fd, level, text, ...)                                                       \
	expect_message(fd, level, text, (const char *const[]){__VA_ARGS__, NULL})

Test(log_journal, a_message_has_its_level_its_text_and_its_fields)
{
	int fd = start();
	log_notice("reloaded: generation=%llu duration_ms=%.1f config=%s; every worker serves it",
		   2ull, 1.25, "/etc/skeld.conf");
	EXPECT_MESSAGE(fd, LOG_NOTICE,
		       "reloaded: generation=2 duration_ms=1.2 config=/etc/skeld.conf; "
		       "every worker serves it",
		       "EVENT", "reloaded", "GENERATION", "2", "DURATION_MS", "1.2", "CONFIG",
		       "/etc/skeld.conf");
	log_error("nothing else");
	EXPECT_MESSAGE(fd, LOG_ERR, "nothing else", "EVENT", "nothing_else");
	log_always_about(&(struct log_about){.event = "stats", .pairs = "open=1 lag-ms=0.5"},
			 "stats %s", "all");
	EXPECT_MESSAGE(fd, LOG_NOTICE, "stats all: open=1 lag-ms=0.5", "EVENT", "stats", "OPEN",
		       "1", "LAG_MS", "0.5");
	expect_in_stream("");
	end(fd);
}

Test(log_journal, a_message_has_the_fields_that_its_caller_adds)
{
	int fd = start();
	const struct log_about about = {
		.prefix = "192.0.2.7:50112",
		.field = {LOG_TEXT("peer", "192.0.2.7:50112"), LOG_NUMBER("worker", 1)}};
	log_about(LOG_INFO, &about, "closed: worker=%d bytes=%d", 2, 5);
	EXPECT_MESSAGE(fd, LOG_INFO, "192.0.2.7:50112: closed: worker=2 bytes=5", "EVENT", "closed",
		       "PEER", "192.0.2.7:50112", "WORKER", "1", "WORKER", "2", "BYTES", "5");
	end(fd);
}

Test(log_journal, a_value_forges_no_field)
{
	const char *forged = "a\nSKELD_PEER=b\nPRIORITY=0\n";
	int fd = start();
	log_info("bad: line=%s; %s", forged, "event=x");
	EXPECT_MESSAGE(fd, LOG_INFO, "bad: line=a\\x0aSKELD_PEER=b\\x0aPRIORITY=0\\x0a; event=x",
		       "EVENT", "bad", "LINE", forged);
	log_info("taken: event=%s time=%d", "x", 7);
	EXPECT_MESSAGE(fd, LOG_INFO, "taken: event=x time=7", "EVENT", "taken");
	end(fd);
}

Test(log_journal, a_value_that_does_not_fit_is_left_out)
{
	char text[LOG_LINE_MAX / 2], line[LOG_LINE_MAX];
	int fd = start();
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("a=%s c=%d", text, 7);
	snprintf(line, sizeof(line), "a=%s c=7", text);
	EXPECT_MESSAGE(fd, LOG_INFO, line, "EVENT", "message", "A", text, "C", "7");
	log_info("a=%s b=%s c=%d", text, text, 7);
	char message[MESSAGE_MAX];
	size_t n = receive(fd, message);
	cr_assert(find_field(message, n, "A") && find_field(message, n, "C"));
	cr_assert_null(find_field(message, n, "B"));
	end(fd);
}

Test(log_journal, the_fields_have_4096_bytes_at_most)
{
	char text[LOG_LINE_MAX / 2 + 100], message[MESSAGE_MAX];
	size_t most = 0;
	int fd = start();
	memset(text, 'x', sizeof(text));
	for (int n = LOG_LINE_MAX / 2 - 200; n < LOG_LINE_MAX / 2; n++) {
		log_info("fit: a=%.*s b=%.*s", LOG_LINE_MAX / 2, text, n, text);
		size_t size = receive(fd, message);
		const char *fields = strchr(memmem(message, size, "\nMESSAGE=", 9) + 1, '\n') + 1;
		size_t now = (size_t)(message + size - fields);
		most = now > most ? now : most;
	}
	cr_assert_eq(most, 4096, "%zu", most);
	end(fd);
}

Test(log_journal, the_longest_message_is_complete)
{
	char text[3 * LOG_LINE_MAX], message[MESSAGE_MAX];
	int fd = start();
	for (size_t n = LOG_LINE_MAX - 400; n < sizeof(text); n += 37) {
		memset(text, n % 2 ? '\n' : 'x', n);
		text[n] = '\0';
		log_info("long: a=%s b=%s", text, text);
		size_t size = receive(fd, message);
		const char *a = find_field(message, size, "A");
		cr_assert(a && size < 3 * LOG_LINE_MAX, "%zu bytes of %zu", size, n);
		uint64_t length;
		memcpy(&length, a, sizeof(length));
		cr_assert_eq(a + sizeof(length) + le64toh(length) + 1, message + size);
	}
	expect_in_stream("");
	end(fd);
}

Test(log_journal, lines_go_to_stderr_until_fields_are_sent)
{
	int fd = journal();
	log_info("one: n=%d", 1);
	log_send_fields();
	log_info("two: n=%d", 2);
	EXPECT_MESSAGE(fd, LOG_INFO, "two: n=2", "EVENT", "two", "N", "2");
	expect_in_stream("<6>one: n=1\n");
	end(fd);
}

Test(log_journal, json_and_another_target_have_no_fields)
{
	char why[256];
	int fd = start();
	log_set_format(LOG_AS_JSON);
	log_info("one");
	char *text = fd_text(stream);
	cr_assert(strncmp(text, "<6>{\"time\":", 11) == 0, "%s", text);
	free(text);
	log_set_format(LOG_AS_TEXT);
	struct log_target *t = log_open(LOG_TO_FILE, "log", why, sizeof(why));
	cr_assert(t, "%s", why);
	log_switch(t);
	log_info("two");
	cr_assert(strstr(file_text("log"), " info    two\n"), "%s", file_text("log"));
	expect_no_message(fd);
	cr_assert(log_switch_to_stderr());
	log_info("three");
	EXPECT_MESSAGE(fd, LOG_INFO, "three", "EVENT", "three");
	expect_in_stream("");
	end(fd);
}

Test(log_journal, lines_go_to_stderr_while_the_journal_takes_none)
{
	int fd = start();
	close(fd); /* refuses */
	log_info("one");
	MUST(unlink("/run/systemd/journal/socket") == 0);
	log_info("two");
	fd = journal_as(SOCK_STREAM);
	log_info("three");
	close(fd);
	expect_in_stream("<6>one\n<6>two\n<6>three\n");
	cr_assert_eq(log_lost(), 0);
	fd = journal();
	log_info("four");
	EXPECT_MESSAGE(fd, LOG_INFO, "four", "EVENT", "four");
	expect_in_stream("");
	end(fd);
}

Test(log_journal, lost_lines_are_reported_to_the_journal)
{
	int fd = start();
	close(fd);
	close(stream);
	log_info("lost");
	cr_assert_eq(log_lost(), 1);
	fd = journal();
	log_info("here");
	EXPECT_MESSAGE(fd, LOG_WARNING,
		       "log lines lost: count=1; the destination was full or too slow", "EVENT",
		       "log_lines_lost", "COUNT", "1");
	EXPECT_MESSAGE(fd, LOG_INFO, "here", "EVENT", "here");
	stream = -1;
	end(fd);
}

Test(log_journal, the_journal_has_the_message_when_the_call_returns)
{
	int fd = start();
	MUST(log_start() == 0);
	for (int i = 0; i < 100; i++) {
		char number[16], text[32], message[MESSAGE_MAX];
		log_info("line: n=%d", i);
		ssize_t n = recv(fd, message, sizeof(message), MSG_DONTWAIT | MSG_PEEK);
		cr_assert(n > 0, "line %d is late", i);
		snprintf(number, sizeof(number), "%d", i);
		snprintf(text, sizeof(text), "line: n=%d", i);
		EXPECT_MESSAGE(fd, LOG_INFO, text, "EVENT", "line", "N", number);
	}
	end(fd);
}

/* The thread that logs does not wait, the writer does; so the order is kept. */
Test(log_journal, a_full_journal_loses_no_line)
{
	enum { LINES = 1500 }; /* more than the socket holds, fewer than the queue */
	int fd = start();
	MUST(log_start() == 0);
	for (int i = 0; i < LINES; i++)
		log_info("line: n=%d", i);
	expect_in_stream("");
	for (int i = 0; i < LINES; i++) {
		char number[16], text[32];
		snprintf(number, sizeof(number), "%d", i);
		snprintf(text, sizeof(text), "line: n=%d", i);
		EXPECT_MESSAGE(fd, LOG_INFO, text, "EVENT", "line", "N", number);
	}
	cr_assert_eq(log_lost(), 0);
	expect_in_stream("");
	end(fd);
}
