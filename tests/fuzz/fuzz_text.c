/*
 * What comes from outside and is shown: text_escape(), a line of the log, an error, the name of a
 * process that sends a signal. One line, well-formed, and nothing of it lost but at the end.
 */
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

/* A log, and no memory_file: that is a symbolic link, which root does not follow to one. */
static int written;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char why[256], directory[64], path[96];
	(void)argc, (void)argv;
	private_directory(directory);
	snprintf(path, sizeof(path), "%s/log", directory);
	written = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct log_target *t = log_open(LOG_TO_FILE, path, why, sizeof(why));
	HOLDS(t, "%s", why);
	log_use(t);
	return 0;
}

/* The bytes that ESCAPED stands for are the first of TEXT. */
static void expect_beginning(const char *escaped, const char *text, size_t n)
{
	size_t i = 0;
	for (const char *p = escaped; *p; i++) {
		unsigned value;
		HOLDS(i < n, "longer than the text: %s", escaped);
		if (*p == text[i] &&
		    !(*p == '\\' && p[1] == 'x' && n - i > 1 && text[i + 1] != 'x')) {
			p++;
			continue;
		}
		HOLDS(sscanf(p, "\\x%2x", &value) == 1 && (char)value == text[i], "%s", p);
		p += 4;
	}
}

static void try_escape(const char *text, size_t n)
{
	char small[48], *whole = malloc(4 * n + 1), *again = malloc(4 * n + 1);
	size_t length = text_escape(whole, 4 * n + 1, text, n);
	HOLDS(length == strlen(whole) && length >= n && is_printable_line(whole), "%s", whole);
	expect_beginning(whole, text, n);
	/* What is safe already stays as it is. */
	HOLDS(text_escape(again, 4 * n + 1, whole, length) <= length, "%s", again);
	HOLDS(strncmp(again, whole, strlen(again)) == 0, "%s\nbecomes\n%s", whole, again);

	size_t size = 1 + n % sizeof(small);
	size_t cut = text_escape(small, size, text, n);
	HOLDS(cut == strlen(small) && cut < size, "%zu of %zu", cut, size);
	HOLDS(strncmp(small, whole, cut) == 0 && is_printable_line(small), "%s", small);
	HOLDS(cut == length || size - cut <= 4, "%zu of %zu used", cut, size);
	free(whole);
	free(again);
}

static void try_log(const char *text)
{
	char line[LOG_LINE_MAX + 1];
	HOLDS(ftruncate(written, 0) == 0, "%m");
	log_error("%s", text);
	ssize_t n = pread(written, line, sizeof(line), 0);
	HOLDS(n > 0 && n <= LOG_LINE_MAX && line[n - 1] == '\n', "%zd bytes", n);
	line[n - 1] = '\0';
	HOLDS(is_printable_line(line) && strstr(line, " error   "), "%s", line);
	HOLDS(log_lost() == 0, "%llu lines lost", (unsigned long long)log_lost());
}

static void try_sender(const char *text)
{
	static struct sender_cache cache;
	char out[SENDER_MAX], expected[SENDER_MAX], name[16], shown[64];
	snprintf(name, sizeof(name), "%s", text);
	HOLDS(prctl(PR_SET_NAME, name) == 0, "%m");
	struct arrival a = {.code = SI_USER, .pid = getpid(), .uid = getuid()};
	sender_describe(&a, &cache, out);
	name[strcspn(name, "\n")] = '\0';
	text_escape(shown, sizeof(shown), name, strlen(name));
	snprintf(expected, sizeof(expected), "pid %d (%s), ", (int)getpid(),
		 *name ? shown : "gone or hidden");
	HOLDS(is_printable_line(out), "%s", out);
	HOLDS(strncmp(out, expected, strlen(expected)) == 0, "%s, expected %s", out, expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct errors e = {0};
	char *text = malloc(n + 1);
	memcpy(text, data, n);
	text[n] = '\0';
	try_escape(text, n);
	try_log(text);
	try_sender(text);
	errors_add(&e, "file", (unsigned)n, "%s", text);
	HOLDS(is_printable_line(errors_text(&e, 0)), "%s", errors_text(&e, 0));
	errors_clear(&e);
	free(text);
	return 0;
}
