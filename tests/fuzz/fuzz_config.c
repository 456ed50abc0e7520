/*
 * The text of a configuration: it is refused with errors, or it is whole, and then it is printed
 * as a text that loads to the same.
 */
#include "complete.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static struct memory_file file;
static struct config *defaults;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	setenv("NAME", "workers", 1);
	setenv("ODD", "a\"b\\\n{", 1);
	memory_file_open(&file);
	struct errors e = {0};
	defaults = config_parse(NULL, &fuzz_service, &e);
	HOLDS(defaults, "the defaults do not load");
	return 0;
}

static void on_change(void *context, const char *line)
{
	size_t *n = context;
	*n += strlen(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t told = 0;
	int descriptor = free_descriptor();
	memory_file_set(&file, data, n);
	struct config *c = load(file.path);
	HOLDS(free_descriptor() == descriptor, "a descriptor was left open");
	if (!c)
		return 0;
	HOLDS(is_complete((const char *)data, n, NULL, NULL), "accepted, and not complete");

	char *text = printed(c);
	memory_file_set(&file, text, strlen(text));
	struct config *again = load(file.path);
	HOLDS(again, "does not load, though it was printed:\n%s", text);
	char *twice = printed(again);
	HOLDS(strcmp(text, twice) == 0, "%s\nis printed as\n%s", text, twice);
	expect_same(c, again);
	free(text);
	free(twice);
	config_unref(again);

	/* What needs a restart stays as it is. */
	config_compare(defaults, c, on_change, &told);
	HOLDS(c->workers == defaults->workers && strcmp(c->user, defaults->user) == 0,
	      "a restart is needed, and it has changed");
	config_unref(c);
	return 0;
}
