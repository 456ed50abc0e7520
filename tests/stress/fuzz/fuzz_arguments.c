/* The command line: each line of the input is an argument, after lines that set variables. */
/* fuzz: 50000 8192 */
#include "cli/arguments.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h> /* optind */

enum { ARGS = 64 };
static const char *const variables[] = {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

/* Returns true if LINE is "NAME=value" with a name from the table. Sets the variable. */
static bool set_variable(char *line)
{
	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(variables[i]);
		if (strncmp(line, variables[i], n) == 0 && line[n] == '=') {
			setenv(variables[i], line + n + 1, 1);
			return true;
		}
	}
	return false;
}

static bool points_into(const char *what, char *const argv[], int argc)
{
	for (int i = 1; i < argc; i++)
		if (what >= argv[i] && what <= argv[i] + strlen(argv[i]))
			return true;
	return false;
}

static void expect_valid(const struct arguments *a, char *const argv[], int argc)
{
	const char *dir = a->runtime_dir, *given = getenv(variables[0]);
	CHECK(a->mode <= MODE_VERSION, "mode %d", (int)a->mode);
	CHECK(a->config_file && a->config_given == points_into(a->config_file, argv, argc), "%s",
	      a->config_file);
	CHECK((a->mode != MODE_SIGNAL || a->argument), "no command");
	CHECK(!a->argument || points_into(a->argument, argv, argc), "%s", a->argument);
	if (a->mode == MODE_RUN || a->mode == MODE_SIGNAL)
		CHECK(dir && *dir, "no runtime directory");
	/* A truncated path would name a directory of another daemon. */
	if (dir == a->buffer && given && *given)
		CHECK(strcspn(given, ":") == strlen(dir), "truncated: %s", dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arguments o;
	char *text = malloc(n + 1), *argv[ARGS + 1] = {"skeld"}, *rest = text, *line;
	int argc = 1;
	memcpy(text, data, n);
	text[n] = '\0';
	for (size_t i = 0; i < 2; i++)
		unsetenv(variables[i]);
	while (argc < ARGS && (line = strsep(&rest, "\n")))
		if (argc > 1 || !set_variable(line))
			argv[argc++] = line;
	optind = 0; /* getopt(3): start again */
	int code = arguments_parse(&o, argc, argv);
	CHECK(code == -1 || code == 0 || code == EX_USAGE, "%d", code);
	if (code == -1)
		expect_valid(&o, argv, argc);
	free(text);
	return 0;
}
