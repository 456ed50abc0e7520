/*
 * Untrusted text in output: text_escape(), a line of the log as text and as JSON, an error, and the
 * name of a process that sends a signal. The result is one line of valid UTF-8. It is complete, or
 * truncated at its end.
 */
/* fuzz: 20000 4096 */
#include "base/log.h"
#include "base/text.h"
#include "control/sender.h"
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The log is no memory_file: its path is a symbolic link, which a log of root does not follow. */
static int log_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char why[256], directory[64], path[96];
	(void)argc, (void)argv;
	create_private_directory(directory);
	snprintf(path, sizeof(path), "%s/log", directory);
	log_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct log_target *t = log_open(LOG_TO_FILE, path, why, sizeof(why));
	CHECK(t, "%s", why);
	log_switch(t);
	return 0;
}

/* Check that ESCAPED is the escaped form of the first bytes of TEXT. */
static void expect_escaped_prefix(const char *escaped, const char *text, size_t n)
{
	size_t i = 0;
	for (const char *p = escaped; *p; i++) {
		unsigned value;
		CHECK(i < n, "longer than the text: %s", escaped);
		if (*p == text[i] &&
		    !(*p == '\\' && p[1] == 'x' && n - i > 1 && text[i + 1] != 'x')) {
			p++;
			continue;
		}
		CHECK(sscanf(p, "\\x%2x", &value) == 1 && (char)value == text[i], "%s", p);
		p += 4;
	}
}

static void check_escape(const char *text, size_t n)
{
	char small[48], *full = malloc(4 * n + 1), *again = malloc(4 * n + 1);
	size_t length = text_escape(full, 4 * n + 1, text, n);
	CHECK(length == strlen(full) && length >= n && is_printable_line(full), "%s", full);
	expect_escaped_prefix(full, text, n);
	/* Escaping an escaped text changes nothing. */
	CHECK(text_escape(again, 4 * n + 1, full, length) <= length, "%s", again);
	CHECK(strncmp(again, full, strlen(again)) == 0, "%s\nbecomes\n%s", full, again);

	size_t size = 1 + n % sizeof(small);
	size_t cut = text_escape(small, size, text, n);
	CHECK(cut == strlen(small) && cut < size, "%zu of %zu", cut, size);
	CHECK(strncmp(small, full, cut) == 0 && is_printable_line(small), "%s", small);
	CHECK(cut == length || size - cut <= 4, "%zu of %zu used", cut, size);
	free(full);
	free(again);
}

static void check_log(const char *text)
{
	char line[LOG_LINE_MAX + 1];
	CHECK(ftruncate(log_fd, 0) == 0, "%m");
	log_error("%s", text);
	ssize_t n = pread(log_fd, line, sizeof(line), 0);
	CHECK(n > 0 && n <= LOG_LINE_MAX && line[n - 1] == '\n', "%zd bytes", n);
	line[n - 1] = '\0';
	CHECK(is_printable_line(line) && strstr(line, " error   "), "%s", line);
	CHECK(log_lost() == 0, "%llu lines lost", (unsigned long long)log_lost());
}

/* Returns the end of the string in JSON at P, behind the quote. */
static const char *skip_string(const char *p)
{
	CHECK(*p == '"', "%s", p);
	for (p++; *p != '"'; p++) {
		CHECK(*p, "a string has no end");
		if (*p != '\\')
			continue;
		p++;
		CHECK(*p == '"' || *p == '\\' ||
			      (*p == 'u' && strspn(p + 1, "0123456789abcdef") >= 4),
		      "%s", p);
	}
	return p + 1;
}

/* The line is a JSON object of strings and numbers. */
static void check_object(const char *text)
{
	char line[LOG_LINE_MAX + 1];
	CHECK(ftruncate(log_fd, 0) == 0, "%m");
	log_set_format(LOG_AS_JSON);
	log_error("%s: key=%s number=%d; %s", text, text, 7, text);
	log_set_format(LOG_AS_TEXT);
	ssize_t n = pread(log_fd, line, sizeof(line), 0);
	CHECK(n > 0 && n <= LOG_LINE_MAX && line[n - 1] == '\n', "%zd bytes", n);
	line[n - 1] = '\0';
	CHECK(is_printable_line(line) && *line == '{', "%s", line);
	const char *p = line;
	do {
		p = skip_string(p + 1);
		CHECK(*p == ':', "%s", p);
		p = p[1] == '"' ? skip_string(p + 1) : p + 1 + strspn(p + 1, "0123456789");
	} while (*p == ',');
	CHECK(strcmp(p, "}") == 0, "%s", p);
}

static void check_sender(const char *text)
{
	static struct sender_cache cache;
	char out[SENDER_MAX], expected[SENDER_MAX], name[16], escaped[64];
	snprintf(name, sizeof(name), "%s", text);
	CHECK(prctl(PR_SET_NAME, name) == 0, "%m");
	struct signal_arrival a = {.code = SI_USER, .pid = getpid(), .uid = getuid()};
	sender_describe(&a, &cache, out);
	name[strcspn(name, "\n")] = '\0';
	text_escape(escaped, sizeof(escaped), name, strlen(name));
	snprintf(expected, sizeof(expected), "pid %d (%s), ", (int)getpid(),
		 *name ? escaped : "exited or hidden");
	CHECK(is_printable_line(out), "%s", out);
	CHECK(strncmp(out, expected, strlen(expected)) == 0, "%s, expected %s", out, expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct errors e = {0};
	char *text = malloc(n + 1);
	memcpy(text, data, n);
	text[n] = '\0';
	check_escape(text, n);
	check_log(text);
	check_object(text);
	check_sender(text);
	errors_add(&e, "file", (unsigned)n, "%s", text);
	CHECK(is_printable_line(errors_text(&e, 0)), "%s", errors_text(&e, 0));
	errors_clear(&e);
	free(text);
	return 0;
}
