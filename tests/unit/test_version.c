/* cli/commands: -V names the libraries, also those that differ from the ones of the build. */
/* build: WRAP event_get_version */
#include "cli/commands.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(version, .init = fixture_enter, .fini = fixture_leave);

/* Replaces event_get_version(3). */
const char *__real_event_get_version(void);
const char *__wrap_event_get_version(void);

static const char *loaded;

const char *__wrap_event_get_version(void)
{
	return loaded ? loaded : __real_event_get_version();
}

/* The output of -V. */
static const char *version(void)
{
	static const struct service some = {.name = "some"};
	int fd = open("out", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	MUST(fd >= 0 && saved >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
	cr_assert_eq(command_version(&some), 0);
	MUST(dup2(saved, STDOUT_FILENO) >= 0);
	close(fd);
	close(saved);
	return file_text("out");
}

Test(version, the_service_and_the_libraries_are_named)
{
	char line[64];
	snprintf(line, sizeof(line), "\nlibevent: %s\n", __real_event_get_version());
	const char *text = version();
	cr_assert_eq(strncmp(text, "skeld " SKELD_VERSION "\nservice: some\n", 20), 0, "%s", text);
	cr_assert(strstr(text, line), "%s", text);
	cr_assert(strstr(text, "\nlibconfuse: "), "%s", text);
	cr_assert_eq(strstr(text, "\nopenssl: 3.") != NULL, SKELD_TLS, "%s", text);
	cr_assert(!strstr(text, "built with"), "%s", text);
	EXPECT_NOTHING_LEFT();
}

Test(version, a_library_that_differs_from_the_one_of_the_build_is_shown_with_both)
{
	char line[64];
	snprintf(line, sizeof(line), "\nlibevent: 9.9.9 (built with %s)\n",
		 __real_event_get_version());
	loaded = "9.9.9";
	cr_assert(strstr(version(), line), "%s", file_text("out"));
	EXPECT_NOTHING_LEFT();
}
