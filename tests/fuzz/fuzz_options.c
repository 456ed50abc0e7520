/* The command line, one argument in a line, after those of the environment that it looks at. */
#include "control/options.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h> /* optind; getopt.h has a struct option of its own */

enum { ARGS = 64 };
static const char *const variables[] = {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return 0;
}

/* "NAME=value": set. */
static bool is_variable(char *line)
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

static bool is_one_of(const char *what, char *const argv[], int argc)
{
	for (int i = 1; i < argc; i++)
		if (what >= argv[i] && what <= argv[i] + strlen(argv[i]))
			return true;
	return false;
}

static void expect_good(const struct options *o, char *const argv[], int argc)
{
	const char *dir = o->runtime_dir, *given = getenv(variables[0]);
	HOLDS(o->mode <= MODE_SELF_TEST, "mode %d", (int)o->mode);
	HOLDS(o->config && o->config_given == is_one_of(o->config, argv, argc), "%s", o->config);
	HOLDS((o->mode != MODE_SIGNAL || o->argument), "no command");
	HOLDS(!o->argument || is_one_of(o->argument, argv, argc), "%s", o->argument);
	if (o->mode == MODE_RUN || o->mode == MODE_SIGNAL)
		HOLDS(dir && *dir, "no runtime directory");
	/* Another directory than the one that was named would be somebody else's. */
	if (dir == o->buffer && given && *given)
		HOLDS(strcspn(given, ":") == strlen(dir), "cut: %s", dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct options o;
	char *text = malloc(n + 1), *argv[ARGS + 1] = {"skeld"}, *rest = text, *line;
	int argc = 1;
	memcpy(text, data, n);
	text[n] = '\0';
	for (size_t i = 0; i < 2; i++)
		unsetenv(variables[i]);
	while (argc < ARGS && (line = strsep(&rest, "\n")))
		if (argc > 1 || !is_variable(line))
			argv[argc++] = line;
	optind = 0; /* getopt(3): begin anew */
	int code = options_parse(&o, argc, argv);
	HOLDS(code == -1 || code == 0 || code == EX_USAGE, "%d", code);
	if (code == -1)
		expect_good(&o, argv, argc);
	free(text);
	return 0;
}
